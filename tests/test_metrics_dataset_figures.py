"""Every figure of the dataset against plain loops; damage, order, files, threads and processes change none of them."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zstandard

from mmlib._io import UserError
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.writer import FeedWriter
from mmlib.metrics import kept, passing, slices
from mmlib.metrics.dataset import Dataset, build_dataset
from mmlib.metrics.farm import Cluster, Here, open_farm, threads
from mmlib.metrics.intervals import MARKOUTS
from mmlib.metrics.kept import reduced
from mmlib.metrics.slices import Slice
from tests import naive_dataset
from tests.make_feeds import SECOND_NS, START_NS, fills, ticks

STEP_NS = 300 * SECOND_NS
N_S = 2700
TICKS = "pipeline_ticks_20250114.jsonl"


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, two arms, over midnight, with gaps, unknown values, and fills before the first and after the last tick."""
    home = tmp_path_factory.mktemp("feeds")
    for number, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        rows = ticks(N_S, seed=90 + number, holes=True, interval_ns=SECOND_NS // 2 * (number + 1))
        deals = fills(150, seed=92 + number, holes=True, span_ns=(N_S - 900) * SECOND_NS)
        quiet = (rows["ts_ns"] - START_NS) // (60 * SECOND_NS) % 7 == 5
        rows = rows[~quiet]
        for part in (rows, deals):
            part["ts_ns"] -= 1000 * SECOND_NS
        with FeedWriter(home, symbol) as writer:
            writer.ticks(rows)
            writer.fills(deals)
    return home


def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of two intervals and one symbol's arm, so that there are many."""
    monkeypatch.setattr(slices, "SLICE_NS", 2 * STEP_NS)
    monkeypatch.setattr(slices, "MAX_PAIRS", 3)


def assert_same(one: Dataset, other: Dataset) -> None:
    pd.testing.assert_frame_equal(one.intervals, other.intervals, check_exact=True)


def test_every_figure_is_what_plain_loops_find(feeds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_slices(monkeypatch)
    frame = build_dataset(feeds).intervals
    t, f = (read_feeds(feeds, kind).frame for kind in ("ticks", "fills"))  # type: ignore[arg-type]
    assert len(frame) == 4 * len(set(frame["ts"])) >= 4 * 9
    figures = [name for name in frame.columns if name not in ("ts", "symbol", "arm", "reason")]
    for row in frame.to_dict("records"):
        expected = naive_dataset.interval(t, f, row["symbol"], row["arm"], row["ts"].value, STEP_NS)
        assert set(expected) == set(figures)
        for name, value in expected.items():
            tolerance = 1e-3 if name[-7:-4] in ("p50", "p95", "p99") or name == "coverage" else 1e-9
            scale = abs(row["notional"]) * 1e-4 + 1.0 if name.endswith(("pnl", "cost", "bps")) else 1e-9
            if name.endswith("_ms"):
                tolerance = 1.0001e-3
            assert row[name] == pytest.approx(value, rel=tolerance, abs=1e-9 * scale, nan_ok=True), (
                name,
                row,
            )
    assert frame[list(MARKOUTS)].notna().any().all()


def test_slices_threads_and_the_cache_change_no_bit(
    feeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = build_dataset(feeds)
    small_slices(monkeypatch)
    assert_same(build_dataset(feeds, farm=threads(3)), expected)
    assert_same(build_dataset(feeds, farm=Here(), cache_dir=tmp_path), expected)
    assert_same(build_dataset(feeds, cache_dir=tmp_path), expected)
    for path in tmp_path.glob(
        "pipeline_ticks*.parquet"
    ):  # a byte of the data, where only the page's checksum sees it
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 3] ^= 0xFF
        path.write_bytes(raw)
    assert_same(build_dataset(feeds, cache_dir=tmp_path), expected)


def forget_slices(home: Path) -> None:
    """Take what was kept of slices from a cache."""
    for path in home.glob("*.npz"):
        path.unlink()


@pytest.mark.parametrize("interval_min", [1, 5, 15, 32])
@pytest.mark.parametrize("limited", [False, True])
def test_slices_of_the_conversion_kept_ones_and_those_of_parquet_are_the_same(
    feeds: Path, tmp_path: Path, interval_min: float, limited: bool
) -> None:
    start, end = datetime(2025, 1, 14, 23, 52, 30, tzinfo=UTC), datetime(2025, 1, 15, 0, 20, 10, tzinfo=UTC)
    asked: dict[str, Any] = {"interval_min": interval_min, "cache_dir": tmp_path}
    asked |= {"start": start, "end": end} if limited else {}
    cold = build_dataset(feeds, **asked)
    n = 2
    assert cold.sources == {"conversion": n}
    kept = build_dataset(feeds, **asked)
    assert kept.sources == {"kept": n}
    forget_slices(tmp_path)
    scanned = build_dataset(feeds, **asked)
    assert scanned.sources == {"ticks": n}
    for other in (kept, scanned):
        assert_same(other, cold)
        assert other.summary == cold.summary
    for path in tmp_path.glob("*.npz"):  # damage is seen, and the slice worked out anew
        raw = bytearray(path.read_bytes())
        raw[raw.index(b"quantile.npy") + 500] ^= 0xFF
        path.write_bytes(raw)
    again = build_dataset(feeds, **asked)
    assert again.sources == {"ticks": n}
    assert_same(again, cold)


def test_a_slice_is_kept_for_what_was_asked_of_it_and_goes_with_its_file(feeds: Path, tmp_path: Path) -> None:
    copy, home = tmp_path / "feeds", tmp_path / "cache"
    shutil.copytree(feeds, copy)
    build_dataset(copy, cache_dir=home)
    assert build_dataset(copy, cache_dir=home, interval_min=15).sources == {"ticks": 2}
    assert build_dataset(copy, cache_dir=home, interval_min=15).sources == {"kept": 2}
    deals = copy / "fills_20250114.jsonl"
    deals.write_bytes(b"".join(deals.read_bytes().splitlines(keepends=True)[1:]))
    fewer = build_dataset(copy, cache_dir=home)  # other times at which the mid is asked for
    assert fewer.sources == {"ticks": 1, "kept": 1}
    assert_same(fewer, build_dataset(copy))
    held = {path.name for path in home.glob("*.npz")}
    path = copy / TICKS
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-300]))
    shorter = build_dataset(copy, cache_dir=home)
    assert shorter.sources == {"conversion": 1, "kept": 1}
    assert_same(shorter, build_dataset(copy))
    left = {path.name for path in home.glob("*.npz")}
    assert len({name for name in left & held if name.startswith("pipeline_ticks_20250114")}) == 0
    for interval in (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 30, 32, 36, 40, 45, 48):
        build_dataset(copy, cache_dir=home, interval_min=interval)
    assert len(list(home.glob("pipeline_ticks_20250114*.npz"))) == kept.MOST


