"""Run profiles: which source, which grade of evidence a verdict needs, and parameters step by step."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from mmlib._io import UserError
from mmlib.config.load import check_key
from mmlib.config.models import Section
from mmlib.dtypes import Grade
from mmlib.yamlfile import Document, read_mapping, suggest

PROFILES_DIR = "params/profiles"
AB_STEPS = ("ab_10", "ab_50", "ab_100")
STEP_NAMES = ("prep", "shadow", "soak", "dataset", *AB_STEPS, "baseline_lock", "daily_ops", "readiness")
_SOURCES = "simulated, recording:PATH, live:EXCHANGE or feeds:DIR"
_BEST_GRADE = {"simulated": Grade.SIMULATED, "recording": Grade.RECORDING}


def _iso(value: Any) -> Any:
    """An unquoted YAML timestamp back to text."""
    return value.isoformat() if isinstance(value, datetime) else value


class Profile(Section):
    """One way to run the workflow; ``steps`` holds notebook parameters, ``ab`` standing for all stages."""

    name: str = Field(min_length=1)
    description: str = ""
    evidence_required: Grade = Field(strict=False)
    rehearsal: bool
    source: str
    symbols: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,29}$")]] = Field(min_length=1)
    seed: int = Field(ge=0, lt=2**63)
    start: Annotated[str, BeforeValidator(_iso)]
    sets: dict[str, Any] = Field({})
    steps: dict[str, dict[str, Any]] = Field({})

    @field_validator("start")
    @classmethod
    def _utc(cls, text: str) -> str:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as exc:
            raise ValueError(
                f"expected an ISO 8601 time such as 2025-01-15T00:00:00Z, got {text!r} ({exc})"
            ) from exc
        if moment.tzinfo is None:
            raise ValueError(f"expected a time zone, such as {text}Z")
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

    @field_validator("symbols")
    @classmethod
    def _distinct(cls, symbols: list[str]) -> list[str]:
        if len(set(symbols)) != len(symbols):
            raise ValueError("expected each symbol once")
        return symbols

    @field_validator("source")
    @classmethod
    def _known_source(cls, text: str) -> str:
        kind, colon, rest = text.partition(":")
        if text != "simulated" and (kind not in ("recording", "live", "feeds") or not colon or not rest):
            raise ValueError(f"expected {_SOURCES}, got {text!r}")
        return text

    @field_validator("steps")
    @classmethod
    def _known_steps(cls, steps: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in steps:
            if name not in STEP_NAMES and name != "ab":
                raise ValueError(f"{name}: unknown step; expected one of {', '.join(STEP_NAMES)}, or ab")
        common = steps.get("ab", {})
        spread = {name: {**common, **steps.get(name, {})} for name in AB_STEPS if common or name in steps}
        return {name: params for name, params in {**steps, **spread}.items() if name != "ab"}

    @model_validator(mode="after")
    def _evidence_within_reach(self) -> Profile:
        best = _BEST_GRADE.get(self.source.partition(":")[0], Grade.LIVE)
        if best.rank < self.evidence_required.rank and not self.rehearsal:
            raise ValueError(
                f"source {self.source} reaches grade '{best}' at most; "
                f"expected one that reaches '{self.evidence_required}', or rehearsal: true"
            )
        return self

    @property
    def start_ns(self) -> int:
        """Start of simulated time [ns since 1970-01-01 UTC]."""
        delta = datetime.fromisoformat(self.start) - datetime(1970, 1, 1, tzinfo=UTC)
        return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000


def load_profile(ws: Path, name_or_file: str | Path) -> Profile:
    """Load a profile by name from ``params/profiles`` of the workspace, or from a YAML file.

    Raises:
        UserError: no such profile, or something in it is wrong; names file, key and what was expected.
    """
    document = read_mapping(_find(ws, str(name_or_file)))
    try:
        profile = Profile.model_validate(document.tree)
    except ValidationError as exc:
        raise UserError(_message(exc, document)) from exc
    for key in profile.sets:
        check_key(key, f"{document.place(f'sets.{key}')}: sets.{key}")
    return profile


def _find(ws: Path, text: str) -> Path:
    """The file of a profile named by a bare name or a path (as given, else below the workspace)."""
    if "/" in text or text.endswith((".yaml", ".yml")):
        path = Path(text)
        return path if path.exists() or path.is_absolute() else ws / path
    folder = ws / PROFILES_DIR
    path = folder / f"{text}.yaml"
    if not path.is_file():
        names = sorted(p.stem for p in folder.glob("*.yaml"))
        known = ", ".join(names) or "none are there"
        raise UserError(f"{path}: no such profile; expected one of {folder} ({known}){suggest(text, names)}")
    return path


def _message(exc: ValidationError, document: Document) -> str:
    """The first validation error on one line."""
    errors = sorted(exc.errors(include_url=False), key=lambda error: error["type"] != "extra_forbidden")
    error, more = errors[0], f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    dotted = ".".join(str(part) for part in error["loc"])
    where = f"{document.place(dotted)}: {dotted}" if dotted else document.name
    if error["type"] == "extra_forbidden":
        return (
            f"{where}: unknown key; expected a key of a profile{suggest(dotted, Profile.model_fields)}{more}"
        )
    if error["type"] == "missing":
        return f"{where}: expected this key, got nothing{more}"
    text = error["msg"].removeprefix("Value error, ")
    if text.startswith("Input should"):
        got = " ".join(repr(error["input"]).split())[:60]
        text = f"{text.replace('Input should be', 'expected')}, got {got}"
    return f"{where}: {text}{more}"
