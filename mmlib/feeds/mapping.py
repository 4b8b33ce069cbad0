"""What a mapping file says: how the columns of another format become the fields of a feed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping as MappingABC
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from mmlib.feeds.bounded import Bounded
from mmlib.feeds.columns import Role, roles
from mmlib.feeds.schema import Kind, schema
from mmlib.feeds.timestamps import MAX_NS, MIN_NS, to_ns

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr
_TIME_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
UNITS: dict[str, dict[str, float]] = {
    "_ms": {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6},
    "_mb": {
        "B": 1e-6,
        "kB": 1e-3,
        "MB": 1.0,
        "GB": 1e3,
        "KiB": 1.024e-3,
        "MiB": 1.048576,
        "GiB": 1073.741824,
    },
    "_bps": {"fraction": 1e4, "%": 100.0, "bps": 1.0},
}
"""Ending of a field's name -> unit of the source -> factor to the field's own unit."""
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_DIGITS = 9  # what a change of unit keeps behind the point


class BadRow(ValueError):
    """A row that cannot become a line of the feed; the message names the field."""


class ZeroRule(BaseModel):
    """Where a zero is a zero, and not a conversion that failed: where the column ``from`` matches."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)

    source: StrictStr = Field(alias="from", min_length=1)
    match: StrictStr

    @model_validator(mode="after")
    def _check(self) -> ZeroRule:
        Bounded(self.match)
        return self


class FieldRule(BaseModel):
    """Where one field comes from: a column, a constant, or columns joined; then what is done to it, in this order.

    ``match`` keeps what its group finds, ``remove`` takes pieces of text out, ``map`` translates (``"true"`` and ``"false"``
    stand for booleans), ``unit`` and ``scale`` multiply, ``time_format`` (strptime) and ``utc_offset`` read a time without
    a zone. A column that is missing or empty gives ``default``, or leaves the field out.

    ``unknown`` lists what another program writes when it does not know, such as ``"0"`` for a mid.
    ``zero_if`` takes a zero only where another column matches. ``number_repeats`` numbers equal ids that were joined of columns
    within a file, for equal pieces of one second are different fills; files that overlap still agree on them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)

    source: StrictStr | None = Field(default=None, alias="from", min_length=1)
    value: Scalar | None = None
    join: list[Annotated[str, Field(min_length=1)]] | None = Field(default=None, min_length=2)
    default: Scalar | None = None
    match: StrictStr | None = None
    remove: list[Annotated[str, Field(min_length=1)]] = []
    unknown: list[Annotated[str, Field(min_length=1)]] = []
    zero_if: ZeroRule | None = None
    number_repeats: StrictBool = False
    map: dict[str, Scalar] | None = Field(default=None, min_length=1)
    unit: StrictStr | None = None
    scale: float = Field(default=1.0, allow_inf_nan=False)
    time_format: StrictStr | None = None
    utc_offset: StrictStr = "+00:00"

    @model_validator(mode="after")
    def _check(self) -> FieldRule:
        if sum(part is not None for part in (self.source, self.value, self.join)) != 1:
            raise ValueError("expected exactly one of from, value and join")
        if self.value is not None and (extra := self.model_fields_set - {"value"}):
            raise ValueError(f"{sorted(extra)[0]}: means nothing beside a constant value")
        if self.unknown and self.default is not None:
            raise ValueError(
                "default: a value that stands for not known has none; expected unknown or default"
            )
        if self.number_repeats and self.join is None:
            raise ValueError(
                "number_repeats: only beside join, for a program's own ids are different already"
            )
        if self.match is not None:
            groups = Bounded(self.match).groups
            if groups != 1:
                raise ValueError(f"match: has {groups} groups; expected one, around what is to be kept")
        if not _OFFSET.fullmatch(self.utc_offset):
            raise ValueError(f"utc_offset: {self.utc_offset!r}; expected e.g. +00:00 or -05:30")
        if "utc_offset" in self.model_fields_set and self.time_format is None:
            raise ValueError("utc_offset: only beside time_format")
        return self

    @property
    def columns(self) -> list[str]:
        """What it reads."""
        own = self.join or ([self.source] if self.source else [])
        return own + ([self.zero_if.source] if self.zero_if else [])


class FeedRule(BaseModel):
    """How rows become lines of one feed; ``files`` is a pattern that the names of its files match."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["ticks", "fills"]
    files: StrictStr = Field(default="*", min_length=1)
    fields: dict[str, FieldRule]

    @model_validator(mode="after")
    def _check(self) -> FeedRule:
        known = roles(self.kind)
        for name, rule in self.fields.items():
            if name not in known:
                raise ValueError(
                    f"fields.{name}: no field of the {self.kind} feed; expected one of {', '.join(known)}"
                )
            _check_unit(name, known[name], rule)
            if rule.number_repeats and known[name] != "id":
                raise ValueError(f"fields.{name}.number_repeats: only an id has it")
            if rule.zero_if and known[name] not in ("number", "count"):
                raise ValueError(f"fields.{name}.zero_if: only a number has it")
        for name in schema(self.kind)["required"]:
            if name != "schema" and name not in self.fields:
                raise ValueError(
                    f"fields.{name}: missing; expected a rule, for every line of the {self.kind} feed has it"
                )
        return self


