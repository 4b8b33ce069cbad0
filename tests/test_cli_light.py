"""Verbs that only read words do not import numba, which takes a second and brings the first kernels to load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow_fixtures import record_all

PROGRAM = """
import sys
from mmlib.cli import main
code = 0
try:
    code = main(sys.argv[1:])
except SystemExit as exc:
    code = exc.code
found = [name for name in ("numba", "llvmlite") if name in sys.modules]
print("CODE", code, *found, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With records of every step, a day's report and its figures."""
    ws = tmp_path_factory.mktemp("light")
    record_all(ws)
    day = ws / "artifacts" / "reports" / "daily" / "2025-01-15.md"
    day.parent.mkdir(parents=True)
    day.write_text("# 2025-01-15\n")
    day.with_suffix(".json").write_text('{"schema": 1, "health": "HEALTHY", "fired": []}')
    return ws


@pytest.mark.parametrize(
    "words",
    [
        *(["--help"], ["run", "--help"], ["replay", "--help"], ["feeds", "schema"], ["status"], ["doctor"]),
        *(["report"], ["schedule", "status"], ["watch", "--once"], ["lab", "--help"]),
        *(["rollback", "--reason", "a test"], ["daily", "--date", "not a date"]),
    ],
    ids=" ".join,
)
def test_a_verb_that_reads_words_needs_no_numba(words: list[str], workspace: Path) -> None:
    where = [] if "--help" in words or words[0] == "feeds" else ["--workspace", str(workspace)]
    command = [sys.executable, "-c", PROGRAM, *words, *where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1].split()
    assert last[0] == "CODE", done.stderr
    assert last[1] in ("0", "2"), done.stderr
    assert last[2:] == []
