"""Real time: ten minutes of ten symbols at 2,000 messages a second from the loopback exchange, a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from report import at_most, bar, finish, machine

from mmlib.config.models import Config
from mmlib.engine.realtime.options import LiveUri
from mmlib.engine.session import SessionSpec, run_session
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.sidecar import read_sidecar
from mmlib.market.lines import Lines

MESSAGES_PER_S = 2000.0
COMPUTE_P99_MS = 5.0
SLOPE_MB_PER_H = 5.0
SYMBOLS = ("BTCUSDT", "ETHUSDT", *(f"C{k:02}USDT" for k in range(8)))


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
    return received, lost


def slope_mb_per_h(ticks: Any, warm_up_s: float) -> float:
    """Least-squares slope of resident memory after the warm-up."""
    seconds = (ticks["ts"] - ticks["ts"].iloc[0]).dt.total_seconds().to_numpy()
    late = seconds >= warm_up_s
    return float(np.polyfit(seconds[late], ticks["rss_mb"].to_numpy(float)[late], 1)[0] * 3600.0)


def measure(minutes: float, rate: float) -> dict[str, Any]:
    """Run the session; its figures."""
    with tempfile.TemporaryDirectory(prefix="finishline-") as place:
        home = Path(place)
        command = [
            sys.executable,
            "-m",
            "mmlib",
            "loopback",
            "--symbols",
            ",".join(SYMBOLS),
            "--rate",
            str(rate),
        ]
        server = subprocess.Popen(
            [*command, "--minutes", str(minutes + 5), "--workspace", place], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            config = Config.model_validate({"async_batch": {"max_parallel_symbols": 10}})
            uri = LiveUri("binanceusdm", url, home / "raw.gz").text()
            session = run_session(
                SessionSpec(uri, SYMBOLS, ("A", "B"), minutes * 60, seed=7), config, home / "feeds"
            )
        finally:
            server.terminate()
            server.communicate(timeout=20)
        ticks = read_feeds(session.feeds, "ticks").frame.sort_values("ts")
        received, lost = lost_messages(home / "raw.gz")
        stated = read_sidecar(session.feeds) or {}
        late_ms = (ticks["ts"] - ticks["scheduled_ts"]).dt.total_seconds().to_numpy() * 1e3
        compute_ms = ticks["tick_total_ms"].to_numpy(float) - late_ms
        compute_ms -= np.where(
            ticks["cache_hit"], 0.0, ticks["fetch_md_ms"].to_numpy(float)
        )  # what the exchange took
        errors = sum(sum(codes.values()) for codes in stated["errors"].values())
        return {
            "minutes": minutes,
            "symbols": len(SYMBOLS),
            "messages": received,
            "messages_per_s": round(received / (minutes * 60), 1),
            "lost": int(lost),
            "errors": errors,
            "ticks": len(ticks),
            "compute_p50_ms": round(float(np.quantile(compute_ms, 0.5)), 3),
            "compute_p99_ms": round(float(np.quantile(compute_ms, 0.99)), 3),
            "late_p99_ms": round(float(np.quantile(late_ms, 0.99)), 3),
            "rss_mb": round(float(ticks["rss_mb"].iloc[-1]), 1),
            "rss_slope_mb_per_h": round(slope_mb_per_h(ticks, min(180.0, minutes * 30)), 2),
        }


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="length (default: 10)")
    parser.add_argument(
        "--rate", type=float, default=240.0, help="events a second and symbol of the simulator"
    )
    args = parser.parse_args()
    result: dict[str, Any] = {
        "bench": "realtime",
        "machine": machine("websockets", "httpx", "orjson", "numba"),
    }
    figures = measure(args.minutes, args.rate)
    result["figures"] = figures
    result["bars"] = [
        bar("messages a second", figures["messages_per_s"], MESSAGES_PER_S),
        at_most("messages lost", figures["lost"], 0),
        at_most("tick compute p99 [ms]", figures["compute_p99_ms"], COMPUTE_P99_MS),
        at_most("memory slope after warm-up [MB/h]", figures["rss_slope_mb_per_h"], SLOPE_MB_PER_H),
    ]
    return finish(result)


if __name__ == "__main__":
    sys.exit(main())
