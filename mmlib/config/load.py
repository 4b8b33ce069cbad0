"""Load a workspace's configuration: defaults, params/config.yaml, override files, then single settings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mmlib._io import UserError, sha256_json, shipped_dir, write_atomic
from mmlib.config.masking import mask_value, remember
from mmlib.config.models import Config, Section, expectation, walk
from mmlib.yamlfile import Document, parse_value, read_bytes, read_mapping, suggest

CONFIG_FILE = "params/config.yaml"
SOAK_OVERRIDES_FILE = "params/config.soak_overrides.yaml"


@dataclass(frozen=True)
class LoadedConfig:
    """A validated configuration with where it came from.

    ``files`` maps each file, named from the workspace, to the SHA-256 of its bytes; ``raw`` is what they
    merge to before defaults; ``sets`` are the single settings by dotted key.
    """

    config: Config
    files: dict[str, str]
    raw: dict[str, Any]
    sets: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """SHA-256 of the effective configuration, whatever files and settings it was put together from."""
        return sha256_json(self.config.model_dump(mode="json"))


def load_config(
    ws: Path,
    overrides: Sequence[Path | Mapping[str, Any]] = (),
    sets: Sequence[str] | Mapping[str, Any] = (),
) -> LoadedConfig:
    """Load ``params/config.yaml`` of a workspace, merge the overrides in order, then the settings.

    Args:
        ws: the workspace.
        overrides: YAML files (relative ones below ``ws``) or nested mappings; later ones win.
        sets: ``["md_cache.ttl_ms=1500", ...]`` or ``{"md_cache.ttl_ms": 1500}``.

    Raises:
        UserError: a file, key or value is wrong; names file and line, dotted key and what was expected.
    """
    layers = [read_mapping(ws / CONFIG_FILE)]
    files = {CONFIG_FILE: layers[0].sha256}
    for number, override in enumerate(overrides, start=1):
        if isinstance(override, Mapping):
            layers.append(Document(f"override {number}", dict(override), {}, ""))
        else:
            layers.append(read_mapping(ws / override))
            files[_relative(ws, ws / override)] = layers[-1].sha256
    settings = parse_sets(sets)
    for key, value in settings.items():
        layers.append(Document(f"--set {key}", _nest(key, value), {}, ""))
    raw: dict[str, Any] = {}
    for layer in layers:
        raw = deep_merge(raw, layer.tree)
    remember(raw)
    config = _with_preset(ws, validate(raw, layers), files)
    return LoadedConfig(config, files, raw, settings)


def _with_preset(ws: Path, config: Config, files: dict[str, str]) -> Config:
    """Let the name of a market preset mean the workspace's own file where it has one."""
    name = config.market.preset
    place = f"params/market/{name}.yaml"
    if not name or name.endswith(".yaml") or not (ws / place).is_file():
        return config
    files[place] = hashlib.sha256(read_bytes(ws / place)).hexdigest()
    market = config.market.model_copy(update={"preset": str((ws / place).resolve())})
    return config.model_copy(update={"market": market})


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A new mapping: mappings merge key by key, everything else in ``over`` replaces what ``base`` holds."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = deep_merge(old if isinstance(old, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def parse_sets(sets: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key, in order; the values of ``a.b=1`` are YAML.

    Raises:
        UserError: no ``=``, an empty key, a key that does not exist, or a value that is not YAML.
    """
    if isinstance(sets, str):
        raise UserError(f"--set {sets}: expected a list of key=value")
    pairs: dict[str, Any] = {}
    if isinstance(sets, Mapping):
        pairs.update({str(key): value for key, value in sets.items()})
    else:
        for text in sets:
            key, equals, value = str(text).partition("=")
            if not equals:
                raise UserError(f"--set {text}: expected key=value, such as md_cache.ttl_ms=1500")
            pairs[key.strip()] = parse_value(value, f"--set {key.strip()}")
    remember(pairs)
    for key in pairs:
        check_key(key, f"--set {key}")
    return pairs


def check_key(dotted: str, place: str) -> None:
    """Refuse a dotted key that names no section and no key.

    Raises:
        UserError: with the closest existing key.
    """
    leaves = [name for name, _ in walk()]
    known = {*leaves, *Config.model_fields}
    if dotted not in known and not dotted.startswith("instruments."):
        raise UserError(
            f"{place}: no such key; expected a key of {CONFIG_FILE}{_suggest_key(dotted, leaves)}"
        )


def validate(raw: Mapping[str, Any], layers: Sequence[Document]) -> Config:
    """Validate a merged mapping; errors name the layer that wrote the key last.

    Raises:
        UserError: the first thing that is wrong, and how many more there are.
    """
    try:
        return Config.model_validate(dict(raw))
    except ValidationError as exc:
        errors = sorted(exc.errors(include_url=False), key=lambda error: error["type"] != "extra_forbidden")
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise UserError(_message(errors[0], layers) + more) from exc


def ensure_params(ws: Path) -> bool:
    """Copy the shipped parameter files that a workspace lacks; existing files stay as they are.

    Returns:
        True when at least one file was copied.

    Raises:
        UserError: the workspace cannot be written.
    """
    source = shipped_dir("params")
    target = ws / "params"
    if target.exists() and not target.is_dir():
        raise UserError(f"{target}: is a file; expected a directory of parameter files")
    copied = False
    for path in sorted(source.rglob("*.yaml")):
        place = target / path.relative_to(source)
        if not os.path.lexists(place):
            write_atomic(place, path.read_bytes())
            copied = True
    return copied


def _message(error: ErrorDetails, layers: Sequence[Document]) -> str:
    """One line for one validation error: place, dotted key, expectation."""
    parts = [str(part) for part in error["loc"]]
    dotted = ".".join(parts)
    place = _place(dotted, layers)
    where = place if place == f"--set {dotted}" else f"{place}: {dotted}"
    if error["type"] == "extra_forbidden":
        leaves = [name for name, _ in walk()]
        section = _section(parts[:-1])
        siblings = [".".join([*parts[:-1], name]) for name in section.model_fields] if section else []
        hint = suggest(dotted, siblings) or _suggest_key(dotted, leaves)
        return f"{where}: unknown key; expected a known key{hint}"
    if error["type"] == "value_error":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    parent = _section(parts[:-1])
    info = parent.model_fields.get(parts[-1]) if parent else None
    expected = expectation(info) if info else error["msg"].removeprefix("Input should be ")
    if _section(parts) is not None or error["type"] == "dict_type":
        expected = "a mapping of keys"
    got = (
        "nothing"
        if error["type"] == "missing" or error["input"] is None
        else _short(parts[-1], error["input"])
    )
    return f"{where}: expected {expected}, got {got}"


def _place(dotted: str, layers: Sequence[Document]) -> str:
    """The last layer that holds the key or, when none does, its nearest parent."""
    parts = dotted.split(".")
    for stop in range(len(parts), 0, -1):
        for layer in reversed(layers):
            node: Any = layer.tree
            for part in parts[:stop]:
                node = node.get(part, ...) if isinstance(node, Mapping) else ...
            if node is not ...:
                return layer.place(dotted)
    return layers[0].name


def _section(parts: Sequence[str]) -> type[BaseModel] | None:
    """The model at a path of section names, None when there is none."""
    if not parts:
        return Config
    if parts[0] == "instruments" and len(parts) == 2:
        kind: Any = Config.model_fields["instruments"].annotation
        return kind.__args__[1] if kind else None
    info = Config.model_fields.get(parts[0]) if len(parts) == 1 else None
    kind = info.annotation if info else None
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _suggest_key(dotted: str, leaves: Sequence[str]) -> str:
    """Suggestion among whole dotted keys, else among the last parts (a key in the wrong section)."""
    near = suggest(dotted, [*leaves, *Config.model_fields])
    last = dotted.rpartition(".")[2]
    same = [name for name in leaves if name.rpartition(".")[2] == last and last != "enabled"]
    return f"; did you mean '{same[0]}'?" if same else near


def _short(key: str, value: Any) -> str:
    """A rejected value for a message: masked when it looks like a secret, cut when long, on one line."""
    text = " ".join(repr(mask_value(key, value)).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nest(dotted: str, value: Any) -> dict[str, Any]:
    """``a.b`` and 1 give ``{"a": {"b": 1}}``."""
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return dict(value)


def _relative(ws: Path, path: Path) -> str:
    """Path below the workspace in posix form, or the absolute one when it lies outside."""
    full, base = path.resolve(), ws.resolve()
    return full.relative_to(base).as_posix() if full.is_relative_to(base) else full.as_posix()
