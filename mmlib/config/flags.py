"""Feature flags: the registry derived from the models, the required ones, and the snapshot to go back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmlib._io import UserError, read_json, sha256_file, sha256_json, write_json
from mmlib.config.load import CONFIG_FILE, SOAK_OVERRIDES_FILE, LoadedConfig
from mmlib.config.masking import mask
from mmlib.config.models import Config, flatten, unit_of, walk
from mmlib.yamlfile import read_mapping

SNAPSHOT_FILE = "artifacts/release/FEATURE_FLAGS_SNAPSHOT.json"
SNAPSHOT_HISTORY = "artifacts/release/snapshots"

RED_BUTTON: dict[str, bool] = {
    "pipeline.enabled": False,
    "md_cache.enabled": False,
    "async_batch.enabled": False,
}
"""What the red button turns off."""

GRADUAL: dict[str, dict[str, bool | float]] = {
    "taker-cap": {"taker_cap.max_taker_share_pct": 10.0},
    "adaptive": {"adaptive_spread.enabled": False, "queue_aware.enabled": False},
    "sampling": {"trace.sample_rate": 0.05},
}
"""The gradual rollbacks by name."""


@dataclass(frozen=True)
class Flag:
    """One feature flag: dotted key, meaning, unit, default, and how the rollbacks change it."""

    name: str
    description: str
    unit: str
    default: bool | float
    rollback: str

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, rather than a number."""
        return isinstance(self.default, bool)


@dataclass(frozen=True)
class FlagCheck:
    """One required flag: its value, what was expected, and whether it is so."""

    name: str
    value: bool | float
    expected: str
    ok: bool


def _flags() -> dict[str, Flag]:
    """Every switch of the configuration and the two numbers that a gradual rollback turns."""
    numbers = {key for values in GRADUAL.values() for key in values}
    found: dict[str, Flag] = {}
    for name, info in walk():
        if name.endswith(".enabled") or name in numbers:
            found[name] = Flag(name, str(info.description), unit_of(info), info.default, _rollback_text(name))
    return found


def _rollback_text(name: str) -> str:
    """How the registry describes the rollbacks that touch a flag."""
    ways = [f"red button: {_yaml(RED_BUTTON[name])}"] if name in RED_BUTTON else []
    ways += [f"--gradual {way}: {_yaml(values[name])}" for way, values in GRADUAL.items() if name in values]
    if name.endswith(".enabled"):
        ways.append(f"--flag {name.removesuffix('.enabled')}: false")
    return "; ".join(ways)


def _yaml(value: bool | float) -> str:
    return str(value).lower()


FLAGS: dict[str, Flag] = _flags()
"""The registry by dotted key, in the order of the models."""


def flag_values(config: Config) -> dict[str, bool | float]:
    """Current value of every flag by dotted key."""
    values = flatten(config)
    return {name: values[name] for name in FLAGS}


def registry_rows(config: Config, since: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Rows for the registry document: name, description, unit, default, current, required, rollback, since.

    Args:
        since: when a flag got its current value, by name, in words.
    """
    values = flag_values(config)
    required = {check.name: check.expected for check in required_flags(config)}
    return [
        {
            "name": flag.name,
            "description": flag.description,
            "unit": flag.unit,
            "default": flag.default,
            "current": values[flag.name],
            "required": required.get(flag.name, ""),
            "rollback": flag.rollback,
            "since": (since or {}).get(flag.name, ""),
        }
        for flag in FLAGS.values()
    ]


def required_flags(config: Config) -> list[FlagCheck]:
    """The five validations of Prep, in the workflow's order."""
    cap = config.taker_cap.max_taker_share_pct
    return [
        _must_be_on("pipeline.enabled", config.pipeline.enabled),
        _must_be_on("md_cache.enabled", config.md_cache.enabled),
        FlagCheck("taker_cap.max_taker_share_pct", cap, "<= 9.0", cap <= 9.0),
        _must_be_on("trace.enabled", config.trace.enabled),
        _must_be_on("async_batch.enabled", config.async_batch.enabled),
    ]


def _must_be_on(name: str, value: bool) -> FlagCheck:
    return FlagCheck(name, value, "true", value is True)


def snapshot(ws: Path, loaded: LoadedConfig, *, now: datetime | None = None) -> dict[str, Any]:
    """Write ``FEATURE_FLAGS_SNAPSHOT.json``, and a copy named by its content that later ones leave alone.

    ``restore`` holds, file by file, the flags that the red button puts back; ``config`` is the effective
    configuration with everything that looks like a secret masked.

    Raises:
        UserError: a file cannot be read, or the workspace cannot be written.
    """
    content = {
        "schema": 1,
        "files": loaded.files,
        "flags": flag_values(loaded.config),
        "required": [vars(check) for check in required_flags(loaded.config)],
        "config": mask(loaded.config.model_dump(mode="json")),
        "config_sha256": loaded.sha256,
        "sets": mask(loaded.sets),
        "restore": restore_values(ws),
    }
    payload = {**content, "taken_at": (now or datetime.now(UTC)).isoformat()}
    write_json(ws / SNAPSHOT_HISTORY / f"flags_{sha256_json(content)[:16]}.json", payload)
    write_json(ws / SNAPSHOT_FILE, payload)
    return payload


def restore_values(ws: Path) -> dict[str, dict[str, Any]]:
    """Flags by parameter file: all of them (defaults filled in) for config.yaml, else those spelt out."""
    base = flatten(read_mapping(ws / CONFIG_FILE).tree)
    values = {CONFIG_FILE: {name: base.get(name, flag.default) for name, flag in FLAGS.items()}}
    if (ws / SOAK_OVERRIDES_FILE).is_file():
        spelt = flatten(read_mapping(ws / SOAK_OVERRIDES_FILE).tree)
        values[SOAK_OVERRIDES_FILE] = {name: spelt[name] for name in FLAGS if name in spelt}
    return values


def read_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot back.

    Raises:
        UserError: missing, not JSON, or not a snapshot of schema 1.
    """
    payload = read_json(path)
    if not isinstance(payload, dict) or payload.get("schema") != 1:
        raise UserError(f"{path}: schema: expected a flags snapshot of schema 1")
    for key in ("files", "flags", "config", "restore"):
        if not isinstance(payload.get(key), dict):
            raise UserError(f"{path}: {key}: expected a mapping, as 'finishline run --step prep' writes it")
    return payload


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What differs between the configurations of two snapshots: (dotted key, old, new); None where absent."""
    before, after = flatten(dict(old["config"])), flatten(dict(new["config"]))
    keys = [*before, *(key for key in after if key not in before)]
    return [(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def stale_files(ws: Path, taken: Mapping[str, Any]) -> list[str]:
    """Files that changed, or vanished, since a snapshot was taken."""
    return [
        name
        for name, digest in taken["files"].items()
        if not (ws / name).is_file() or sha256_file(ws / name) != digest
    ]
