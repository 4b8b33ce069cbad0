"""Every kind of cached file and checkpoint: whatever is done to it, the result is that of no cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmlib import intact
from mmlib._io import UserError
from mmlib.engine import checkpoint
from mmlib.engine.parts import KINDS, Parts, intact_rows
from mmlib.engine.realtime.checkpoint import Checkpoint, store
from mmlib.feeds.cache import cached
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.writer import FeedWriter
from mmlib.market import cache as market_cache
from mmlib.market.recorded import ReaderOptions, Recording
from mmlib.market.source import FeedLatency, Instrument
from mmlib.metrics.dataset import build_dataset
from tests.make_feeds import fills, ticks

FLIPS = 40  # in all of one kind
OPTIONS = ReaderOptions("BTCUSDT", 7, None, FeedLatency(1.0, 0.5, 1.0), None)


def flipped(path: Path, rng: np.random.Generator) -> None:
    """One bit of a file turned over; size and time of change are kept."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    at = int(rng.integers(len(data) * 8))
    data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    intact._whole.cache_clear()  # another process, in which nothing was compared yet


def truncated(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes()[: int(rng.integers(path.stat().st_size))])
    intact._whole.cache_clear()


DAMAGE: dict[str, Callable[[Path, np.random.Generator], Any]] = {
    "truncated": truncated,
    "empty": lambda path, _: (path.write_bytes(b""), intact._whole.cache_clear()),
    "gone": lambda path, _: path.unlink(),
    "longer": lambda path, _: path.write_bytes(path.read_bytes() + b"\0"),
    "other form": lambda path, _: path.write_text("{}"),
    "text": lambda path, _: path.write_text("not this"),
}


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("feeds")
    with FeedWriter(home, "BTCUSDT") as writer:
        writer.write("ticks", ticks(400, seed=3))
        writer.write("fills", fills(60, seed=3))
    for path in home.glob("*.jsonl"):
        path.write_text(path.read_text() + '{"broken"\n{"schema": 1}\n')
    os.utime(home)
    for path in home.glob("*.jsonl"):
        os.utime(path, (1_700_000_000, 1_700_000_000))  # long ago: known by size and time
    return home


def of_feeds(feeds: Path, kept: Path | None) -> Any:
    found = [read_feeds(feeds, kind, cache_dir=kept) for kind in KINDS]
    dataset = build_dataset(feeds, cache_dir=kept)
    frames = [one.frame for one in found] + [one.quarantine for one in found] + [dataset.intervals]
    return frames, [one.quarantined for one in found], dataset.summary


def same(one: Any, other: Any) -> None:
    for left, right in zip(one[0], other[0], strict=True):
        pd.testing.assert_frame_equal(left.reset_index(drop=True), right.reset_index(drop=True))
    assert one[1:] == other[1:]


