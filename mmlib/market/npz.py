"""Reader of recordings that hftbacktest converted: rows under ``data`` in an .npz, or a plain .npy.

Such rows are in processing order already, with their clocks corrected, so they are taken as they stand: ticks and whole lots
instead of prices, one byte of flags instead of eight.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from mmlib._io import UserError
from mmlib.core.columns import EARLIEST_NS, LARGEST, LATEST_NS
from mmlib.dtypes import (
    EVENT,
    EVENT_KIND_MASK,
    FLAG_BUY,
    FLAG_EXCH,
    FLAG_LOCAL,
    FLAG_SELL,
    KIND_CLEAR,
    KIND_SNAPSHOT,
    KIND_TRADE,
)
from mmlib.market.events import count_off_grid, infer_instrument, round_half_away
from mmlib.market.latency import measured_ms
from mmlib.market.lines import Quarantine, why_refused
from mmlib.market.recorded import ReaderOptions, Recording, count_gaps
from mmlib.market.source import CHUNK_ROWS, Instrument

_FIELDS = ("ev", "exch_ts", "local_ts", "px", "qty")
_EXPECTED = "hftbacktest events: rows with the fields ev, exch_ts, local_ts, px, qty under 'data'"
_FLAGS = ((1 << 31, FLAG_EXCH), (1 << 30, FLAG_LOCAL), (1 << 29, FLAG_BUY), (1 << 28, FLAG_SELL))
_MAX_TICKS = 2**31 - 1
_SAMPLE_ROWS = 4 * CHUNK_ROWS


@dataclass
class _Taken:
    """Rows converted so far, and what was counted."""

    rows: np.ndarray  # EVENT[n of the file]
    n: int = 0
    quality: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("lines", "ignored", "trades_without_side", "off_tick"), 0)
    )
    last_exch_ns: int = 0
    last_local_ns: int = 0


def read_npz(path: Path, options: ReaderOptions) -> Recording:
    """Read one recording; the file names no symbol, so it is taken for the one asked for.

    Args:
        path: .npz with ``data`` or a single array, or .npy.
        options: the symbol and what else readers are told.

    Raises:
        UserError: no such rows, none that can be used, or rows out of order.
    """
    quarantine = Quarantine(path)
    instrument = options.instrument or Instrument(options.symbol, *_infer(path))
    taken: _Taken | None = None
    with _opened(path) as (count, chunks):
        taken = _Taken(np.zeros(count, EVENT))
        for chunk in chunks:
            _take(path, chunk, instrument, taken, quarantine)
    quarantine.save(options.quarantine_dir)
    events = taken.rows[: taken.n]
    if not len(events):
        raise UserError(
            f"{path}: none of its {taken.quality['lines']} rows can be used; "
            f"expected {_EXPECTED}{why_refused(quarantine)}"
        )
    local = events[events["flags"] & FLAG_LOCAL != 0]
    if not len(local):
        raise UserError(f"{path}: no row has the local flag; expected rows for both processors")
    both = local[local["flags"] & FLAG_EXCH != 0]
    arrivals = both[np.flatnonzero(np.diff(both["local_ts_ns"], prepend=-1))]
    latency_ns = np.maximum(arrivals["local_ts_ns"] - arrivals["exch_ts_ns"], 0)
    return Recording(
        events=events,
        instrument=instrument,
        description=f"hftbacktest recording {path.name}, {len(events)} rows",
        sha256=options.sha256_of(path),
        refresh_ms=2.0 * measured_ms(latency_ns if len(latency_ns) else np.zeros(1, np.int64)),
        refresh_label="drawn from the recording's own feed latencies, doubled",
        quality=taken.quality
        | {
            "events": len(events),
            "trades": int((local["flags"] & EVENT_KIND_MASK == KIND_TRADE).sum()),
            "prices": len(events),
            "rows": len(local),
            "split_rows": len(events) - len(local),
            "bad_lines": quarantine.count,
            "gaps_over_60s": count_gaps(local["local_ts_ns"]),
        },
        quarantined={quarantine.name: quarantine.text()} if quarantine.count else {},
    )


def _infer(path: Path) -> tuple[float, float]:
    """Tick and lot size as the beginning of the recording suggests."""
    prices: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    seen = 0
    with _opened(path) as (_, chunks):
        for chunk in chunks:
            kind = chunk["ev"] & 0xFF
            with np.errstate(invalid="ignore"):
                fine = (chunk["px"] > 0.0) & (chunk["px"] < LARGEST) & (chunk["qty"] < LARGEST)
            used = chunk[np.isin(kind, (1, 2, 4)) & fine]
            prices.append(used["px"])
            sizes.append(used["qty"])
            seen += len(used)
            if seen > _SAMPLE_ROWS:
                break
    return infer_instrument(np.concatenate(prices or [np.zeros(0)]), np.concatenate(sizes or [np.zeros(0)]))


def _take(
    path: Path, chunk: np.ndarray, instrument: Instrument, taken: _Taken, quarantine: Quarantine
) -> None:
    """Convert one chunk of the file behind the rows taken so far."""
    first = taken.quality["lines"]
    taken.quality["lines"] += len(chunk)
    ev = chunk["ev"].astype(np.uint64)
    kind = (ev & np.uint64(0xFF)).astype(np.uint8)
    flags = kind.copy()
    for theirs, ours in _FLAGS:
        flags |= np.where(ev & np.uint64(theirs) != 0, np.uint8(ours), np.uint8(0))
    used = (kind >= 1) & (kind <= KIND_SNAPSHOT) & (flags & (FLAG_EXCH | FLAG_LOCAL) != 0)
    taken.quality["ignored"] += int((~used).sum())
    sided = (flags & (FLAG_BUY | FLAG_SELL) != 0) | (kind == KIND_CLEAR)
    taken.quality["trades_without_side"] += int((used & ~sided).sum())
    used &= sided
    price, qty = chunk["px"].astype(np.float64), chunk["qty"].astype(np.float64)
    whole = (kind == KIND_CLEAR) & (flags & (FLAG_BUY | FLAG_SELL) == 0)
    price[whole], qty[kind == KIND_CLEAR] = 0.0, 0.0
    for wrong, why in _wrong(chunk, kind, price, qty, instrument.tick_size):
        for at in np.flatnonzero(used & wrong).tolist():
            quarantine.add(first + at + 1, why, repr(chunk[at].tolist()).encode())
        used &= ~wrong
    lots = round_half_away(qty[used] / instrument.lot_size)
    rows = taken.rows[taken.n : taken.n + int(used.sum())]
    rows["exch_ts_ns"], rows["local_ts_ns"] = chunk["exch_ts"][used], chunk["local_ts"][used]
    rows["flags"] = flags[used]
    rows["price_ticks"] = round_half_away(np.minimum(price[used] / instrument.tick_size, _MAX_TICKS - 1))
    rows["qty"] = np.where((lots == 0.0) & (kind[used] != KIND_TRADE), 0.0, qty[used])
    taken.quality["off_tick"] += count_off_grid(price[used & ~whole], instrument.tick_size)
    taken.last_exch_ns = _in_order(path, rows, FLAG_EXCH, "exch_ts_ns", taken.last_exch_ns)
    taken.last_local_ns = _in_order(path, rows, FLAG_LOCAL, "local_ts_ns", taken.last_local_ns)
    taken.n += len(rows)


def _wrong(
    chunk: np.ndarray, kind: np.ndarray, price: np.ndarray, qty: np.ndarray, tick_size: float
) -> Iterator[tuple[np.ndarray, str]]:
    """Rows that cannot be, and why."""
    clear, trade = kind == KIND_CLEAR, kind == KIND_TRADE
    with np.errstate(invalid="ignore"):
        yield (
            ~((chunk["exch_ts"] >= EARLIEST_NS) & (chunk["exch_ts"] <= LATEST_NS))
            | ~((chunk["local_ts"] >= EARLIEST_NS) & (chunk["local_ts"] <= LATEST_NS)),
            "a time outside 2001 to 2096",
        )
        yield (
            ~clear & ~((price > 0.0) & (price < LARGEST) & (qty >= 0.0) & (qty < LARGEST))
            | clear & ~(price >= 0.0),
            "a price or quantity is not a positive number in range",
        )
        yield trade & ~(qty > 0.0), "a trade of nothing"
        yield (
            ~clear & (price / tick_size > _MAX_TICKS),
            f"a price is beyond {_MAX_TICKS} ticks of {tick_size:g}",
        )


def _in_order(path: Path, rows: np.ndarray, flag: int, clock: str, last_ns: int) -> int:
    """The last time of a processor's rows, which must never go back."""
    times = rows[clock][rows["flags"] & flag != 0]
    if len(times) and (times[0] < last_ns or (np.diff(times) < 0).any()):
        raise UserError(
            f"{path}: {clock.removesuffix('_ns')} goes back; expected rows in processing order, as hftbacktest's "
            "correct_event_order leaves them"
        )
    return int(times[-1]) if len(times) else last_ns


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Number of rows, and the rows in chunks."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as stream:
                yield _rows(path, stream)
            return
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            name = "data.npy" if "data.npy" in names else names[0] if len(names) == 1 else ""
            if not name:
                raise UserError(f"{path}: holds {', '.join(names[:5]) or 'nothing'}; expected {_EXPECTED}")
            with archive.open(name) as stream:
                yield _rows(path, stream)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as exc:
        raise UserError(f"{path}: cannot be read ({exc}); expected {_EXPECTED}") from exc


def _rows(path: Path, stream: IO[bytes]) -> tuple[int, Iterator[np.ndarray]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if len(shape) != 1 or not dtype.names or not set(_FIELDS) <= set(dtype.names) or dtype.hasobject:
        raise UserError(f"{path}: holds {dtype} in shape {shape}; expected {_EXPECTED}")
    return shape[0], _chunks(path, stream, shape[0], dtype)


def _chunks(path: Path, stream: IO[bytes], count: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    for at in range(0, count, CHUNK_ROWS):
        wanted = min(CHUNK_ROWS, count - at) * dtype.itemsize
        content = stream.read(wanted)
        if len(content) < wanted:
            raise UserError(f"{path}: ends after {at + len(content) // dtype.itemsize} of {count} rows; "
                            "expected the whole file")  # fmt: skip
        yield np.frombuffer(content, dtype)
