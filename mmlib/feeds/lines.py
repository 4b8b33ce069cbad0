"""TICK and FILL records as JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson

from mmlib import dtypes
from mmlib._io import UserError
from mmlib.core import jsonrows
from mmlib.core.jsonrows import FLAG, INTEGER, MILLIS, NUMBER, TEXT, TIME
from mmlib.feeds.schema import LIQUIDITY, SCHEMA_VERSION, SIDE_TEXT, Kind

BLOCK = 4096
"""Rows serialised at once."""

_TICK_COLUMNS = (
    ("ts", "ts_ns", TIME),
    ("symbol", "", TEXT),
    ("arm", "arm", TEXT),
    ("scheduled_ts", "scheduled_ns", TIME),
    *((f"{stage}_ms", f"{stage}_ms", MILLIS) for stage in (*dtypes.STAGES, "tick_total", "modelled")),
    ("cache_hit", "cache_hit", FLAG),
    ("cache_age_ms", "cache_age_ms", MILLIS),
    *((name, name, FLAG) for name in ("used_stale", "deadline_miss")),
    ("guard_level", "guard_level", INTEGER),
    ("breaker_open", "breaker_open", FLAG),
    *((name, name, NUMBER) for name in ("rss_mb", "mid", "spread_bps", "inventory")),
    ("errors", "errors", INTEGER),
)
_FILL_COLUMNS = (
    ("ts", "ts_ns", TIME),
    ("symbol", "", TEXT),
    ("arm", "arm", TEXT),
    ("side", "side", TEXT),
    *((name, name, NUMBER) for name in ("price", "qty")),
    ("liquidity", "liquidity", TEXT),
    *(
        (name, name, NUMBER)
        for name in ("fee", "quote_price", "mid_at_quote", "mid_at_fill", "queue_ahead_qty")
    ),
    ("latency_ms", "latency_ms", MILLIS),
    *((name, name, INTEGER) for name in ("order_id", "fill_id")),
)
_COLUMNS = {"ticks": _TICK_COLUMNS, "fills": _FILL_COLUMNS}


class LineMaker:
    """Turns records of one feed into lines; durations are rounded to a nanosecond, NaN and inf become null.

    Args:
        kind: ticks or fills.
        symbols: the names that records may belong to, by index.
        arms: arm names by index.
        source: what every line states as its source, a grade of evidence; "" states none.

    Raises:
        UserError: a symbol that cannot be a symbol.
    """

    def __init__(self, kind: Kind, symbols: Sequence[str], arms: Sequence[str], source: str = "") -> None:
        for symbol in symbols:
            if not 1 <= len(symbol) <= 64 or set(symbol) & set("{}"):
                raise UserError(f"symbol {symbol[:64]!r}: expected 1 to 64 characters without braces")
        self._columns = _COLUMNS[kind]
        tables = {"symbol": symbols, "arm": arms, "side": tuple(SIDE_TEXT.values()), "liquidity": LIQUIDITY}
        texts: list[bytes] = []
        self._range: dict[str, tuple[int, int]] = {}  # text column -> its first text, and how many it has
        for name, _, code in self._columns:
            if code == TEXT:
                self._range[name] = len(texts), len(tables[name])
                texts += [orjson.dumps(text) for text in tables[name]]
        heads = [f',"{name}":'.encode() for name, _, _ in self._columns]
        origin = f',"source":{orjson.dumps(source).decode()}' if source else ""
        heads[0] = f'{{"schema":{SCHEMA_VERSION}{origin}'.encode() + heads[0]
        self._kinds = np.array([code for *_, code in self._columns], np.uint8)
        self._heads, self._head_ends = _joined(heads)
        self._texts, self._text_ends = _joined(texts)
        widest = max(jsonrows.WIDEST, *map(len, texts))
        self._line_bytes = len(self._heads) + widest * len(self._columns) + 2

    def lines(self, records: np.ndarray, symbol: np.ndarray | int = 0) -> memoryview:
        """Lines of ``TICK[n]`` or ``FILL[n]``, whose symbols are ``int64[n]`` or one for all.

        Raises:
            IndexError: a symbol or an arm without a name, or an unknown liquidity.
        """
        shape = len(self._columns), len(records)
        whole, real = np.zeros(shape, np.int64), np.zeros(shape)
        for row, (name, field, code) in enumerate(self._columns):
            if code in (NUMBER, MILLIS):
                real[row] = records[field]
            elif code == TEXT:
                index = (
                    symbol if name == "symbol" else records[field] < 0 if name == "side" else records[field]
                )
                whole[row] = self._text(name, np.asarray(index))
            else:
                whole[row] = records[field]
        buf = np.empty(len(records) * self._line_bytes, np.uint8)
        size = jsonrows.write_rows(
            self._kinds, self._heads, self._head_ends, self._texts, self._text_ends, whole, real, buf
        )
        return buf[:size].data

    def _text(self, name: str, index: np.ndarray) -> np.ndarray:
        """Places of a column's texts among all texts."""
        first, count = self._range[name]
        if bool(((index < 0) | (index >= count)).any()):
            raise IndexError(f"{name}: {int(index.max())}; expected 0 to {count - 1}")
        return first + index.astype(np.int64)


def _joined(parts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Byte strings one behind the other, and where each ends."""
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum([len(part) for part in parts], dtype=np.int64)
