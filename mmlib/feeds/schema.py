"""The two feeds: their files, fields, JSON Schemas and validators."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, Literal

SCHEMA_VERSION = 2
HEAD = ("schema", "source")
"""Fields that say of a line what it is; they are checked, and are no columns."""

Kind = Literal["ticks", "fills"]
KINDS: tuple[Kind, ...] = ("ticks", "fills")

FILE_STEM: dict[str, str] = {"ticks": "pipeline_ticks", "fills": "fills"}
"""Feed kind -> stem of its daily files, ``<stem>_YYYYMMDD.jsonl``."""

LIQUIDITY = ("maker", "taker")
"""Feed text of ``dtypes.Liquidity``, by value."""

SIDE_TEXT = {1: "buy", -1: "sell"}
"""Feed text of a signed side."""


@cache
def schema_text(kind: Kind) -> str:
    """JSON Schema (draft 2020-12) of one line of a feed, as shipped."""
    return (files("mmlib.feeds") / "schemas" / f"{FILE_STEM[kind]}.schema.json").read_text(encoding="utf-8")


@cache
def schema(kind: Kind) -> dict[str, Any]:
    """The same schema parsed; callers must not change it."""
    return dict(json.loads(schema_text(kind)))


def fields(kind: Kind) -> tuple[str, ...]:
    """Field names of a feed in the order they are written."""
    return tuple(schema(kind)["properties"])


def types_of(spec: dict[str, Any]) -> frozenset[str]:
    """JSON types that a property of the schema admits."""
    kind = spec["type"]
    return frozenset([kind] if isinstance(kind, str) else kind)


@cache
def validator(kind: Kind) -> Callable[[object], object]:
    """Compiled validator of one parsed line; raises ``fastjsonschema.JsonSchemaValueException``."""
    import fastjsonschema

    return fastjsonschema.compile(schema(kind))  # type: ignore[no-any-return, unused-ignore]
