"""Errors by code: the optional ``error_codes`` of the tick feed, an object ``{code: count}`` beside ``errors``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import orjson
import pandas as pd

from mmlib.feeds.foreign import opened
from mmlib.metrics.parts import Part

UNCODED = "no code"
_KEY = b'"error_codes"'
_BLOCK = 1 << 20
_CODE = re.compile(r"[A-Z0-9_]{1,64}")
KEYS = ["symbol", "arm"]


def error_codes(parts: Sequence[Part], files: Iterable[Path], span_h: float) -> pd.DataFrame:
    """Errors of a day by symbol, arm and code.

    Codes are counted in the lines that carry them, other errors of the ticks stand under ``no code``. A count that is no whole
    number, and a code that is no name in capitals, is passed over: its errors stay without a code.

    Args:
        parts: the day's ticks, whose ``errors`` are the whole.
        files: the tick files that they were read from.
        span_h: time that the ticks cover [h], for the rate.

    Returns:
        symbol, arm, code, n, per_h, share_pct (of the errors of that symbol and arm); most frequent first.
    """
    totals = {(part.symbol, part.arm): int(part.ticks["errors"].sum()) for part in parts}
    if not any(totals.values()):
        return pd.DataFrame(columns=[*KEYS, "code", "n", "per_h", "share_pct"])
    first_ns = min(int(part.ticks["ts"].iloc[0].value) for part in parts)
    last_ns = max(int(part.ticks["ts"].iloc[-1].value) for part in parts)
    coded = _counted(files, first_ns, last_ns)
    rows = []
    for (symbol, arm), total in totals.items():
        if not total:
            continue
        found = coded.get((symbol, arm), Counter())
        rest = total - sum(found.values())
        named = [*found.items(), *([(UNCODED, rest)] if rest > 0 else [])]
        rows += [
            (symbol, arm, code, n, n / span_h if span_h else float("nan"), 100 * n / total)
            for code, n in sorted(named, key=lambda item: (-item[1], item[0]))
        ]
    return pd.DataFrame(rows, columns=[*KEYS, "code", "n", "per_h", "share_pct"])


def _counted(files: Iterable[Path], first_ns: int, last_ns: int) -> dict[tuple[str, str], Counter[str]]:
    """Counts by (symbol, arm) and code, of lines within two times."""
    from mmlib.feeds.timestamps import to_ns

    found: dict[tuple[str, str], Counter[str]] = {}
    for path in files:
        with opened(path) as handle:
            for line in _lines_with(_KEY, handle):
                try:
                    row = orjson.loads(line)
                    at = to_ns(row["ts"])
                    codes, key, most = row["error_codes"], (row["symbol"], row["arm"]), row["errors"]
                except (ValueError, KeyError, TypeError):
                    continue  # the reader keeps such a line in quarantine
                if not isinstance(codes, dict) or not first_ns <= at <= last_ns:
                    continue
                good = {c: n for c, n in codes.items() if _CODE.fullmatch(c) and type(n) is int and n > 0}
                if sum(good.values()) <= most:
                    found.setdefault(key, Counter()).update(good)
    return found


def _lines_with(key: bytes, handle: BinaryIO) -> Iterator[bytes]:
    """The lines that hold a text. Few do, so whole blocks without it are passed over, and nothing of them is copied."""
    rest = b""
    while block := handle.read(_BLOCK):
        begin, end = block.find(b"\n") + 1, block.rfind(b"\n") + 1
        first = rest + block[:begin]
        if end and key in first:
            yield first
        if block.find(key, begin, end) >= 0:
            yield from (line for line in block[begin:end].split(b"\n") if key in line)
        rest = block[end:] if end else rest + block
    if key in rest:
        yield rest
