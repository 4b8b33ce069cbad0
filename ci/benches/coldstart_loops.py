"""CPU seconds of the hot loops in one process: the market's flow with the replay of it, and the decoding of its feeds.

    python ci/benches/coldstart_loops.py HOURS REPEATS      # prints one JSON object; the first pass, which loads, is left out

Which kernels it runs, native ones or those of another processor, is for the environment to say.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

_START_NS = 1_736_899_200_000_000_000
_RATE_PER_S = 160.0


def main(hours: float, repeats: int) -> dict[str, list[float]]:
    """Seconds of each repeat."""
    from mmlib.config.models import Config
    from mmlib.engine.session import SessionSpec, run_session
    from mmlib.feeds.reader import read_feeds

    config = Config.model_validate({"market": {"rate_per_s": _RATE_PER_S}, "async_batch": {"enabled": False}})
    spec = SessionSpec("simulated", ("BTCUSDT",), ("A",), hours * 3600.0, start_ns=_START_NS, seed=7)
    found: dict[str, list[float]] = {"flow_and_replay": [], "decode": []}
    with tempfile.TemporaryDirectory(prefix="finishline-loops-") as name:
        for k in range(repeats + 1):
            feeds = Path(name) / f"feeds{k}"
            begun = time.process_time()
            run_session(spec, config, feeds)
            ran = time.process_time()
            read_feeds(feeds, "ticks")
            read_feeds(feeds, "fills")
            if k:
                found["flow_and_replay"].append(ran - begun)
                found["decode"].append(time.process_time() - ran)
    return found


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), int(sys.argv[2]))))
