"""What a dataset holds does not grow with its ticks: slices in work are few, and a day leaves its intervals and its fills."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mmlib.core import tickbins
from mmlib.feeds import stream
from mmlib.feeds.cache import cached
from mmlib.feeds.writer import FeedWriter
from mmlib.metrics import dataset, passing, slices
from mmlib.metrics.dataset import build_dataset
from mmlib.metrics.farm import Here, threads
from mmlib.metrics.intervals import Whole
from mmlib.metrics.ticks import Ticks
from tests.make_feeds import SECOND_NS, fills, ticks

DAY_NS = 86_400 * SECOND_NS
SYMBOLS = ("BTCUSDT", "ETHUSDT")
DAYS = 8
FILLS = 2000  # a day and symbol


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Makes a directory of so many days, a file of ticks and one of fills a day."""
    homes: dict[int, Path] = {}

    def make(days: int) -> Path:
        if days not in homes:
            homes[days] = tmp_path_factory.mktemp(f"days{days}")
            for number, symbol in enumerate(SYMBOLS):
                with FeedWriter(homes[days], symbol) as writer:
                    for day in range(days):
                        rows = ticks(1440, seed=number, interval_ns=60 * SECOND_NS)
                        deals = fills(FILLS, seed=2 + number, span_ns=DAY_NS)
                        for part in (rows, deals):
                            part["ts_ns"] += day * DAY_NS
                        deals["fill_id"] += day * FILLS
                        writer.ticks(rows)
                        writer.fills(deals)
        return homes[days]

    return make


class Alive:
    """Most of some objects that were alive at the same time."""

    def __init__(self) -> None:
        self._held: list[weakref.ref[Any]] = []
        self.met = self.most = 0

    def see(self, one: Any) -> None:
        self._held = [ref for ref in self._held if ref() is not None] + [weakref.ref(one)]
        self.met += 1
        self.most = max(self.most, len(self._held))


@pytest.mark.parametrize("farm", [Here(), threads(2)], ids=["here", "threads"])
@pytest.mark.parametrize("scan", [False, True], ids=["conversion", "scan"])
def test_histograms_are_those_of_the_files_in_work_and_placed_slices_are_let_go(
    feeds: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, farm: Any, scan: bool
) -> None:
    if scan:
        build_dataset(feeds(DAYS), cache_dir=tmp_path, interval_min=15)
    histograms, placed = Alive(), Alive()
    make, add = tickbins.new_bins, Whole.add

    def new_bins(*args: Any) -> Any:
        bins = make(*args)
        histograms.see(bins.counted)
        return bins

    def seen_add(whole: Whole, one: slices.Partial) -> None:
        placed.see(one)
        add(whole, one)

    for module in (passing, slices):
        monkeypatch.setattr(module, "new_bins", new_bins)
    monkeypatch.setattr(Whole, "add", seen_add)
    found = build_dataset(feeds(DAYS), cache_dir=tmp_path, farm=farm)
    assert found.sources == {"ticks" if scan else "conversion": 2 * DAYS}
    assert histograms.met == placed.met == 2 * DAYS
    in_work = 1 if isinstance(farm, Here) else 2
    assert histograms.most <= (1 if scan else 2) * in_work + in_work  # one may be about to go
    assert placed.most <= 2


def held_mb(home: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """What is held, without the histograms, when the last slice is worked out and the intervals are not made yet."""
    held: list[float] = []

    def measured(*args: Any) -> Any:
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes())
        return interval_frame(*args)

    interval_frame = dataset.interval_frame
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "interval_frame", measured)
        tracemalloc.start()
        try:
            build_dataset(home, farm=Here())
        finally:
            tracemalloc.stop()
    return held[0] / 1e6


def test_a_day_leaves_its_intervals_and_what_they_need_of_its_fills(
    feeds: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_dataset(feeds(2))  # compiles, and fills what is made once
    few, many = (held_mb(feeds(days), monkeypatch) for days in (2, DAYS))
    per_day = (many - few) / (DAYS - 2)
    intervals = 288 * 2 * len(SYMBOLS) * (9 + 7 + 3 * tickbins.STAGES) * 8 / 1e6
    per_fill = 96 + 6 * 8 + 6 * 16  # its columns; the times that the mid is asked for at; the answers
    assert per_day < 1.25 * (intervals + len(SYMBOLS) * FILLS * per_fill / 1e6), (few, many)


def test_histograms_lie_in_pages_that_go_back_to_the_system() -> None:
    tracemalloc.start()
    try:
        bins = tickbins.new_bins(64, 144, np.empty(0, np.int64), np.zeros(65, np.int64))
        from_the_heap = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert bins.counted.nbytes + bins.distance.nbytes > 40e6
    assert from_the_heap < 10e6
    assert not bins.counted.any() and not bins.distance.any()


def test_the_quarantine_of_ticks_is_kept_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream.FeedStream.__init__, "__defaults__", (1 << 16,))
    path = tmp_path / "pipeline_ticks_20250115.jsonl"
    path.write_text(f"{'oops ' * 200}\n" * 20_000)
    entry = cached(path, "ticks", tmp_path / "cache")
    assert entry.quarantine.stat().st_size > 20e6
    for repeated in ({}, {path: np.array([5, 7])}):
        tracemalloc.start()
        try:
            Ticks([entry], [], repeated).keep(tmp_path / "quarantine")
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        kept = (tmp_path / "quarantine" / f"{path.name}.quarantine.jsonl").read_bytes().splitlines()
        assert len(kept) == 20_000 + len(repeated and repeated[path])
        assert most < 8e6
