"""``finishline dataset --scheduler`` whose scheduler is killed while its tasks are under way, from end to end."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 120
GONE = re.compile(r"the scheduler is gone, \d+ of \d+ results are missing")


def scheduler_killed(home: Path) -> list[str]:
    """What ``dataset`` did wrong when its scheduler was killed midway; the one worker is halted, so that no task ends before.

    Expected are exit 2, a message that the scheduler is gone, no traceback, a whole workspace, and no process left.
    """
    from distributed import Client

    from tests import verb_pairs

    def tasks(dask_scheduler: Any) -> int:  # local, so that it is sent by value
        return len(dask_scheduler.tasks)

    ws = verb_pairs.workspace(home)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen([*words, "--no-dashboard"], **quiet) as scheduler:  # type: ignore[call-overload]
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
        words = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        worker = subprocess.Popen(
            [*words, "--no-nanny", "--no-dashboard", "--death-timeout", "5"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=PATIENCE_S)
                worker.send_signal(signal.SIGSTOP)
                words = ["dataset", "--feeds", "../feeds", "--profile", "demo", "--scheduler", address]
                verb = verb_pairs.started(ws, " ".join(words))
                until = time.monotonic() + PATIENCE_S
                while not client.run_on_scheduler(tasks) and time.monotonic() < until:
                    time.sleep(0.1)
                sent = client.run_on_scheduler(tasks)
                children = psutil.Process(verb[0].pid).children(recursive=True)
                scheduler.kill()
            code, text = verb_pairs.ended(*verb)
            worker.send_signal(signal.SIGCONT)
            found = [] if sent else ["no task reached the scheduler"]
            if code != 2 or not GONE.search(text) or "Traceback" in text:
                found.append(f"exit {code}: {text[-600:]}")
            left = psutil.wait_procs(children, timeout=30)[1]
            found += [f"left behind: {process}" for process in left]
            found += list(verb_pairs.not_whole(ws))
        finally:
            worker.kill()
            worker.wait()
            scheduler.kill()
    return found