class FormatMapping(BaseModel):
    """A mapping file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = Field(alias="schema")
    title: StrictStr = Field(min_length=1)
    format: Literal["csv", "jsonl"]
    delimiter: StrictStr = Field(default=",", min_length=1, max_length=1)
    feeds: list[FeedRule] = Field(min_length=1)

    @property
    def constants(self) -> dict[str, Scalar]:
        """``kind.field`` -> what is stated of every row, or of rows without the column, and read nowhere."""
        rules = [(f"{feed.kind}.{name}", rule) for feed in self.feeds for name, rule in feed.fields.items()]
        always = {name: rule.value for name, rule in rules if rule.value is not None}
        return always | {f"{name} (where absent)": r.default for name, r in rules if r.default is not None}


def _check_unit(name: str, role: Role, rule: FieldRule) -> None:
    """Refuse a unit that the field cannot have."""
    if rule.unit is not None:
        known = (
            _TIME_NS if role == "time" else next((u for end, u in UNITS.items() if name.endswith(end)), {})
        )
        if rule.unit not in known:
            expected = f"expected one of {', '.join(known)}" if known else "expected none; use scale"
            raise ValueError(f"fields.{name}.unit: {rule.unit!r}; {expected}")
    if rule.time_format is not None and role != "time":
        raise ValueError(f"fields.{name}.time_format: only a time has one")
    if rule.time_format is not None and rule.unit is not None:
        raise ValueError(f"fields.{name}.unit: means nothing beside time_format")
    if role not in ("number", "count") and rule.scale != 1.0:
        raise ValueError(f"fields.{name}.scale: only a number has one")


class Translator:
    """Turns rows into lines of one feed.

    Args:
        rule: what to do.
        nested: whether a dotted column means a path into the row (JSON); in CSV a dot is a letter.
    """

    def __init__(self, rule: FeedRule, *, nested: bool) -> None:
        self.kind: Kind = rule.kind
        self._nested = nested
        self._rules = [
            (name, role, rule.fields[name]) for name, role in roles(rule.kind).items() if name in rule.fields
        ]
        self._required = frozenset(schema(rule.kind)["required"])
        self._times: Counter[tuple[str, str]] = Counter()
        joined = rule.kind == "fills" and (one := rule.fields["fill_id"]).join and not one.number_repeats
        hint = (
            "; where equal rows are different pieces, number_repeats: true in fields.fill_id"
            if joined
            else ""
        )
        self.repeated = f"duplicate: an earlier row has this side, order_id and fill_id{hint}"
        self._match = {name: Bounded(r.match) for name, _, r in self._rules if r.match is not None}

    def __call__(self, row: MappingABC[str, Any]) -> tuple[dict[str, Any], int]:
        """Fields of the feed (times as integer ns), and ``ts`` in nanoseconds.

        Raises:
            BadRow: naming the field and what is wrong with it.
        """
        out: dict[str, Any] = {}
        for name, role, rule in self._rules:
            try:
                value = rule.value if rule.value is not None else self._read(name, rule, row)
                if value is not None:
                    out[name] = _converted(name, role, rule, value)
                    if rule.zero_if is not None and out[name] == 0:
                        self._doubt(rule.zero_if, row)
            except (ValueError, InvalidOperation, OverflowError) as exc:
                reason = "no number" if isinstance(exc, InvalidOperation) else " ".join(str(exc).split())
                raise BadRow(f"{name}: {reason[:200]}") from exc
        if "ts" not in out:
            raise BadRow(f"ts: nothing in {_named('ts', self._rules)}")
        return out, out["ts"]

    def _doubt(self, rule: ZeroRule, row: MappingABC[str, Any]) -> None:
        """Refuse a zero that another column contradicts or does not confirm."""
        other = _lookup(row, rule.source, self._nested)
        if Bounded(rule.match).search(_text(other)) is None:
            raise ValueError(f"0, but {rule.source} is {_text(other)[:80]!r}; expected the converted value")

    def _read(self, name: str, rule: FieldRule, row: MappingABC[str, Any]) -> Any:
        """The value of the columns, before it is converted; None when there is none and no default."""
        found = [_lookup(row, column, self._nested) for column in rule.columns]
        if any(value is None or value == "" for value in found[: len(rule.join or [""])]):
            return rule.default
        own = found[: len(rule.join or [""])]
        value: Any = own[0] if rule.join is None else "|".join(_text(part) for part in own)
        if rule.unknown and _stands_for_nothing(_text(value), rule.unknown):
            if name in self._required:
                raise ValueError(
                    f"{_text(value)[:60]!r} stands for not known in this format; expected a value"
                )
            return None
        if rule.number_repeats:
            self._times[name, value] += 1
            times = self._times[name, value]
            value = value if times == 1 else f"{value}#{times}"
        pattern = self._match.get(name)
        if pattern is not None:
            hit = pattern.search(_text(value))
            if hit is None:
                raise ValueError(f"{_text(value)[:60]!r} does not match {pattern.pattern}")
            value = hit[1]
        for piece in rule.remove:
            value = _text(value).replace(piece, "")
        if rule.map is not None:
            if _text(value) not in rule.map:
                raise ValueError(f"{_text(value)[:60]!r} is not in the map of {', '.join(rule.map)}")
            value = rule.map[_text(value)]
        return value


def _stands_for_nothing(text: str, unknown: list[str]) -> bool:
    """Whether a text is one of those, or the same number."""
    if text.strip() in unknown:
        return True
    try:
        return any(Decimal(text) == Decimal(one) for one in unknown)
    except InvalidOperation:
        return False


def _named(name: str, rules: list[tuple[str, Role, FieldRule]]) -> str:
    return " and ".join(column for field, _, rule in rules if field == name for column in rule.columns)


def _lookup(row: MappingABC[str, Any], column: str, nested: bool) -> Any:
    if not nested or column in row:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    """A value as the text that patterns and maps see."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _converted(name: str, role: Role, rule: FieldRule, value: Any) -> Any:
    """The value in the field's own type and unit."""
    if role == "time":
        return _time_ns(rule, value)
    if role in ("text", "id"):
        return (
            value if role == "id" and isinstance(value, int) and not isinstance(value, bool) else _text(value)
        )
    if role == "flag":
        flag = _FLAGS.get(_text(value).lower())
        if flag is None:
            raise ValueError(f"{_text(value)[:60]!r}; expected true or false")
        return flag
    if isinstance(value, bool):
        raise ValueError(f"{_text(value)!r}; expected a number")
    factor = rule.scale
    if rule.unit is not None:
        factor *= next(units[rule.unit] for end, units in UNITS.items() if name.endswith(end))
    exact = Decimal(_text(value).strip())
    number = float(exact) if factor == 1.0 else round(float(exact) * factor, _DIGITS)
    if not isfinite(number):
        raise ValueError(f"{_text(value)[:60]!r} is not finite")
    if role == "count":
        if number != int(number):
            raise ValueError(f"{_text(value)[:60]!r}; expected a whole number")
        return int(number)
    return number


def _time_ns(rule: FieldRule, value: Any) -> int:
    """Nanoseconds since 1970."""
    if rule.time_format is not None:
        sign, hours, minutes = _OFFSET.fullmatch(rule.utc_offset).groups()  # type: ignore[union-attr]
        offset = timedelta(hours=int(hours), minutes=int(minutes)) * (1 if sign == "+" else -1)
        moment = datetime.strptime(_text(value), rule.time_format).replace(tzinfo=UTC) - offset
        return to_ns((moment - _EPOCH) // timedelta(microseconds=1) * 1000)
    if rule.unit is not None:
        exact = Decimal(_text(value).strip())
        if not exact.is_finite():
            raise ValueError(f"{_text(value)[:60]!r} is no time")
        ns = int(exact * _TIME_NS[rule.unit])
        if not MIN_NS <= ns < MAX_NS:
            raise ValueError(f"{_text(value)[:60]!r} [{rule.unit}] lies outside the years 2000 to 2261")
        return ns
    return to_ns(int(value) if isinstance(value, float) and value.is_integer() else value)
