"""Real time: ten minutes of ten symbols at 2,000 messages a second from the loopback exchange, a process of its own.

Compute of a tick is the time for which it keeps the session's process from anything else, from its start to the last
observer that is told of it; the wait for a book that was asked for is not in it, nor is the wait for its turn: that is its
lateness, stated beside. The session measures it itself, by phase, and leaves it in its sidecar.
"""

from __future__ import annotations

import argparse
import faulthandler
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import psutil
from report import at_most, bar, finish, machine
from scipy.stats import theilslopes

from mmlib.config.models import Config
from mmlib.engine.realtime.options import LiveUri
from mmlib.engine.session import Session, SessionSpec, run_session
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.sidecar import read_sidecar
from mmlib.market.lines import Lines

MESSAGES_PER_S = 2000.0
COMPUTE_P99_MS = 5.0
SLOPE_MB_PER_H = 5.0
SYMBOLS = ("BTCUSDT", "ETHUSDT", *(f"C{k:02}USDT" for k in range(8)))
WARM_UP_S = 180.0
WARM_UP_SHARE = 0.3  # of a run too short for WARM_UP_S
BLOCK_S = 30  # of the bootstrap: memory moves in steps, neighbouring seconds are no evidence of their own
DRAWS = 500
OVERTIME_S = 300.0


@contextmanager
def exchange(rate: float, minutes: float) -> Iterator[tuple[str, psutil.Process]]:
    """Address and process of a loopback exchange, which ends with the block, or by itself."""
    options = ["--symbols", ",".join(SYMBOLS), "--rate", str(rate), "--minutes", str(minutes)]
    command = [sys.executable, "-m", "mmlib", "loopback", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), psutil.Process(process.pid)
        finally:
            process.terminate()


def lost_messages(recording: Path) -> tuple[int, int]:
    """Depth updates and trades received, and how many are missing between those that came, by their own numbers."""
    received = lost = 0
    update: dict[str, int] = {}
    trade: dict[str, int] = {}
    for line in Lines(recording):
        data = orjson.loads(line[20:]).get("data")
        if not data:
            continue
        symbol, kind = data["s"], data["e"]
        received += 1
        if kind == "depthUpdate":
            lost += symbol in update and update[symbol] != data["pu"]
            update[symbol] = data["u"]
        else:
            lost += data["t"] - trade.get(symbol, data["t"] - 1) - 1
            trade[symbol] = data["t"]
    return received, int(lost)


def memory(ticks: pd.DataFrame, minutes: float) -> dict[str, Any]:
    """Slope of resident memory after the warm-up by Theil and Sen; its 95 % interval by a block bootstrap of the residuals."""
    by_second = ticks.groupby(ticks["ts"].dt.floor("s"))["rss_mb"].last()
    at_h = (by_second.index - by_second.index[0]).total_seconds().to_numpy() / 3600.0
    late = at_h * 3600.0 >= min(WARM_UP_S, WARM_UP_SHARE * minutes * 60.0)
    at_h, rss_mb = at_h[late], by_second.to_numpy(float)[late]
    slope, level, *_ = theilslopes(rss_mb, at_h)
    fitted = level + slope * at_h
    blocks = np.lib.stride_tricks.sliding_window_view(rss_mb - fitted, min(BLOCK_S, len(rss_mb)))
    rng = np.random.default_rng(1)
    needed = -(-len(rss_mb) // blocks.shape[1])
    drawn = [
        theilslopes(
            fitted + blocks[rng.integers(len(blocks), size=needed)].ravel()[: len(fitted)], at_h
        ).slope
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {
        "rss_first_mb": round(float(by_second.iloc[0]), 1),
        "rss_last_mb": round(float(rss_mb[-1]), 1),
        "rss_slope_mb_per_h": round(float(slope), 2),
        "rss_slope_interval": [round(float(low), 2), round(float(high), 2)],
        "rss_seconds": len(rss_mb),
    }


def figures_of(session: Session, recording: Path, minutes: float) -> dict[str, Any]:
    """What a session came to, from its recording, feeds and sidecar."""
    ticks = read_feeds(session.feeds, "ticks").frame.sort_values("ts")
    received, lost = lost_messages(recording)
    stated = read_sidecar(session.feeds) or {}
    taken = sum(one["stream_diffs"] + one["stream_trades"] for one in stated["quality"].values())
    late_ms = (ticks["ts"] - ticks["scheduled_ts"]).dt.total_seconds().to_numpy() * 1e3
    return {
        "complete": bool(stated["complete"]),
        "minutes": minutes,
        "symbols": len(SYMBOLS),
        "messages": received,
        "messages_per_s": round(received / (minutes * 60), 1),
        "lost": lost + abs(received - taken),
        "errors": sum(sum(codes.values()) for codes in stated["errors"].values()),
        "ticks": len(ticks) // 2,  # two arms share one
        "hit_ratio": round(float(ticks["cache_hit"].mean()), 4),
        "compute": stated["tick_compute"],
        "late_p50_ms": round(float(np.quantile(late_ms, 0.5)), 3),
        "late_p99_ms": round(float(np.quantile(late_ms, 0.99)), 3),
        "tick_total_p99_ms": round(float(ticks["tick_total_ms"].quantile(0.99)), 3),
        **memory(ticks, minutes),
    }


def measure(minutes: float, rate: float) -> dict[str, Any]:
    """Run the session; its figures."""
    with tempfile.TemporaryDirectory(prefix="finishline-") as place:
        home = Path(place)
        config = Config.model_validate({"async_batch": {"max_parallel_symbols": len(SYMBOLS)}})
        with exchange(rate, minutes + OVERTIME_S / 60.0) as (url, server):
            uri = LiveUri("binanceusdm", url, home / "raw.gz").text()
            spec = SessionSpec(uri, SYMBOLS, ("A", "B"), minutes * 60, seed=7)
            before, began = time.process_time(), time.monotonic()
            session = run_session(spec, config, home / "feeds")
            share = (time.process_time() - before) / (time.monotonic() - began)
            played = server.cpu_times()
            figures = figures_of(session, home / "raw.gz", minutes)
        return {
            **figures,
            "cpu_share_session": round(share, 3),
            "cpu_s_exchange": round(played.user + played.system, 1),
        }


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="length (default: 10)")
    parser.add_argument(
        "--rate", type=float, default=300.0, help="events a second and symbol of the simulator (default: 300)"
    )
    args = parser.parse_args()
    faulthandler.dump_traceback_later(
        args.minutes * 60.0 + OVERTIME_S, exit=True
    )  # whatever happens, it ends
    result: dict[str, Any] = {
        "bench": "realtime",
        "machine": machine("websockets", "httpx", "orjson", "numba"),
    }
    figures = measure(args.minutes, args.rate)
    faulthandler.cancel_dump_traceback_later()
    result["figures"] = figures
    result["bars"] = [
        bar("ran to its end", figures["complete"], True),
        bar("messages a second", figures["messages_per_s"], MESSAGES_PER_S),
        at_most("messages lost", figures["lost"], 0),
        at_most("tick compute p99 [ms]", figures["compute"]["compute"]["p99_ms"], COMPUTE_P99_MS),
        at_most("memory slope after warm-up [MB/h]", figures["rss_slope_mb_per_h"], SLOPE_MB_PER_H),
    ]
    return finish(result)


if __name__ == "__main__":
    sys.exit(main())
