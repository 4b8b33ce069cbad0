"""Mapping files of ``finishline feeds import``: found by name, read strictly, errors named by file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mmlib._io import UserError
from mmlib.config.load import shipped_dir
from mmlib.feeds.mapping import FeedRule, FieldRule, FormatMapping
from mmlib.yamlfile import Document, read_mapping, suggest

DIRECTORY = "params/mappings"


def find_mapping(ws: Path, name: str) -> Path:
    """The file of a mapping: a path to a YAML file, or a name in the workspace's or the shipped ``params/mappings``.

    Raises:
        UserError: there is none.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name).expanduser()
    homes = (ws / DIRECTORY, shipped_dir("params") / "mappings")
    for home in homes:
        if (home / f"{name}.yaml").is_file():
            return home / f"{name}.yaml"
    known = sorted({path.stem for home in homes for path in home.glob("*.yaml")})
    raise UserError(
        f"--mapping {name}: no such mapping; expected {', '.join(known)} or a .yaml file{suggest(name, known)}"
    )


def load_mapping(path: Path) -> tuple[FormatMapping, str]:
    """A mapping and the SHA-256 of its file.

    Raises:
        UserError: unreadable, or wrong in any part; names file, line and key, and what was expected.
    """
    document = read_mapping(path)
    try:
        return FormatMapping.model_validate(document.tree), document.sha256
    except ValidationError as exc:
        errors = sorted(exc.errors(include_url=False), key=lambda error: error["type"] != "extra_forbidden")
        raise UserError(_message(document, errors[0])) from exc


def _message(document: Document, error: ErrorDetails) -> str:
    """One line: place, key, expectation."""
    loc = [part for part in error["loc"] if not (isinstance(part, str) and "[" in part)]
    dotted = ""
    for part in loc:
        dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else str(part)
    where = f"{document.place(dotted)}: {dotted or 'top level'}"
    if error["type"] == "extra_forbidden":
        siblings = _keys(error["loc"])
        return f"{where}: unknown key; expected one of {', '.join(siblings)}{suggest(str(loc[-1]), siblings)}"
    if error["type"] == "missing":
        return f"{where}: missing; expected a value"
    if error["type"] == "value_error":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    found = error["input"]
    shown = f"a {type(found).__name__}" if isinstance(found, dict | list) else repr(found)[:60]
    return f"{where}: {error['msg']}, got {shown}"


def _keys(loc: tuple[Any, ...]) -> list[str]:
    """Keys that are known at the place of an unknown one."""
    model: type[BaseModel] = FieldRule if "fields" in loc else FeedRule if "feeds" in loc else FormatMapping
    return [info.alias or name for name, info in model.model_fields.items()]
