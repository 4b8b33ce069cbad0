"""One run of a session for the sake of its durations: a process of its own, several passes over the market in memory.

``python -m mmlib.baseline.repeat JOB.json OUT.json`` is what the rounds start, once a run, with the build to measure first
on the path. A pass takes some tens of milliseconds, so that most passes of a run are undisturbed even on a busy host.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmlib._io import read_json, write_json
from mmlib.config.models import Config
from mmlib.core.histogram import Histogram
from mmlib.dtypes import STAGES
from mmlib.engine.window import Window, cut_window, market_source, replay_window

NAMES = (*STAGES, "tick_total")
MAX_WINDOW_S = 900.0
"""Market that a pass covers at most [s]; a longer session is measured on its beginning."""


def measure(spec: Mapping[str, Any], config: Mapping[str, Any], passes: int) -> dict[str, Any]:
    """Replay a session's market ``passes`` times and return what its stages took.

    Args:
        spec: a session's specification as its sidecar holds it: uri, symbols, arms, duration_s, offset_s, start_ns, seed.
        config: the configuration as the sidecar holds it.

    Returns:
        ``passes``: a list of {stage: p95 [ms]}; ``histograms``: stage -> all passes, as JSON; n_ticks, n_hits, n_misses.
    """
    settings = Config.model_validate(config)
    windows = [_window(spec, symbol, settings) for symbol in spec["symbols"]]
    whole = {name: Histogram() for name in NAMES}
    found, counts = [], np.zeros(3, np.int64)
    for number in range(passes + 1):
        ticks = [replay_window(w, settings, spec["arms"], seed=spec["seed"])[0] for w in windows]
        if number == 0:  # the first one pays for loading the kernels and touching the memory
            continue
        rows = np.concatenate(ticks)
        parts = {name: Histogram(np.ascontiguousarray(rows[f"{name}_ms"])) for name in NAMES}
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


def main(job: str, out: str) -> None:
    """Measure what a job file asks for and write what was found."""
    asked = read_json(Path(job))
    write_json(Path(out), measure(asked["spec"], asked["config"], asked["passes"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
