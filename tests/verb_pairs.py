"""Two verbs at once in one workspace: every pair of the verbs that write there, started together as processes.

Each of the two may do its work, or be refused with exit 2 and the name of the process that holds the place. Neither may show a
traceback; afterwards every file of the workspace is whole, nothing temporary is left and ``finishline status`` works.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pyarrow.parquet as pq
import yaml

from mmlib.feeds.writer import FeedWriter
from tests.make_feeds import fills, ticks

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 900
VERBS: dict[str, str] = {
    "prep": "run --step prep --profile demo",
    "soak": "soak --hours 0.02 --profile demo --symbols BTCUSDT",
    "dataset": "dataset --feeds ../feeds --profile demo",
    "daily": "daily --feeds ../feeds --date 2025-01-15",
    "baseline": "baseline --lock",
    "readiness": "readiness",
    "rollback": "rollback --reason pair",
    "alerts": "alerts",
    "report": "report",
}
"""Verbs that write into a workspace; feeds lie beside it."""
PAIRS: list[tuple[str, str]] = list(itertools.combinations_with_replacement(VERBS, 2))
HOLDER = re.compile(r"process \d+")
TEMPORARY = re.compile(r"\.tmp$|\.partial(\.|$)|\.lock\.|~$")


def workspace(home: Path, *verbs: str) -> Path:
    """A workspace below ``home`` in which ``verbs`` ran, one after the other, and feeds of ten minutes beside it."""
    ws = home / "workspace"
    ws.mkdir(parents=True)
    with FeedWriter(home / "feeds", "BTCUSDT") as writer:
        writer.ticks(ticks(600, seed=5))
        writer.fills(fills(60, seed=6))
    for verb in verbs:
        for code, text in _together(ws, verb):
            assert code in (0, 1), f"{verb} alone: exit {code}: {text}"
    return ws


def faults(ws: Path, first: str, second: str) -> list[str]:
    """What two verbs started at once did wrong in a copy of ``ws``; the copy is removed when it is nothing."""
    place = ws.with_name(f"{first}+{second}")
    shutil.copytree(ws, place)
    found = []
    for verb, (code, text) in zip((first, second), _together(place, first, second), strict=True):
        if code not in (0, 1, 2):
            found.append(f"{verb}: exit {code}: {text[-300:]}")
        if code == 2 and not HOLDER.search(text):
            found.append(f"{verb}: refused without naming the holder: {text[-300:]}")
        if "Traceback" in text:
            found.append(f"{verb}: traceback: {text[-600:]}")
    found += list(not_whole(place))
    for words in ("status", "status --json"):
        code, text = ended(*started(place, words))
        if code != 0 or "Traceback" in text:
            found.append(f"{words}: exit {code}: {text[-300:]}")
    if not found:
        shutil.rmtree(place)
    return found


def not_whole(ws: Path) -> Iterator[str]:
    """Files of a workspace that do not parse, and temporary ones."""
    for path in sorted(path for path in ws.rglob("*") if path.is_file()):
        name = path.relative_to(ws).as_posix()
        if any(TEMPORARY.search(part) for part in Path(name).parts):
            yield f"{name}: temporary file left"
        reader = READERS.get(path.suffix)
        try:
            if reader:
                reader(path)
        except Exception as exc:  # whatever a damaged file makes its reader raise
            yield f"{name}: {type(exc).__name__}: {str(exc)[:200]}"


def _some(read: object) -> None:
    assert read, "empty"


def _html(path: Path) -> None:
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>"), "cut off"


READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_bytes()),
    ".jsonl": lambda path: [json.loads(line) for line in path.read_bytes().splitlines()],
    ".ipynb": lambda path: nbformat.validate(nbformat.read(path, as_version=4)),
    ".parquet": pq.read_table,
    ".yml": lambda path: _some(yaml.safe_load(path.read_bytes())),
    ".yaml": lambda path: _some(yaml.safe_load(path.read_bytes())),
    ".html": _html,
}


def _together(ws: Path, *verbs: str) -> list[tuple[int, str]]:
    """Exit code and all that was said of each verb, all begun before any is waited for."""
    begun = [started(ws, VERBS[verb]) for verb in verbs]
    return [ended(*one) for one in begun]


def started(ws: Path, words: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A verb begun in a workspace, and the file beside it that takes all it says."""
    n = len(list(ws.parent.glob("said-*")))
    path = ws.parent / f"said-{n}"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with path.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "mmlib", *words.split()],
            cwd=ws,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        ), path


def ended(process: subprocess.Popen[bytes], path: Path) -> tuple[int, str]:
    """Exit code of what ``started`` began, and all it said."""
    try:
        code = process.wait(PATIENCE_S)
    finally:
        process.kill()
    return code, path.read_text(encoding="utf-8", errors="replace")
