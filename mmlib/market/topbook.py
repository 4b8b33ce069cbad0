"""Reader of top-of-book and trade CSV files, one row a second, such as the Gemini set; arrival times are modelled."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmlib._io import UserError, sha256_file, sha256_json
from mmlib.dtypes import EVENT, FLAG_BUY, FLAG_SELL, KIND_DEPTH, KIND_TRADE
from mmlib.market.events import BOTH, count_off_grid, infer_instrument, longest_in_order, round_half_away
from mmlib.market.latency import refresh_model
from mmlib.market.lines import Lines, Quarantine, why_refused
from mmlib.market.recorded import ReaderOptions, Recording, count_gaps
from mmlib.market.source import FeedLatency, Instrument

_COUNTERS = ("lines", "events", "bad_lines", "crossed", "one_sided", "time_backwards", "truncated")
_CROSSED = "crossed: the bid is at or above the ask"
_ONE_SIDED = "one side is empty"
_NAME = re.compile(r"(?:.*__)?(?P<pair>[a-z0-9]+-[a-z0-9]+)__.*(?P<kind>market-depth|trade)\.csv(?:\.gz)?")
_EARLIEST_S, _LATEST_S = 1e9, 4e9  # 2001 to 2096
_LARGEST = 4e10
_MAX_TICKS = 2**31 - 1


class _BadRow(ValueError):
    """The row cannot be used; the message is the reason."""


@dataclass(frozen=True)
class _Format:
    """One kind of file."""

    header: bytes
    columns: int  # numbers in a row
    parse: Callable[[bytes], tuple[float, ...]]


@dataclass(frozen=True)
class _Table:
    """Rows of all files of one kind: time [s] first, then the numbers of a row."""

    values: np.ndarray  # float64[n, columns]
    quality: dict[str, int]
    refused: str  # see `why_refused`


def read_topbook(path: Path, options: ReaderOptions) -> Recording:
    """Read the files of one symbol from a directory, or a depth file with the trade file beside it.

    Args:
        path: a directory, or one ``*market-depth.csv[.gz]``.
        options: the symbol and what else readers are told; its latency model gives the arrival times.

    Raises:
        UserError: no such files, another header, the symbol not among them, no usable row.
    """
    depth_files, trade_files = _files(path, options.symbol)
    depth = _read(depth_files, _DEPTH, options.quarantine_dir)
    trades = _read(trade_files, _TRADE, options.quarantine_dir)
    if not len(depth.values):
        raise UserError(
            f"{path}: no usable row of market depth; expected {_DEPTH.header.decode()}{depth.refused}"
        )
    book, prints = depth.values, trades.values
    prices = np.concatenate([book[:, 1], book[:, 3], prints[:, 1]])
    sizes = np.concatenate([book[:, 2], book[:, 4], prints[:, 2]])
    instrument = options.instrument or Instrument(options.symbol, *infer_instrument(prices, sizes))
    if prices.max() / instrument.tick_size > _MAX_TICKS:
        raise UserError(
            f"{path}: a price is beyond {_MAX_TICKS} ticks of {instrument.tick_size:g}; declare a larger tick"
        )
    bid_ticks, ask_ticks = (round_half_away(book[:, c] / instrument.tick_size) for c in (1, 3))
    book = book[bid_ticks < ask_ticks]  # a declared tick may be too coarse for the narrowest spreads
    sha256 = sha256_json({file.name: sha256_file(file) for file in [*depth_files, *trade_files]})
    rng = np.random.default_rng(
        int.from_bytes(hashlib.sha256(f"{options.seed}|{sha256}".encode()).digest()[:8], "big")
    )
    events = _arrange(_book_rows(book, instrument), _trade_rows(prints, instrument), options.latency, rng)
    refresh_ms, label = refresh_model(options.latency, "the recording carries no arrival times")
    quality = {name: depth.quality[name] + trades.quality[name] for name in depth.quality}
    quality |= {"trades": len(prints), "prices": len(prices)}
    quality["off_tick"] = count_off_grid(prices, instrument.tick_size)
    quality["crossed"] += len(bid_ticks) - len(book)
    quality |= {"rows": len(events), "gaps_over_60s": count_gaps((book[:, 0] * 1e9).astype(np.int64))}
    cut = "; a file is cut off, what it holds was read" if quality["truncated"] else ""
    missing = "" if len(prints) else "; without trades"
    return Recording(
        events=events,
        instrument=instrument,
        description=(
            f"top of book and trades, {len(depth_files)} + {len(trade_files)} files in {depth_files[0].parent.name}, "
            f"arrival times modelled{missing}{cut}"
        ),
        sha256=sha256,
        refresh_ms=refresh_ms,
        refresh_label=label,
        quality=quality,
    )


def _files(path: Path, symbol: str) -> tuple[list[Path], list[Path]]:
    """Depth and trade files of the symbol, by name and so by date."""
    by_symbol: dict[str, dict[str, list[Path]]] = {}
    for file in sorted(path.iterdir() if path.is_dir() else path.parent.iterdir()):
        match = _NAME.fullmatch(file.name)
        if match and file.is_file():
            pair = match["pair"].replace("-", "").upper()
            by_symbol.setdefault(pair, {"market-depth": [], "trade": []})[match["kind"]].append(file)
    if not any(kinds["market-depth"] for kinds in by_symbol.values()):
        raise UserError(
            f"{path}: no recording in it; expected files such as gemini__eth-usd__DATE__market-depth.csv.gz"
        )
    if symbol not in by_symbol or not by_symbol[symbol]["market-depth"]:
        raise UserError(f"{path}: symbol {symbol} is not in it; found {', '.join(sorted(by_symbol)[:10])}")
    depth, trades = by_symbol[symbol]["market-depth"], by_symbol[symbol]["trade"]
    if not path.is_dir():
        beside = path.name.replace("market-depth", "trade")
        depth, trades = [path], [file for file in trades if file.name == beside]
    return depth, trades


def _read(files: list[Path], form: _Format, quarantine_dir: Path | None) -> _Table:
    """Rows of files in time order; rows that cannot be used, or go back in time, are in quarantine."""
    quality = dict.fromkeys(_COUNTERS, 0)
    quarantines = [Quarantine(file) for file in files]
    rows: list[tuple[float, ...]] = []
    places: list[tuple[Quarantine, int]] = []
    for quarantine in quarantines:
        for number, row in _parse(form, quarantine, quality):
            rows.append(row)
            places.append((quarantine, number))
    values = np.array(rows, np.float64).reshape(len(rows), form.columns)
    keep = longest_in_order(values[:, 0])
    for at in np.flatnonzero(~keep).tolist():
        quarantine, number = places[at]
        shown = ",".join(f"{value:.12g}" for value in rows[at]).encode()
        quarantine.add(number, "goes back in time, or jumps ahead of what follows", shown)
    for quarantine in quarantines:
        quarantine.save(quarantine_dir)
    quality["time_backwards"] = int((~keep).sum())
    quality["events"] = int(keep.sum())
    quality["bad_lines"] = sum(quarantine.count for quarantine in quarantines)
    return _Table(values[keep], quality, why_refused(*quarantines))


def _parse(
    form: _Format, quarantine: Quarantine, quality: dict[str, int]
) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Line number and numbers of each usable row of one file; the others are counted and kept aside."""
    lines = Lines(quarantine.path)
    number = 0
    for number, raw in enumerate(lines, 1):
        if number == 1:
            if raw.strip() != form.header:
                raise UserError(f"{quarantine.path}:1: another header; expected {form.header.decode()}")
            continue
        if not raw.strip():
            continue
        try:
            yield number, form.parse(raw)
        except ValueError as exc:
            reason = str(exc) if isinstance(exc, _BadRow) else "not the numbers expected"
            quality["crossed"] += reason == _CROSSED
            quality["one_sided"] += reason == _ONE_SIDED
            quarantine.add(number, reason, raw)
    if lines.torn:
        quarantine.add(number + 1, "cut off", lines.torn)
    quality["lines"] += number
    quality["truncated"] += lines.truncated


