"""Where sessions write: two at once, a killed one, a full disk, files of a desk among ours."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mmlib._io import UserError
from mmlib.config.models import Config
from mmlib.engine.place import claimed, listed, refuse_foreign, swap
from mmlib.engine.session import SessionSpec, run_session
from mmlib.feeds.sidecar import read_sidecar, write_sidecar

FACTS = {
    "grade": "simulated", "source": "simulated", "symbols": ["BTCUSDT"], "arms": ["A"], "seed": 1, "complete": True,
    "started": "2025-01-15T00:00:00Z", "finished": "2025-01-15T00:01:00Z", "tick_interval_ms": 1000,
}  # fmt: skip
NAME = "fills_20250115.jsonl"


def session_of_ours(feeds: Path, text: str = '{"schema":1}\n') -> Path:
    """Feeds as a session leaves them."""
    with claimed(feeds) as partial:
        (partial / NAME).write_text(text)
        write_sidecar(partial, {**FACTS, "files": listed(partial)})
        swap(partial, feeds)
    return feeds


def test_a_second_session_in_the_same_place_is_refused(tmp_path: Path) -> None:
    feeds = tmp_path / "feeds"
    with claimed(feeds) as partial:
        (partial / NAME).write_text("half")
        held = rf"another session is writing it \(process {os.getpid()} on .+\)"
        with pytest.raises(UserError, match=held), claimed(feeds):
            raise AssertionError("two sessions hold one place")
        assert (partial / NAME).read_text() == "half"
    with claimed(feeds):
        pass


def test_the_claim_of_a_killed_session_ends_with_it(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\nfrom mmlib.engine.place import claimed\n"
        "with claimed(pathlib.Path(sys.argv[1])) as partial:\n"
        "    (partial / 'half.jsonl').write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "feeds")], check=False)
    assert done.returncode == -9
    assert (tmp_path / "feeds.partial" / "half.jsonl").exists()
    with claimed(tmp_path / "feeds") as partial:
        assert list(partial.iterdir()) == []
    assert not (tmp_path / "feeds").exists()


def test_sessions_replace_each_other_and_keep_the_one_before(tmp_path: Path) -> None:
    feeds = tmp_path / "feeds"
    for text in ("first\n", "second\n", "third\n"):
        session_of_ours(feeds, text)
    assert (feeds / NAME).read_text() == "third\n"
    assert (tmp_path / "feeds.previous" / NAME).read_text() == "second\n"
    stated = read_sidecar(feeds)
    assert stated is not None
    assert stated["files"] == {NAME: 6}


@pytest.mark.parametrize(
    "name", ["pipeline_ticks_20260101.jsonl", "fills_20260101.jsonl.gz", "notes.txt", "old/fills.parquet"]
)
@pytest.mark.parametrize("ours", [True, False])
def test_a_file_of_a_desk_is_never_moved_or_deleted(tmp_path: Path, name: str, ours: bool) -> None:
    feeds = tmp_path / "feeds"
    if ours:
        session_of_ours(feeds)
    (feeds / name).parent.mkdir(parents=True, exist_ok=True)
    (feeds / name).write_text("a desk's")
    with pytest.raises(UserError, match=r"holds .* which no session of ours wrote"), claimed(feeds):
        raise AssertionError("a desk's file was claimed")
    assert (feeds / name).read_text() == "a desk's"


def test_lines_that_a_desk_appended_to_our_file_are_kept(tmp_path: Path) -> None:
    feeds = session_of_ours(tmp_path / "feeds")
    with (feeds / NAME).open("a") as handle:
        handle.write('{"schema":1,"more":true}\n')
    with pytest.raises(UserError, match=NAME):
        refuse_foreign(feeds)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for feeds in (tmp_path / "file", tmp_path / "file" / "feeds", Path("/proc/nothing/feeds")):
        with (
            pytest.raises(UserError, match=r"expected a (writable workspace|directory of feeds)"),
            claimed(feeds),
        ):
            raise AssertionError("claimed what cannot be written")


def test_a_failed_session_leaves_the_one_before_as_it_was(tmp_path: Path) -> None:
    feeds = session_of_ours(tmp_path / "feeds")
    spec = SessionSpec(f"recording:{tmp_path / 'absent.gz'}", ("BTCUSDT",), ("A",), 60.0)
    with pytest.raises(UserError, match="no such file"):
        run_session(spec, Config(), feeds)
    assert (feeds / NAME).exists()
    assert not (tmp_path / "feeds.partial").exists()
    with (tmp_path / ".feeds.lock").open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_killed_session_leaves_no_worker_behind(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, os, time\n"
        "from mmlib.engine.orphan import end_with_parent\n"
        "def work(pipe):\n"
        "    end_with_parent()\n    pipe.send(os.getpid())\n    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    ours, theirs = multiprocessing.Pipe()\n"
        "    multiprocessing.get_context('spawn').Process(target=work, args=(theirs,)).start()\n"
        "    print(ours.recv(), flush=True)\n    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == -9
    worker = int(done.stdout)
    try:
        gone = psutil.Process(worker).wait(timeout=200)
    except psutil.NoSuchProcess:
        gone = None
    assert gone in (None, 1)
