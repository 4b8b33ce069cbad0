"""Sweep: many settings of the grid strategy in few passes, beside hftbacktest setting by setting, and our own one by one."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import anchor
import hftbacktest as hft
import numpy as np
from hftbacktest.data.utils import binancefutures
from replay import tile, timed
from report import at_most, bar, finish, machine
from scipy.stats import qmc

from mmlib.dtypes import EVENT, FLAG_EXCH, FLAG_LOCAL, KIND_CLEAR
from mmlib.engine.grids import STEP_NS, GridsRun, capacity_for, first_event_ns, settings_of
from mmlib.market.binance import read_binance
from mmlib.market.recorded import ReaderOptions
from mmlib.market.source import FeedLatency, Instrument

_PASS = Path(__file__).with_name("sweep_pass.py")
_CONSTANT_NS = 10_000_000
_COMPARED = ["exch_ns", "seen_ns", "side", "price_ticks", "qty", "maker"]
_RATE, _RATIO, _PEAK_MB, _DRAWN = 150.0, 20.0, 2000.0, 20
_LEVELS, _QTY, _MOST = 20, 0.01, 0.5


def settings(count: int) -> np.ndarray:
    """Settings around the grid preset: interval 5 to 20 ticks, half spread 10 to 40 ticks, skew 0 to 2."""
    units = qmc.LatinHypercube(3, rng=1).random(count)
    return settings_of(
        {
            "levels": _LEVELS,
            "interval_ticks": int(5 + 16 * a),
            "half_spread_ticks": int(10 + 31 * b),
            "skew": 2.0 * c,
            "order_qty": _QTY,
            "max_position": _MOST,
            "maker_bps": -0.5,
            "taker_bps": 7.0,
        }
        for a, b, c in units.tolist()
    )


class Bench:
    """One recording, tiled, in the shapes of both engines."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.options, self.scratch = options, scratch
        path = Path(options.recording)
        instrument = Instrument(options.symbol, options.tick_size, options.lot_size)
        reader = ReaderOptions(options.symbol, 0, instrument, FeedLatency(1.0, 0.5, 0.0), None)
        theirs, ours = (
            binancefutures.convert(str(path), buffer_size=8_000_000),
            read_binance(path, reader).events,
        )
        self.theirs = np.empty(options.tiles * (len(theirs) + 1), theirs.dtype)
        tile(theirs, self.theirs, ("exch_ts", "local_ts"), {"ev": 3 | 3 << 30})
        self.file = scratch / "rows.npy"
        made = np.lib.format.open_memmap(self.file, "w+", EVENT, (options.tiles * (len(ours) + 1),))
        tile(ours, made, ("exch_ts_ns", "local_ts_ns"), {"flags": KIND_CLEAR | FLAG_EXCH | FLAG_LOCAL})
        made.flush()
        self.rows = np.load(self.file, mmap_mode="r")
        self.settings = settings(options.settings)
        self.seen = anchor.sightings(4_000_000)

    def together(self, chosen: np.ndarray, keep: list[int]) -> dict[int, np.ndarray]:
        """Fills of some of the settings of one pass."""
        o = self.options
        run = GridsRun(
            chosen,
            tick_size=o.tick_size,
            lot_size=o.lot_size,
            start_ns=first_event_ns(self.rows),
            capacity_ticks=capacity_for(self.rows[:65_536]),
            queue_model="log",
            queue_exponent=0.0,
            entry_ns=_CONSTANT_NS,
            response_ns=_CONSTANT_NS,
        )
        found: dict[int, list[np.ndarray]] = {k: [] for k in keep}

        def note(fills: np.ndarray) -> None:
            for k in keep:
                found[k].append(fills[fills["account"] == k][_COMPARED].copy())

        run.over(self.rows, note)
        return {k: np.concatenate(parts) for k, parts in found.items()}

    def anchor_run(self, setting: np.void) -> tuple[float, np.ndarray]:
        """Seconds and fills of hftbacktest with its faster book."""
        o = self.options
        asset = anchor.asset(self.theirs, "log", o.tick_size, o.lot_size, None, _CONSTANT_NS)
        engine = hft.ROIVectorMarketDepthBacktest([asset])
        shape = (int(setting[name]) for name in ("levels", "interval_ticks", "half_spread_ticks"))
        size = float(setting["order_qty"]), float(setting["max_position"]), o.tick_size, STEP_NS
        took, n = timed(lambda: anchor.quote_grid(engine, *shape, float(setting["skew"]), *size, self.seen))
        engine.close()
        return took, self.seen[:n][_COMPARED].copy()

    def sweep(self, count: int) -> dict[str, Any]:
        """Seconds, memory and fills of the first so many settings, in a process of its own."""
        o, file = self.options, self.scratch / "settings.npy"
        np.save(file, self.settings[:count])
        numbers = [o.accounts_per_pass, o.tick_size, o.lot_size]
        command = [sys.executable, str(_PASS), str(self.file), str(file), *map(str, numbers)]
        done = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return dict(json.loads(done.splitlines()[-1]))

    def equal(self) -> tuple[int, int]:
        """How many of drawn settings fill as alone, and how many of those compared fill as on hftbacktest."""
        per_pass = min(self.options.accounts_per_pass, len(self.settings))
        chosen = self.settings[:per_pass]
        drawn = np.random.default_rng(3).choice(per_pass, min(_DRAWN, per_pass), replace=False).tolist()
        together = self.together(chosen, drawn)
        alone = sum(np.array_equal(together[k], self.together(chosen[k : k + 1], [0])[0]) for k in drawn)
        theirs = sum(
            np.array_equal(np.sort(self.anchor_run(chosen[k])[1]), np.sort(together[k])) for k in drawn[:3]
        )
        return alone, theirs


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ci/bench sweep", description=__doc__)
    parser.add_argument("--recording", required=True, help="raw Binance futures recording, gzipped")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--tiles", type=int, default=24)
    parser.add_argument("--settings", type=int, default=1000)
    parser.add_argument("--accounts-per-pass", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tick-size", type=float, default=0.1)
    parser.add_argument("--lot-size", type=float, default=0.001)
    return parser.parse_args()


def main() -> int:
    """Measure, print, judge."""
    options = arguments()
    result: dict[str, Any] = {"bench": "sweep", "machine": machine("hftbacktest", "numba", "numpy")}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options, Path(scratch))
        rows = len(bench.rows)
        result |= {"recording": Path(options.recording).name, "tiles": options.tiles, "rows": rows}
        bench.anchor_run(bench.settings[0])  # compiles
        bench.together(bench.settings[:1], [0])
        table, theirs, ours = [], [], []
        for count in (k for k in (1, 10, 100, 1000) if k <= len(bench.settings)):
            runs = []
            for repeat in range(options.repeats if count < 1000 else 1):
                setting = bench.settings[repeat]
                theirs.append(bench.anchor_run(setting)[0])
                ours.append(
                    timed(lambda chosen=bench.settings[repeat : repeat + 1]: bench.together(chosen, []))[0]
                )
                runs.append(bench.sweep(count))
            best = min(runs, key=lambda run: run["seconds"])
            table.append({"settings": count, "ms_a_setting": round(1e3 * best["seconds"] / count, 2),
                          "million_row_strategies_per_s": round(count * rows / best["seconds"] / 1e6, 1)} | best)  # fmt: skip
        alone, as_theirs = bench.equal()
    rate = table[-1]["million_row_strategies_per_s"]
    one_by_one = rows / min(theirs) / 1e6
    result |= {
        "settings": len(bench.settings),
        "accounts_per_pass": options.accounts_per_pass,
        "table": table,
        "hftbacktest_one_by_one": {"million_row_strategies_per_s": round(one_by_one, 2),
                                   "median_s": round(statistics.median(theirs), 3)},
        "ours_one_by_one": {"million_row_strategies_per_s": round(rows / min(ours) / 1e6, 1),
                            "median_s": round(statistics.median(ours), 3)},
        "ratio_if_hftbacktest_had_every_core": round(rate / one_by_one / 2, 1),
        "equal_to_single_replays": alone,
        "equal_to_hftbacktest": as_theirs,
    }  # fmt: skip
    drawn = min(_DRAWN, options.accounts_per_pass, len(bench.settings))
    falling = all(a["ms_a_setting"] > b["ms_a_setting"] for a, b in pairwise(table[:3]))
    result["bars"] = [
        bar("million row-strategies a second", rate, _RATE),
        bar("times hftbacktest, setting by setting", round(rate / one_by_one, 1), _RATIO),
        at_most("peak memory [MB]", max(row["peak_mb"] for row in table), _PEAK_MB),
        bar("drawn settings whose fills equal their single replay", alone, drawn),
        bar("settings whose fills equal hftbacktest's", as_theirs, min(3, drawn)),
        bar("cost a setting falls up to a full pass", falling, True),
    ]
    return finish(result)


if __name__ == "__main__":
    sys.exit(main())
