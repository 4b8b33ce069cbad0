"""ci/bench soak: a 72-hour rehearsal timed, its stop criteria tried, killed and resumed.

- time and peak memory of 1, 24 and 72 simulated hours, two symbols on two cores, one-second ticks;
- every scripted incident trips its own criterion and no other critical one; the calm regime trips none in twenty seeds;
- ten kills (SIGKILL) at random moments, each followed by a resumed session: the feeds are those of one that was never killed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
from report import at_most, bar, finish, machine

from mmlib.config.incidents import KINDS
from mmlib.config.load import shipped_dir
from mmlib.config.models import Config
from mmlib.engine.measure import measure
from mmlib.engine.session import CHECKPOINT_S, SessionSpec, run_session
from mmlib.engine.watch import immediate
from mmlib.feeds.same import digests
from mmlib.gates.spec import load_gates

GATES = load_gates(shipped_dir("params").parent).step("soak")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
START_NS = 1_736_899_200_000_000_000
RATE_PER_S = 160.0  # messages on average; some are several rows
HOURS = {1.0: 2, 24.0: 2, 72.0: 1}
"""Length to runs, of which the fastest counts: the start of a process takes most of a short one, and varies."""
INCIDENT_HOURS, CALM_HOURS, KILL_HOURS = 4.5, 6.0, 24.0
KILL_CHECKPOINT_S = 0.2  # so that most kills find something to go on from
SCRIPTS = {
    "feed_gap": "feed_gap@1h:40m",
    "latency_spike": "latency_spike@1h:20m",
    "rate_limit_storm": "rate_limit_storm@1h:20m",
    "memory_leak": "memory_leak@1h:3h",
    "volatility_spike": "volatility_spike@1h:20m",
    "one_sided_book": "one_sided_book@1h:20m",
}


def session(
    feeds: Path,
    hours: float,
    *,
    symbols: tuple[str, ...] = SYMBOLS,
    seed: int = 7,
    regime: str = "normal",
    incidents: tuple[str, ...] = (),
    resume: bool = False,
    checkpoint_s: float = CHECKPOINT_S,
) -> Any:
    """Run a soak with its stop criteria."""
    config = Config.model_validate(
        {
            "market": {"rate_per_s": RATE_PER_S, "regime": regime},
            "rehearsal": {"incidents": list(incidents)},
            "async_batch": {"enabled": len(symbols) > 1},
        }
    )
    spec = SessionSpec("simulated", symbols, ("A",), hours * 3600.0, start_ns=START_NS, seed=seed)
    return run_session(spec, config, feeds, stops=immediate(GATES), resume=resume, checkpoint_s=checkpoint_s)


def child(
    feeds: Path, hours: float, *, resume: bool = False, checkpoint_s: float = CHECKPOINT_S
) -> subprocess.Popen[bytes]:
    """A session in a process of its own; it prints what it came to."""
    command = [sys.executable, __file__, "--child", str(feeds), "--hours", str(hours)]
    command += ["--checkpoint-s", str(checkpoint_s)]
    return subprocess.Popen([*command, "--resume"] if resume else command, stdout=subprocess.PIPE)


def timed(home: Path, hours: float) -> dict[str, Any]:
    """Wall time, peak memory of all processes together, and what was simulated."""
    began = time.monotonic()
    running = child(home / "feeds", hours)
    peak = 0.0
    while running.poll() is None:
        peak = max(peak, resident_mb(running.pid))
        time.sleep(0.05)
    seconds = time.monotonic() - began
    assert running.stdout is not None
    told = json.loads(running.stdout.read())
    size = sum(path.stat().st_size for path in (home / "feeds").glob("*.jsonl"))
    return {
        "hours": hours,
        "seconds": round(seconds, 2),
        "peak_mb": round(peak, 1),
        "s_per_hour": round(seconds / hours, 4),
        "feeds_mb": round(size / 1e6, 1),
        **told,
    }


def best_of(home: Path, hours: float, runs: int) -> dict[str, Any]:
    """The fastest of some runs, each shown."""
    rows = []
    for _ in range(runs):
        rows.append(timed(home, hours))
        print(json.dumps(rows[-1]), file=sys.stderr)
        shutil.rmtree(home)
    return min(rows, key=lambda row: float(row["seconds"]))


def resident_mb(pid: int) -> float:
    """Memory of a process and its children [MB]: what each has for itself, and once the most that one of them has mapped."""
    try:
        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
    except psutil.Error:
        return 0.0
    own, mapped = 0.0, 0.0
    for one in family:
        try:
            memory = one.memory_info()
        except psutil.Error:
            continue
        own += (memory.rss - memory.shared) / 1e6
        mapped = max(mapped, memory.shared / 1e6)
    return own + mapped


def verdicts(home: Path, **options: Any) -> dict[str, Any]:
    """Which criteria halted a session, and which gates of severity and sense stop fired on its feeds offline."""
    feeds = home / "feeds"
    done = session(feeds, symbols=("BTCUSDT",), regime="calm", **options)
    watched = [gate for gate in GATES if gate.kind == "sustained"]
    fired = sorted(result.id for result in measure(feeds).evaluate(watched) if result.status == "FAIL")
    shutil.rmtree(home)
    return {"halted": sorted({one.gate for one in done.halted}), "fired": fired}


def incident_table(home: Path, pool: ProcessPoolExecutor) -> dict[str, dict[str, Any]]:
    """Every scripted incident alone, with what it tripped."""
    futures = {
        kind: pool.submit(verdicts, home / kind, hours=INCIDENT_HOURS, incidents=(script,))
        for kind, script in SCRIPTS.items()
    }
    critical = {gate.id for gate in immediate(GATES)}
    table = {}
    for kind, future in futures.items():
        own, found = KINDS[kind].gate, future.result()
        stops = set(found["halted"]) | critical & set(found["fired"])
        right = own in found["fired"] and stops == ({own} & critical)
        table[kind] = {"script": SCRIPTS[kind], "meant_for": own, **found, "holds": right}
    return table


def kills(home: Path, count: int, rng: random.Random) -> dict[str, Any]:
    """Sessions killed at random moments and resumed, compared with one that never was."""
    began = time.monotonic()
    child(home / "whole" / "feeds", KILL_HOURS).communicate()
    length = time.monotonic() - began
    expected = digests(home / "whole" / "feeds")
    same, landed, resumed = 0, 0, 0
    for k in range(count):
        feeds = home / f"killed{k}" / "feeds"
        running = child(feeds, KILL_HOURS, checkpoint_s=KILL_CHECKPOINT_S)
        try:
            running.wait(timeout=rng.uniform(0.05, 1.0) * length)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            landed += 1
        running.communicate()
        resumed += any((feeds.parent / "feeds.partial").glob("parts/*/state.npz"))
        child(feeds, KILL_HOURS, resume=True).communicate()
        same += digests(feeds) == expected
        shutil.rmtree(feeds.parent)
    return {"kills": landed, "with_a_checkpoint": resumed, "identical": same, "of": count}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--hours", type=float, default=0.0, help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint-s", type=float, default=CHECKPOINT_S, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        done = session(options.child, options.hours, resume=options.resume, checkpoint_s=options.checkpoint_s)
        runs = [dataclasses.asdict(run) | {"span_s": run.span_s} for run in done.runs]
        print(json.dumps({
            "events_per_s": [round(run["events"] / run["span_s"], 1) for run in runs],
            "ticks": sum(run["ticks"] for run in runs), "fills": sum(run["fills"] for run in runs),
            "halted": [one.text() for one in done.halted],
        }))  # fmt: skip
        return 0
    result: dict[str, Any] = {"machine": machine("numba", "numpy", "pandas")}
    with tempfile.TemporaryDirectory(prefix="soak-bench-") as directory:
        home = Path(directory)
        child(home / "warm" / "feeds", 0.05).communicate()  # compiles what is not compiled yet
        table = [best_of(home / f"h{hours:g}", hours, runs) for hours, runs in HOURS.items()]
        with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=1) as pool:
            incidents = incident_table(home, pool)
            print(json.dumps(incidents), file=sys.stderr)
            seeds = [
                pool.submit(verdicts, home / f"seed{seed}", hours=CALM_HOURS, seed=seed)
                for seed in range(options.seeds)
            ]
            calm = [future.result() for future in seeds]
        killed = kills(home, options.kills, random.Random(11))
    first, middle, last = table
    early = (middle["seconds"] - first["seconds"]) / (middle["hours"] - first["hours"])
    late = (last["seconds"] - middle["seconds"]) / (last["hours"] - middle["hours"])
    quiet = sum(not one["halted"] and not one["fired"] for one in calm)
    result |= {
        "table": table,
        "marginal_s_per_hour": {"1 to 24 h": round(early, 4), "24 to 72 h": round(late, 4)},
        "incidents": incidents,
        "calm": {
            "seeds": options.seeds,
            "hours": CALM_HOURS,
            "quiet": quiet,
            "others": [c for c in calm if c["fired"]],
        },
        "kills": killed,
        "bars": [
            bar("events a second, the slower symbol", min(last["events_per_s"]), 200.0),
            at_most("72 h, seconds", last["seconds"], 20.0),
            at_most("72 h, peak MB of all processes", last["peak_mb"], 600.0),
            at_most(
                "seconds an hour from 24 to 72 h over those from 1 to 24 h", round(late / early, 3), 1.15
            ),
            bar(
                "incidents that trip their own criterion only",
                sum(i["holds"] for i in incidents.values()),
                len(SCRIPTS),
            ),
            bar("calm seeds that trip nothing", quiet, options.seeds),
            bar("killed and resumed sessions with identical feeds", killed["identical"], options.kills),
            bar(
                "kills that left a checkpoint to go on from", killed["with_a_checkpoint"], options.kills // 2
            ),
        ],
    }
    return finish(result)


if __name__ == "__main__":
    sys.exit(main())