def _depth_row(raw: bytes) -> tuple[float, ...]:
    """``time, bid, bid size, ask, ask size``."""
    time, bid_text, ask_text = raw.split(b",")
    bid, bid_size = map(float, bid_text.split(b"_")) if bid_text.strip() else (math.nan, 0.0)
    ask, ask_size = map(float, ask_text.split(b"_")) if ask_text.strip() else (math.nan, 0.0)
    if not (bid_size > 0.0 and ask_size > 0.0 and bid > 0.0 and ask > 0.0):
        raise _BadRow(_ONE_SIDED)
    if bid >= ask:
        raise _BadRow(_CROSSED)
    return _checked((float(time), bid, bid_size, ask, ask_size))


def _trade_row(raw: bytes) -> tuple[float, ...]:
    """``time, price, size, 1 when the buyer was the maker``."""
    time, price, size, maker = raw.split(b",")
    row = (float(time), float(price), float(size), float(maker))
    if not (row[1] > 0.0 and row[2] > 0.0 and row[3] in (0.0, 1.0)):
        raise _BadRow("not a trade")
    return _checked(row)


def _checked(row: tuple[float, ...]) -> tuple[float, ...]:
    if not _EARLIEST_S <= row[0] <= _LATEST_S:
        raise _BadRow("time outside 2001 to 2096")
    if not max(row[1:]) < _LARGEST:
        raise _BadRow("a number is out of range")
    return row