@pytest.fixture(scope="module")
def filled(feeds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("kept")
    of_feeds(feeds, home)
    return home


@pytest.mark.parametrize(
    "ending", ["ticks*.parquet", "fills*.parquet", "*.quarantine.jsonl", "*.parquet.crc", "*.npz"]
)
@pytest.mark.parametrize("damage", ["flips", *DAMAGE])
def test_the_cache_of_feeds(ending: str, damage: str, feeds: Path, filled: Path, tmp_path: Path) -> None:
    expected = of_feeds(feeds, None)
    rng = np.random.default_rng(5)
    for turn in range(FLIPS if damage == "flips" else 2):
        kept = tmp_path / str(turn)
        shutil.copytree(filled, kept)
        paths = sorted(path for path in kept.glob(f"*{ending}" if ending[0] != "*" else ending))
        assert paths
        (flipped if damage == "flips" else DAMAGE[damage])(paths[turn % len(paths)], rng)
        same(of_feeds(feeds, kept), expected)
        shutil.rmtree(kept)


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return overlapping_feeds(tmp_path_factory.mktemp("overlapping"))


def overlapping_feeds(home: Path) -> Path:
    """Two files of ticks whose times overlap, so that their rows are put in order together."""
    with FeedWriter(home, "BTCUSDT") as writer:
        writer.write("ticks", ticks(200, seed=3))
        writer.write("fills", fills(20, seed=3))
    (path,) = home.glob("pipeline_ticks_*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[::2]))
    path.with_name("pipeline_ticks_20991231.jsonl").write_text("".join(lines[1::2] + lines[:6:2]))
    for one in home.glob("*.jsonl"):
        os.utime(one, (1_700_000_000, 1_700_000_000))
    return home


@pytest.mark.parametrize("ending", [".parquet", ".parquet.crc", ".npy"])
@pytest.mark.parametrize("damage", ["flips", *DAMAGE])
def test_the_cache_of_feeds_that_overlap(ending: str, damage: str, overlapping: Path, tmp_path: Path) -> None:
    expected, rng = build_dataset(overlapping, cache_dir=None), np.random.default_rng(5)
    filled = tmp_path / "filled"
    build_dataset(overlapping, cache_dir=filled)
    for turn in range(-(-FLIPS // 3) if damage == "flips" else 1):
        kept = tmp_path / str(turn)
        shutil.copytree(filled, kept)
        for worked_out in kept.glob("*.npz"):
            worked_out.unlink()  # or the joined rows would not be needed
        (path,) = kept.glob(f"together-*[0-9a-f]{ending}")
        (flipped if damage == "flips" else DAMAGE[damage])(path, rng)
        got = build_dataset(overlapping, cache_dir=kept)
        pd.testing.assert_frame_equal(got.intervals, expected.intervals)
        assert got.summary == expected.summary
        shutil.rmtree(kept)


def test_a_cache_that_was_damaged_is_whole_again(feeds: Path, filled: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(filled, kept)
    (path,) = kept.glob("fills*.parquet")
    flipped(path, np.random.default_rng(1))
    of_feeds(feeds, kept)
    intact._whole.cache_clear()
    intact.check_file(path)
    source = next(feeds.glob("fills*"))
    made = path.stat().st_mtime_ns
    assert cached(source, "fills", kept).parquet.stat().st_mtime_ns == made


@pytest.mark.parametrize("suffix", [".npy", ".json", ".npy.crc"])
@pytest.mark.parametrize("damage", ["flips", *DAMAGE])
def test_the_cache_of_recordings(
    suffix: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recording: tuple[Path, Any]
) -> None:
    path, reader = recording
    expected = reader(path, OPTIONS)
    rng = np.random.default_rng(7)
    filled = tmp_path / "filled"
    monkeypatch.setenv("FINISHLINE_CACHE", str(filled))
    monkeypatch.setattr(market_cache, "WORTH_BYTES", 0)
    market_cache.read_cached(path, [path], OPTIONS, reader)
    for entry in list(market_cache._WRITING):
        market_cache._WRITING.pop(entry).result()
    for turn in range(FLIPS if damage == "flips" else 1):
        home = tmp_path / str(turn)
        shutil.copytree(filled, home)
        monkeypatch.setenv("FINISHLINE_CACHE", str(home))
        (one,) = [p for p in home.rglob(f"*{suffix}") if p.name.endswith(suffix)]
        (flipped if damage == "flips" else DAMAGE[damage])(one, rng)
        got = market_cache.read_cached(path, [path], OPTIONS, reader)
        for entry in list(market_cache._WRITING):
            market_cache._WRITING.pop(entry).result()
        assert np.array_equal(got.events, expected.events)
        assert (got.quality, got.quarantined, got.span) == (
            expected.quality,
            expected.quarantined,
            expected.span or got.span,
        )
        del got
        shutil.rmtree(home)


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, Callable[[Path, ReaderOptions], Recording]]:
    """A file, and a reader that makes the same rows of it each time."""
    from mmlib.dtypes import EVENT

    path = tmp_path / "rec.gz"
    path.write_bytes(b"x" * 100)
    rows = np.zeros(300, EVENT)
    for name in ("exch_ts_ns", "local_ts_ns", "qty", "price_ticks", "flags"):
        rows[name] = np.arange(300) % 100

    def read(given: Path, options: ReaderOptions) -> Recording:
        return _recording(rows, Instrument)

    return path, read


def _recording(rows: np.ndarray, instrument: Any) -> Recording:
    made = instrument(symbol="BTCUSDT", tick_size=0.1, lot_size=0.001)
    return Recording(
        events=rows.copy(), instrument=made, description="d", sha256="0" * 64, refresh_ms=np.array([1.5]), refresh_label="r",
        quality={"lines": 3}, quarantined={"a.jsonl": b"{}\n"}, span=None,
    )  # fmt: skip


def records(home: Path) -> dict[str, np.ndarray]:
    return {"own/rows": np.arange(5), "own/source": np.array("abc"), "replay/x": np.linspace(0, 1, 9)}


@pytest.mark.parametrize("name", ["session.json", "state.npz", "run.json", "ticks.rows"])
@pytest.mark.parametrize("damage", ["flips", *DAMAGE])
def test_the_checkpoints_of_a_session(name: str, damage: str, tmp_path: Path) -> None:
    """What is damaged counts as not there, so that the symbol is replayed from its start; what is read is what was written."""
    identity = {"identity": {"spec": {"seed": 7}}, "started": "2025-01-15T00:00:00Z"}
    done = {"run": {"ticks": 3}, "fired": []}
    rng = np.random.default_rng(11)
    for turn in range(FLIPS if damage == "flips" else 1):
        home = tmp_path / str(turn)
        parts = Parts(home)
        parts.append(ticks(50, seed=turn), fills(9, seed=turn))
        parts.close()
        rows, crc = dict(parts.rows), dict(parts.crc)
        assert intact_rows(home, rows, crc)
        checkpoint.keep_identity(home, identity)
        checkpoint.keep_state(home, records(home))
        checkpoint.keep_done(home, done)
        (flipped if damage == "flips" else DAMAGE[damage])(home / name, rng)
        assert checkpoint.read_identity(home) in ([None, identity] if name == "session.json" else [identity])
        assert checkpoint.read_done(home) in ([None, done] if name in ("run.json", "ticks.rows") else [done])
        state = checkpoint.read_state(home)
        if state is not None:
            assert all(np.array_equal(state[key], value) for key, value in records(home).items())
        assert (state is not None) == (name != "state.npz")
        if name == "ticks.rows" and damage != "longer":  # what came after the checkpoint is cut off
            assert not intact_rows(home, rows, crc)


@pytest.mark.parametrize("damage", ["flips", *DAMAGE])
def test_the_state_of_a_live_session_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    """A live market cannot be played again, so nothing is dropped here."""
    rng = np.random.default_rng(13)
    saved = Checkpoint({"files": {}, "counter": 3}, {"BTCUSDT": {"a": np.arange(4)}})
    for turn in range(FLIPS if damage == "flips" else 1):
        home = tmp_path / str(turn)
        home.mkdir()
        store(home, saved)
        assert asdict(Checkpoint.read(home) or saved)["meta"]["counter"] == 3
        (flipped if damage == "flips" else DAMAGE[damage])(home / "session.npz", rng)
        if damage == "gone":
            assert Checkpoint.read(home) is None
            continue
        with pytest.raises(UserError, match=r"session\.npz: cannot be read"):
            Checkpoint.read(home)
