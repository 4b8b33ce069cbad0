"""Brute-force reference of feed reading: the standard library only, one line at a time."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any

_NUMBERS = {
    "ticks": (
        *(
            "fetch_md_ms",
            "spread_ms",
            "guards_ms",
            "inventory_ms",
            "queue_aware_ms",
            "emit_ms",
            "tick_total_ms",
        ),
        *("modelled_ms", "cache_age_ms", "rss_mb", "mid", "spread_bps", "inventory"),
    ),
    "fills": (
        *(
            "price",
            "qty",
            "fee",
            "quote_price",
            "mid_at_quote",
            "mid_at_fill",
            "queue_ahead_qty",
            "latency_ms",
        ),
    ),
}
_NEEDED = {"ticks": {"tick_total_ms"}, "fills": {"price", "qty", "fee"}}
_SIGNED = {"spread_bps", "inventory", "fee"}
_POSITIVE = {"mid", "price", "qty", "quote_price", "mid_at_quote", "mid_at_fill"}


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def accepts(kind: str, line: str) -> bool:
    """Whether a line is a good one."""
    try:
        row = json.loads(line, parse_constant=_refuse)
    except ValueError:
        return False
    if not isinstance(row, dict) or row.get("schema") not in (1, 2) or not _whole(row["schema"]):
        return False
    if row.get("source") not in (
        None,
        "simulated",
        "stated by the desk",
        "recording (tiled)",
        "recording",
        "live",
    ):
        return False
    symbol = row.get("symbol")
    if not isinstance(symbol, str) or not 1 <= len(symbol) <= 64 or row.get("arm") not in ("A", "B"):
        return False
    return (
        _time(row.get("ts"))
        and all(_number(row.get(name), name, name in _NEEDED[kind]) for name in _NUMBERS[kind])
        and (_tick(row) if kind == "ticks" else _fill(row))
    )


def _tick(row: dict[str, Any]) -> bool:
    flags = ("cache_hit", "used_stale", "deadline_miss", "breaker_open")
    return (
        (row.get("scheduled_ts") is None or _time(row["scheduled_ts"]))
        and all(isinstance(row.get(name), bool) for name in flags)
        and _whole(row.get("guard_level"))
        and row["guard_level"] in (0, 1, 2)
        and _whole(row.get("errors"))
        and 0 <= row["errors"] < 2**32
    )


def _fill(row: dict[str, Any]) -> bool:
    return (
        row.get("side") in ("buy", "sell")
        and row.get("liquidity") in ("maker", "taker")
        and (isinstance(row.get("fill_id"), str) or _whole(row.get("fill_id")))
        and (row.get("order_id") is None or isinstance(row["order_id"], str) or _whole(row["order_id"]))
    )


def _whole(value: Any) -> bool:
    """A whole number as JSON Schema has it, where 1.0 is one."""
    return type(value) is int or (type(value) is float and value.is_integer())


def _number(value: Any, name: str, needed: bool) -> bool:
    if value is None:
        return not needed
    if type(value) not in (int, float) or not math.isfinite(value):
        return False
    return name in _SIGNED or (value > 0 if name in _POSITIVE else value >= 0)


def _time(value: Any) -> bool:
    if type(value) is int:
        scale = 1.0 if value < 1e11 else 1e3 if value < 1e14 else 1e6 if value < 1e17 else 1e9
        return 946_684_800 <= value / scale < 9_214_646_400
    if not isinstance(value, str):
        return False
    if value.isdigit():
        return len(value) >= 9 and _time(int(value))
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return False
    return value[10:11] in ("T", "t", " ") and moment.tzinfo is not None and 2000 <= moment.year <= 2261


def nanoseconds(value: int | str) -> int:
    """A time that ``accepts`` took, in nanoseconds since 1970."""
    if isinstance(value, str) and not value.isdigit():
        fraction = "".join(re.findall(r"\.(\d+)", value)).ljust(9, "0")
        moment = datetime.fromisoformat(re.sub(r"\.\d+", "", value))
        return int(moment.timestamp()) * 10**9 + int(fraction)
    number = int(value)
    return number * (10**9 if number < 1e11 else 10**6 if number < 1e14 else 10**3 if number < 1e17 else 1)


def read(kind: str, data: bytes) -> tuple[list[dict[str, Any]], list[int]]:
    """The good lines of a feed file, the first of repeated ones, and the numbers of the bad and the repeated."""
    good, bad, seen = [], [], set()
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            line = raw.decode("utf-8")
            row = json.loads(line) if accepts(kind, line) else None
            if "\\u" in line:
                json.dumps(row, ensure_ascii=False).encode()  # half a surrogate is no text
        except (ValueError, RecursionError):
            row = None
        if row is None:
            bad.append(number)
            continue
        row = {name: row.get(name) for name in _FIELDS[kind]} | {"ts": nanoseconds(row["ts"])}
        same = ("symbol", "arm", "side", "order_id", "fill_id") if kind == "fills" else _FIELDS[kind]
        key = tuple(row[name] if name not in ("fill_id", "order_id") else str(row.get(name)) for name in same)
        if key in seen:
            bad.append(number)
            continue
        seen.add(key)
        good.append(row)
    return good, bad


_FIELDS = {
    "ticks": (
        *("ts", "symbol", "arm", *_NUMBERS["ticks"], "cache_hit", "used_stale", "deadline_miss"),
        *("guard_level", "breaker_open", "errors", "scheduled_ts"),
    ),
    "fills": ("ts", "symbol", "arm", "side", "liquidity", *_NUMBERS["fills"], "order_id", "fill_id"),
}