@pytest.mark.parametrize("what", ["MAX_PAIRS", "MAX_PERIODS", "MAX_INTERVALS"])
def test_what_would_take_too_much_memory_while_it_passes_is_read_again(
    feeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    expected = build_dataset(feeds)
    monkeypatch.setattr(passing, what, 1 if what != "MAX_PERIODS" else 0)
    found = build_dataset(feeds, cache_dir=tmp_path)
    assert found.sources == {"ticks": 2}
    assert_same(found, expected)


def test_what_a_file_holds_decides_its_days_whatever_its_name(feeds: Path, tmp_path: Path) -> None:
    copy = tmp_path / "feeds"
    shutil.copytree(feeds, copy)
    for path in sorted(copy.glob("pipeline_ticks_*.jsonl")):
        path.rename(path.with_name(path.name.replace("202501", "202503")))
    found = build_dataset(copy, cache_dir=tmp_path / "cache")
    assert found.sources == {"conversion": 2}
    assert_same(found, build_dataset(feeds))


def test_files_joined_of_others_go_with_them_and_with_what_they_held_before(
    feeds: Path, tmp_path: Path
) -> None:
    copy, home = tmp_path / "feeds", tmp_path / "cache"
    shutil.copytree(feeds, copy)
    again = copy / "pipeline_ticks_20250114_copy.jsonl"
    again.write_bytes((copy / TICKS).read_bytes()[: 1 << 16])  # times of two files overlap: they are joined

    def joined() -> set[Path]:
        return set(home.glob("together-*"))

    first = build_dataset(copy, cache_dir=home)
    before = joined()
    assert len(before) >= 2 and {path.suffix for path in before} >= {".parquet", ".npy"}
    assert_same(build_dataset(copy, cache_dir=home), first)
    assert joined() == before
    again.write_bytes((copy / TICKS).read_bytes()[: 1 << 17])
    assert_same(build_dataset(copy, cache_dir=home), first)
    assert joined() and not joined() & before
    again.unlink()
    forget_slices(home)
    assert_same(build_dataset(copy, cache_dir=home), first)
    assert not joined()


def damaged(source: Path, target: Path) -> Path:
    """A copy whose lines are shuffled, some twice, some torn, packed, and some in the file of another day."""
    rng = random.Random(11)
    shutil.copytree(source, target)
    for path in sorted(target.glob("*.jsonl")):
        lines = path.read_bytes().splitlines()
        lines += rng.sample(lines, 20) + [line[: len(line) // 2] for line in rng.sample(lines, 7)]
        rng.shuffle(lines)
        moved, kept = lines[:30], lines[30:]
        other = path.with_name(path.name.replace("20250114", "20250113").replace("20250115", "20250116"))
        other.with_name(other.name + ".zst").write_bytes(zstandard.compress(b"\n".join(moved) + b"\n"))
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(b"\n".join([*kept, *moved[:5]]) + b"\n"))
        path.unlink()
    return target


def test_a_shuffled_doubled_torn_and_packed_copy_gives_the_same_dataset(feeds: Path, tmp_path: Path) -> None:
    clean, copy = build_dataset(feeds), damaged(feeds, tmp_path / "copy")
    ours = tmp_path / "quarantine"
    for _ in range(2):  # the second time from the cache
        other = build_dataset(copy, cache_dir=tmp_path / "cache", quarantine_dir=ours)
        assert_same(other, clean)
        assert (other.summary["ticks"], other.summary["fills"]) == (
            clean.summary["ticks"],
            clean.summary["fills"],
        )
        files = len(list(feeds.glob("*.jsonl")))
        torn = files * 7
        assert other.summary["duplicate_lines"] >= files * 20
        assert other.summary["quarantined_lines"] - other.summary["duplicate_lines"] >= torn
        assert other.summary["ticks_out_of_order"] > 0
        assert clean.summary["quarantined_lines"] == clean.summary["ticks_out_of_order"] == 0
        kept = sum(len(path.read_bytes().splitlines()) for path in ours.iterdir())
        assert kept == other.summary["quarantined_lines"]
    read = [read_feeds(copy, kind) for kind in ("ticks", "fills")]  # type: ignore[arg-type]
    assert sum(len(feed.quarantine) for feed in read) == other.summary["quarantined_lines"]
    assert sum(len(feed.frame) for feed in read) == other.summary["ticks"] + other.summary["fills"]


def test_a_range_takes_what_lies_in_it(feeds: Path) -> None:
    start, end = datetime(2025, 1, 14, 23, 52, tzinfo=UTC), datetime(2025, 1, 15, 0, 3, tzinfo=UTC)
    frame = build_dataset(feeds, start=start, end=end, interval_min=1).intervals
    t, f = (read_feeds(feeds, kind, start=start, end=end).frame for kind in ("ticks", "fills"))  # type: ignore[arg-type]
    assert len(frame) == 4 * 11
    assert (frame["n_ticks"].sum(), frame["n_fills"].sum()) == (len(t), len(f))
    row = frame[(frame["symbol"] == "ETHUSDT") & (frame["arm"] == "B")].iloc[8]
    expected = naive_dataset.interval(t, f, "ETHUSDT", "B", row["ts"].value, 60 * SECOND_NS)
    for name in ("n_ticks", "net_bps", "inventory_pnl", "mid_last", "volatility_bps", "taker_share_pct"):
        assert row[name] == pytest.approx(expected[name], nan_ok=True)


def slow_first(task: Slice, *, keep: bool) -> object:
    """Reduce a slice, and take long over the first one of all."""
    mark = Path(os.environ["MM_TEST_MARK"])
    if task.lower_ns <= START_NS - 1000 * SECOND_NS and not mark.exists():
        mark.write_text(str(os.getpid()))
        time.sleep(60)
    return reduced(task, keep=keep)


@pytest.mark.slow
def test_processes_give_the_same_and_a_dead_one_costs_time_only(
    feeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_slices(monkeypatch)
    expected = build_dataset(feeds, cache_dir=tmp_path / "cache")
    mark = tmp_path / "mark"
    monkeypatch.setenv("MM_TEST_MARK", str(mark))
    monkeypatch.setattr("mmlib.metrics.dataset.reduced", slow_first)
    told: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, of: int) -> None:
        told.append((what, done, of))
        if what.startswith("slices") and mark.exists() and mark.read_text() and "killed" not in killed:
            os.kill(int(mark.read_text()), signal.SIGKILL)
            killed.append("killed")

    killed: list[str] = []
    with open_farm(workers=2) as farm:
        assert isinstance(farm, Cluster)
        got = build_dataset(feeds, cache_dir=tmp_path / "other", farm=farm, progress=progress)
    assert killed
    assert_same(got, expected)
    assert got.summary == expected.summary
    assert told[-1][1] == told[-1][2] > 4


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmlib.metrics.farm._REACH_S", 0.2)
    with (
        pytest.raises(UserError, match=r"scheduler tcp://127\.0\.0\.1:9: no answer"),
        open_farm(scheduler="tcp://127.0.0.1:9"),
    ):
        pass
    with (
        pytest.raises(UserError, match="expected one of them"),
        open_farm(workers=2, scheduler="tcp://127.0.0.1:9"),
    ):
        pass


def test_a_scheduler_that_is_killed_midway_is_an_error_and_not_a_shorter_result() -> None:
    """Its futures are cancelled, and the library hands the exception over as their result."""
    import subprocess
    import sys

    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    words = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen([*words, "--no-dashboard"], **pipes) as scheduler:
        assert scheduler.stderr is not None
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
        words = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        quiet = ["--no-nanny", "--no-dashboard", "--death-timeout", "600"]
        with subprocess.Popen([*words, *quiet], **{**pipes, "stderr": subprocess.DEVNULL}) as worker:
            try:
                with (
                    pytest.raises(UserError, match=r"the scheduler is gone, \d+ of 50 results are missing"),
                    open_farm(scheduler=address) as farm,
                ):
                    for _ in farm.each(time.sleep, [0.1] * 50):
                        scheduler.kill()
            finally:
                worker.kill()
                scheduler.kill()


def test_the_command_line_does_not_wait_for_the_cluster_library() -> None:
    import subprocess
    import sys

    code = "import sys, mmlib.cli, mmlib.metrics.dataset; print('distributed' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_numbers_of_one_value_are_stated_as_they_are(tmp_path: Path) -> None:
    rows = ticks(600, seed=1)
    rows["tick_total_ms"] = 1000.0
    with FeedWriter(tmp_path, "X") as writer:
        writer.ticks(rows)
    frame = build_dataset(tmp_path).intervals
    assert set(frame["tick_total_p95_ms"]) == {1000.0}
    assert np.isfinite(frame["coverage"]).all()