_DEPTH = _Format(b"time_seconds,bid_price_bid_size,ask_price_ask_size", 5, _depth_row)
_TRADE = _Format(b"time_seconds,price,size,is_buyer_maker", 4, _trade_row)


def _times_ns(seconds: np.ndarray) -> np.ndarray:
    """Nanoseconds; the files give milliseconds, and a float holds no more."""
    return np.asarray(np.rint(seconds * 1e3).astype(np.int64) * 1_000_000)


def _book_rows(book: np.ndarray, instrument: Instrument) -> np.ndarray:
    """Rows that lead from each second's best prices to the next: new levels first, then the old ones go.

    A side is never empty in between. Where a new price runs over the old one of the other side, the other
    side moves first.
    """
    bid, ask = (round_half_away(book[:, c] / instrument.tick_size).astype(np.int64) for c in (1, 3))
    old_bid, old_ask = (np.concatenate([side[:1], side[:-1]]) for side in (bid, ask))
    rows = np.zeros((len(book), 4), EVENT)
    rows["exch_ts_ns"] = _times_ns(book[:, 0])[:, None]
    rows["price_ticks"] = np.stack([bid, ask, old_bid, old_ask], axis=1)
    rows["flags"] = KIND_DEPTH | np.array([FLAG_BUY, FLAG_SELL, FLAG_BUY, FLAG_SELL], np.uint8)
    # A size of under half a lot would read as a deletion.
    smallest = instrument.lot_size
    rows["qty"][:, 0] = np.maximum(book[:, 2], smallest)
    rows["qty"][:, 1] = np.maximum(book[:, 4], smallest)
    up = bid >= old_ask
    rows[up] = rows[up][:, [1, 0, 3, 2]]
    needed = np.ones((len(book), 4), bool)
    needed[:, 2], needed[:, 3] = bid != old_bid, ask != old_ask
    needed[up] = needed[up][:, [1, 0, 3, 2]]
    return np.asarray(rows[needed])


def _trade_rows(prints: np.ndarray, instrument: Instrument) -> np.ndarray:
    rows = np.zeros(len(prints), EVENT)
    rows["exch_ts_ns"] = _times_ns(prints[:, 0])
    rows["price_ticks"] = round_half_away(prints[:, 1] / instrument.tick_size)
    rows["qty"] = prints[:, 2]
    rows["flags"] = KIND_TRADE | np.where(prints[:, 3] == 1.0, FLAG_SELL, FLAG_BUY)
    return rows


def _arrange(
    book: np.ndarray, prints: np.ndarray, latency: FeedLatency, rng: np.random.Generator
) -> np.ndarray:
    """Book and trades by exchange time, each moment with one drawn latency; nothing overtakes anything."""
    rows = np.concatenate([book, prints])
    rows = rows[np.argsort(rows["exch_ts_ns"], kind="stable")]
    moments, place = np.unique(rows["exch_ts_ns"], return_inverse=True)
    delay_ns = latency.median_ms * 1e6 * np.exp(latency.sigma * rng.standard_normal(len(moments)))
    rows["local_ts_ns"] = np.maximum.accumulate(moments + delay_ns.astype(np.int64))[place]
    rows["flags"] |= BOTH
    return rows
