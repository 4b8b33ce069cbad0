"""Runs of a session for the sake of their durations: each in a process of its own, several passes over the market in memory.

``python -m mmlib.baseline.repeat JOB.json`` is what the rounds start, once a build, with the build to measure first on the
path. It reads the market, says that it is ready, and then forks a process for every line of its standard input: the run, whose
findings are a line of JSON on standard output. Packages are imported once; compiled code, market, book and stack are a run's
own, at places of its own. A pass takes some tens of milliseconds, so that most passes of a run are undisturbed even on a busy
host.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from mmlib._io import read_json
from mmlib.config.models import Config
from mmlib.core.histogram import Histogram
from mmlib.dtypes import STAGES
from mmlib.engine.window import Window, cut_window, market_source, replay_window

COMPUTE = "compute"
NAMES = (*STAGES, "tick_total", COMPUTE)
"""Stages, the whole tick, and what of it was measured: in a replay the market data's refresh is modelled, the rest is not."""
_MEASURED = tuple(name for name in STAGES if name != "fetch_md")
MAX_WINDOW_S = 900.0
"""Market that a pass covers at most [s]; a longer session is measured on its beginning."""
READY = "ready"
"""What is said when the market is read and runs may begin."""
_GAPS, _GAP_PAGES, _DEPTHS = 64, 64, 64
_T = TypeVar("_T")


def measure(
    windows: Sequence[Window], config: Config, arms: Sequence[str], *, seed: int, passes: int
) -> dict[str, Any]:
    """Replay a session's market ``passes`` times and return what its stages took.

    Args:
        windows: the market of each symbol.
        config, arms, seed: as of the session.
        passes: how often, after one that is not counted.

    Returns:
        ``passes``: a list of {stage: p95 [ms]}; ``histograms``: stage -> all passes, as JSON; n_ticks, n_hits, n_misses.
    """
    whole = {name: Histogram() for name in NAMES}
    found, counts = [], np.zeros(3, np.int64)
    for number in range(passes + 1):
        ticks = [replay_window(w, config, arms, seed=seed)[0] for w in windows]
        if number == 0:  # the first one pays for loading the kernels and touching the memory
            continue
        rows = np.concatenate(ticks)
        durations = {name: np.ascontiguousarray(rows[f"{name}_ms"]) for name in NAMES if name != COMPUTE}
        durations[COMPUTE] = compute_ms(rows)
        parts = {name: Histogram(values) for name, values in durations.items()}
        found.append({name: part.p(95) if part.n else None for name, part in parts.items()})
        whole = {name: whole[name] + part for name, part in parts.items()}
        counts += [len(rows), int(rows["cache_hit"].sum()), int(rows["deadline_miss"].sum())]
    n_ticks, n_hits, n_misses = (int(count) for count in counts)
    return {
        "passes": found,
        "histograms": {name: part.to_dict() for name, part in whole.items()},
        "n_ticks": n_ticks,
        "n_hits": n_hits,
        "n_misses": n_misses,
    }


def compute_ms(rows: np.ndarray) -> np.ndarray:
    """Measured part of each of TICK[n] ticks [ms], ``float64[n]``; NaN where no stage of it ran."""
    parts = np.stack([rows[f"{name}_ms"] for name in _MEASURED])
    ran = np.isfinite(parts)
    return np.where(ran.any(axis=0), np.where(ran, parts, 0.0).sum(axis=0), np.nan)


def _window(spec: Mapping[str, Any], symbol: str, config: Config) -> Window:
    """The window of a symbol as ``engine.session`` cuts it, at most ``MAX_WINDOW_S`` of it."""
    simulated = spec["uri"] == "simulated"
    source = market_source(
        spec["uri"],
        symbol,
        config,
        seed=spec["seed"],
        start_ns=spec["start_ns"],
        offset_s=spec["offset_s"] if simulated else 0.0,
    )
    start_ns = source.start_ns + (0 if simulated else int(spec["offset_s"] * 1e9))
    return cut_window(source, start_ns, min(spec["duration_s"], MAX_WINDOW_S))


def _run(windows: Sequence[Window], config: Config, asked: Mapping[str, Any]) -> NoReturn:
    """One run, in the process that was forked for it."""
    try:
        rng, spec = np.random.default_rng(), asked["spec"]
        gaps = _scatter(rng)
        own = [replace(window, events=window.events.copy()) for window in windows]
        found = _deeper(
            int(rng.integers(_DEPTHS)),
            lambda: measure(own, config, spec["arms"], seed=spec["seed"], passes=asked["passes"]),
        )
        del gaps
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def _scatter(rng: np.random.Generator) -> list[mmap.mmap]:
    """Reserve gaps of random sizes, so that what is mapped from now on lies elsewhere than in any other run.

    Where code, data and stack lie changes durations by percents; processes of one parent inherit its places, and a build must
    not keep a lucky one through all of its runs.
    Source: Mytkowicz, Diwan, Hauswirth, Sweeney, "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009.
    """
    pages = rng.integers(1, _GAP_PAGES, _GAPS, endpoint=True)
    return [mmap.mmap(-1, int(count) * mmap.PAGESIZE) for count in pages]


def _deeper(levels: int, then: Callable[[], _T]) -> _T:
    """Call ``then`` from further down the stack: every level goes through C, whose frames take room there."""
    return then() if levels == 0 else next(_deeper(left, then) for left in (levels - 1,))


def main(job: str) -> None:
    """Run what a job file asks for, once for every line of standard input."""
    asked = read_json(Path(job))
    config = Config.model_validate(asked["config"])
    windows = [_window(asked["spec"], symbol, config) for symbol in asked["spec"]["symbols"]]
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(windows, config, asked)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != 0:
            raise SystemExit(f"a run ended with code {code}" if code < 0 else code)


if __name__ == "__main__":
    main(*sys.argv[1:])
