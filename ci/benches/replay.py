"""Replay: our engine beside hftbacktest, the same strategy on the same recording, fill by fill and second by second."""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anchor
import anchor_orders
import hftbacktest as hft
import numpy as np
from hftbacktest.data.utils import binancefutures
from report import bar, finish, machine, seconds

from mmlib.dtypes import EVENT, FLAG_EXCH, FLAG_LOCAL, KIND_CLEAR
from mmlib.engine.bench import PRESETS, run_grid
from mmlib.engine.grids import STEP_NS
from mmlib.engine.orders import replay_orders
from mmlib.market.binance import read_binance
from mmlib.market.formats import read_any
from mmlib.market.recorded import ReaderOptions
from mmlib.market.source import FeedLatency, Instrument

_MEMORY = Path(__file__).with_name("peak_memory.py")
_S = 1_000_000_000
_CONSTANT_NS = 10_000_000
_BOTH = FLAG_EXCH | FLAG_LOCAL
_SEEN_ROWS = 4_000_000
_FASTER, _FASTER_DECODE = 3.0, 8.0
_COMPARED = ["exch_ns", "seen_ns", "side", "price_ticks", "qty", "maker"]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def tile(rows: np.ndarray, out: np.ndarray, names: tuple[str, str], clear: dict[str, int]) -> None:
    """Fill ``out`` with shifted copies of ``rows``, each preceded by a clear of both sides."""
    exch, local = names
    first, last = min(rows[n].min() for n in names), max(rows[n].max() for n in names)
    shift = ((last - first) // _S + 1) * _S
    for k in range(len(out) // (len(rows) + 1)):
        copy = out[k * (len(rows) + 1) : (k + 1) * (len(rows) + 1)]
        copy[0] = np.zeros((), rows.dtype)
        copy[1:] = rows
        for name, value in (clear | {exch: int(rows[exch].min()), local: int(rows[local].min())}).items():
            copy[name][0] = value
        copy[exch] += k * shift
        copy[local] += k * shift


def feed_latency_table(rows: np.ndarray) -> np.ndarray:
    """int64[n, 3]: order latency from the feed latency of the last row a second, 4 times it there, 3 times it back."""
    both = rows[rows["flags"] & _BOTH == _BOTH]
    last = np.flatnonzero(np.diff(both["local_ts_ns"] // _S, append=-1))
    sent = both["local_ts_ns"][last]
    feed = sent - both["exch_ts_ns"][last]
    return np.stack([sent, sent + 4 * feed, sent + 7 * feed], axis=1)


class Bench:
    """One recording, tiled, in the shapes of both engines."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.options = options
        instrument = Instrument(options.symbol, options.tick_size, options.lot_size)
        self.reader = ReaderOptions(options.symbol, 0, instrument, FeedLatency(1.0, 0.5, 0.0), None)
        self.path = Path(options.recording)
        self.scratch = scratch
        self.decode, theirs, ours = self._decode()
        n, tiles = len(ours), options.tiles
        self.theirs = np.empty(tiles * (len(theirs) + 1), theirs.dtype)
        tile(theirs, self.theirs, ("exch_ts", "local_ts"), {"ev": 3 | 3 << 30})
        file = scratch / "rows.npy"
        made = np.lib.format.open_memmap(file, "w+", EVENT, (tiles * (n + 1),))
        tile(ours, made, ("exch_ts_ns", "local_ts_ns"), {"flags": KIND_CLEAR | _BOTH})
        made.flush()
        del made
        self.file = file
        self.ours = np.load(file, mmap_mode="r")
        self.table = feed_latency_table(self.ours)
        self.their_table = anchor.latency_rows(self.table)
        self.seen = anchor.sightings(_SEEN_ROWS)

    def _decode(self) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        """Lines a second from a file to rows in memory: both decoders, then ours from its cache; compiled code is there."""
        with gzip.open(self.path) as lines:
            n = sum(1 for _ in lines)
        os.environ["FINISHLINE_CACHE"] = str(self.scratch)
        ways: dict[str, Callable[[], np.ndarray]] = {
            "hftbacktest": lambda: binancefutures.convert(str(self.path), buffer_size=120 * n),
            "ours_cold": lambda: read_binance(self.path, self.reader).events,
            "ours_warm": lambda: np.array(read_any(self.path, self.reader).events),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        rows = {name: way() for name, way in ways.items()}  # compiles, and fills the cache
        for _ in range(max(self.options.repeats, 3)):
            for name, way in ways.items():
                took[name].append(timed(way)[0])
        result = {f"{name}_lines_per_s": round(n / min(values)) for name, values in took.items()}
        return {"lines": n} | result, rows["hftbacktest"], rows["ours_cold"]

    def anchor_run(self, preset: str, queue: str, feed: bool, roi: bool) -> tuple[float, np.ndarray]:
        """Seconds and sightings of hftbacktest."""
        o, p = self.options, PRESETS[preset]
        table = self.their_table if feed else None
        asset = anchor.asset(self.theirs, queue, o.tick_size, o.lot_size, table, _CONSTANT_NS)
        build = hft.ROIVectorMarketDepthBacktest if roi else hft.HashMapMarketDepthBacktest
        engine = build([asset])
        shape = int(p["levels"]), int(p["interval_ticks"]), int(p["half_spread_ticks"]), float(p["skew"])
        size = o.order_qty, o.max_position, o.tick_size, STEP_NS
        took, n = timed(lambda: anchor.quote_grid(engine, *shape, *size, self.seen))
        engine.close()
        return took, self.seen[:n].copy()

    def our_run(self, preset: str, queue: str, feed: bool) -> tuple[float, np.ndarray]:
        """Seconds and sightings of ours."""
        o, (model, _, exponents) = self.options, anchor.QUEUES[queue]
        took, (seen, _) = timed(
            lambda: run_grid(
                self.ours,
                preset,
                tick_size=o.tick_size,
                lot_size=o.lot_size,
                order_qty=o.order_qty,
                max_position=o.max_position,
                queue_model=model,
                queue_exponent=exponents[0] if exponents else 0.0,
                entry_ns=_CONSTANT_NS,
                response_ns=_CONSTANT_NS,
                order_latency=self.table if feed else None,
            )
        )
        return took, seen

    def cells(self) -> list[dict[str, Any]]:
        """Whether the fills are equal, for each preset, queue model and latency."""
        found = []
        for preset in PRESETS:
            for queue in anchor.QUEUES:
                for feed in (False, True):
                    _, theirs = self.anchor_run(preset, queue, feed, roi=True)
                    _, ours = self.our_run(preset, queue, feed)
                    equal = np.array_equal(np.sort(theirs[_COMPARED]), np.sort(ours[_COMPARED]))
                    cell = {"preset": preset, "queue_model": queue, "latency": "feed" if feed else "const"}
                    found.append(cell | {"fills": len(ours), "fills_equal": bool(equal)})
        return found

    def orders_cells(self) -> list[dict[str, Any]]:
        """Whether fills are equal for requests of every kind, takers, cancels and replacements included."""
        found = []
        end_ns = int(self.theirs["local_ts"].max())
        for seed, queue in enumerate(anchor.QUEUES, start=1):
            for feed in (False, True):
                o, (model, _, exponents) = self.options, anchor.QUEUES[queue]
                table = self.their_table if feed else None
                asset = anchor.asset(self.theirs, queue, o.tick_size, o.lot_size, table, _CONSTANT_NS)
                engine = hft.ROIVectorMarketDepthBacktest([asset])
                sent, seen = anchor_orders.room(1_000_000)
                m, n, last = anchor_orders.send_orders(
                    engine, o.tick_size, o.lot_size, STEP_NS, end_ns, np.array([seed], np.uint64), sent, seen
                )
                engine.close()
                fills, counts = replay_orders(
                    [self.ours],
                    sent[:m],
                    tick_size=o.tick_size,
                    lot_size=o.lot_size,
                    queue_model=model,
                    queue_exponent=exponents[0] if exponents else 1.0,
                    entry_ns=_CONSTANT_NS,
                    response_ns=_CONSTANT_NS,
                    order_latency=self.table if feed else None,
                    maker_bps=-0.5,
                    taker_bps=7.0,
                )
                equal = anchor_orders.same_fills(
                    seen[:n], fills[fills["local_ts_ns"] <= last], o.tick_size, o.lot_size
                )
                cell = {"preset": "orders", "queue_model": queue, "latency": "feed" if feed else "const"}
                kinds = {"requests": m, "replaces": counts.replaces, "cancels": counts.cancels}
                takers = int((fills["liquidity"] == 1).sum())
                found.append(cell | kinds | {"fills": n, "takers": takers, "fills_equal": equal})
        return found

    def speed(self, preset: str) -> dict[str, Any]:
        """Interleaved repeats with constant latency and the log queue model."""
        took: dict[str, list[float]] = {"hashmap": [], "roivector": [], "ours": []}
        for _ in range(self.options.repeats):
            took["hashmap"].append(self.anchor_run(preset, "log", feed=False, roi=False)[0])
            took["roivector"].append(self.anchor_run(preset, "log", feed=False, roi=True)[0])
            took["ours"].append(self.our_run(preset, "log", feed=False)[0])
        best = {name: min(values) for name, values in took.items()}
        return {
            "seconds": {name: seconds(values) for name, values in took.items()},
            "million_rows_per_s": {name: round(len(self.ours) / s / 1e6, 2) for name, s in best.items()},
            "ratio_to_hashmap": round(best["hashmap"] / best["ours"], 2),
            "ratio_to_roivector": round(best["roivector"] / best["ours"], 2),
        }

    def memory(self, rows: int) -> dict[str, float]:
        """Peak memory of a process of its own that replays the first ``rows`` rows of the file."""
        o = self.options
        numbers = [o.tick_size, o.lot_size, o.order_qty, o.max_position]
        command = [sys.executable, str(_MEMORY), str(self.file), str(rows), *map(str, numbers)]
        peak, mapped = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return {"peak_mb": float(peak), "of_it_mapped_files_mb": float(mapped)}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ci/bench replay", description=__doc__)
    parser.add_argument("--recording", required=True, help="raw Binance futures recording, gzipped")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--tiles", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tick-size", type=float, default=0.1)
    parser.add_argument("--lot-size", type=float, default=0.001)
    parser.add_argument("--order-qty", type=float, default=0.01)
    parser.add_argument("--max-position", type=float, default=0.5)
    return parser.parse_args()


def main() -> int:
    """Measure, print, judge."""
    options = arguments()
    result: dict[str, Any] = {"bench": "replay", "machine": machine("hftbacktest", "numba", "numpy")}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options, Path(scratch))
        one = len(bench.ours) // options.tiles
        result |= {"recording": bench.path.name, "tiles": options.tiles, "rows": len(bench.ours)}
        result["cells"] = cells = [*bench.cells(), *bench.orders_cells()]
        result["speed"] = speed = {preset: bench.speed(preset) for preset in PRESETS}
        result["decode"] = decode = bench.decode
        result["memory"] = {"one_tile": bench.memory(one), "all_tiles": bench.memory(len(bench.ours))}
    times = round(decode["ours_cold_lines_per_s"] / decode["hftbacktest_lines_per_s"], 2)
    decode["ratio"] = times
    result["bars"] = [
        bar("fills equal in every cell", all(cell["fills_equal"] for cell in cells), True),
        *(
            bar(f"{preset}: times as fast as ROIVector", speed[preset]["ratio_to_roivector"], _FASTER)
            for preset in PRESETS
        ),
        bar("decode, nothing cached: times the converter's lines/s", times, _FASTER_DECODE),
    ]
    return finish(result)


if __name__ == "__main__":
    sys.exit(main())
