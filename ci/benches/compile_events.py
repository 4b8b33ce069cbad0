"""Counts what numba compiles, in a command and in every Python process that it starts; works on any build of the package.

``environment(directory)`` is what a command needs to be counted: each of its processes then appends to a file of its own there
one line a compile event, and ``read(directory)`` adds them up. Nothing is counted in a process that never imports numba.

    python ci/benches/compile_events.py DIRECTORY           # a table of what was counted there, by kernel
    python ci/benches/compile_events.py --run DIRECTORY COMMAND...
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DIRECTORY_ENV = "COMPILE_EVENTS_DIRECTORY"
_CUSTOMIZE = "sitecustomize.py"
# What every counted process runs as it begins. Times are CPU seconds of the thread that compiles; ``self`` leaves out the
# callees that were compiled meanwhile, so that the sum of ``self`` is the CPU time of all compile events.
_HOOK = """
import importlib.abc, importlib.machinery, json, os, sys, threading, time

class _Loader(importlib.abc.Loader):
    def __init__(self, loader): self.loader = loader
    def create_module(self, spec): return self.loader.create_module(spec)
    def exec_module(self, module):
        self.loader.exec_module(module)
        _listen(module)

class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "numba.core.event": return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None: spec.loader = _Loader(spec.loader)
        return spec

def _listen(event):
    running = threading.local()
    class Count(event.Listener):
        def on_start(self, e):
            running.__dict__.setdefault("stack", []).append([time.thread_time(), 0.0, time.time()])
        def on_end(self, e):
            began, within, wall = running.stack.pop()
            whole = time.thread_time() - began
            if running.stack: running.stack[-1][1] += whole
            function = e.data["dispatcher"].py_func
            line = {"kernel": function.__module__ + "." + function.__qualname__,
                    "signature": str(e.data["args"]), "self_s": whole - within, "whole_s": whole,
                    "outer": not running.stack, "began": wall, "ended": time.time(), "pid": os.getpid()}
            place = os.path.join(os.environ.get("%(env)s", "%(directory)s"), "%%d.jsonl" %% os.getpid())
            with open(place, "a") as f: f.write(json.dumps(line) + "\\n")
    event.register("numba:compile", Count())

sys.meta_path.insert(0, _Finder())
"""


def environment(directory: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """``env`` (this process's without one) in which a command's compile events are counted into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    hook = _HOOK % {"env": DIRECTORY_ENV, "directory": directory.resolve()}
    (directory / _CUSTOMIZE).write_text(hook)
    found = dict(os.environ if env is None else env)
    paths = [str(directory.resolve()), *filter(None, [found.get("PYTHONPATH", "")])]
    return found | {"PYTHONPATH": os.pathsep.join(paths), DIRECTORY_ENV: str(directory.resolve())}


def read(directory: Path) -> list[dict[str, Any]]:
    """Every compile event counted there, in the order of its end."""
    lines = [line for path in directory.glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted((json.loads(line) for line in lines), key=lambda event: event["ended"])


def summary(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Number of compile events, their CPU seconds [s], and how often the same specialisation was compiled again."""
    events = list(events)
    kinds = {(event["kernel"], event["signature"]) for event in events}
    return {
        "events": len(events),
        "kernels": len({event["kernel"] for event in events}),
        "cpu_s": round(sum(event["self_s"] for event in events), 2),
        "again": len(events) - len(kinds),
        "literal_twins": sum("Literal[" in signature for _, signature in kinds),
    }


def table(events: Iterable[Mapping[str, Any]], rows: int = 60) -> str:
    """Kernels by their own CPU seconds, the dearest first: seconds, number of compile events, name."""
    own: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for event in events:
        own[event["kernel"]] += event["self_s"]
        count[event["kernel"]] += 1
    order = sorted(own, key=lambda name: -own[name])[:rows]
    return "\n".join(f"{own[name]:8.2f} s {count[name]:4d} x  {name}" for name in order)


def show(argv: list[str]) -> int:
    """Count a command, or show what was counted."""
    code = 0
    if argv[:1] == ["--run"]:
        argv = argv[1:]
        code = subprocess.run(argv[1:], env=environment(Path(argv[0])), check=False).returncode
    events = read(Path(argv[0]))
    print(table(events))
    print(json.dumps(summary(events)))
    return code


if __name__ == "__main__":
    sys.exit(show(sys.argv[1:]))
