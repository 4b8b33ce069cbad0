"""Caches that can be read and not written: what is kept is used; what is not is worked out again, or refused by name."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmlib import intact
from mmlib._io import UserError
from mmlib.core import kernelhome
from mmlib.feeds import cache as feeds_cache
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.writer import FeedWriter
from mmlib.market import cache as market_cache
from mmlib.market.recorded import ReaderOptions
from mmlib.market.source import FeedLatency
from tests.make_feeds import ticks
from tests.test_intact import _recording

OPTIONS = ReaderOptions("BTCUSDT", 7, None, FeedLatency(1.0, 0.5, 1.0), None)


def refuse(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    home = tmp_path / "feeds"
    with FeedWriter(home, "BTCUSDT") as writer:
        writer.ticks(ticks(60, seed=3))
    for path in home.glob("*.jsonl"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return home


def test_feeds_that_are_kept_are_read_and_others_are_refused_by_name(
    feeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    expected = read_feeds(feeds, "ticks", cache_dir=kept).frame
    scratch = feeds_cache.tempfile.TemporaryDirectory
    monkeypatch.setattr(
        feeds_cache.tempfile,
        "TemporaryDirectory",
        lambda **given: refuse() if "dir" in given else scratch(**given),
    )
    pd.testing.assert_frame_equal(read_feeds(feeds, "ticks", cache_dir=kept).frame, expected)
    with pytest.raises(UserError, match=r"other.*: cannot be written \(Read-only file system\); expected"):
        read_feeds(feeds, "ticks", cache_dir=tmp_path / "other")


def test_recordings_are_read_with_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmlib.dtypes import EVENT
    from mmlib.market.source import Instrument

    path, rows = tmp_path / "rec.gz", np.zeros(9, EVENT)
    path.write_bytes(b"x" * 100)
    monkeypatch.setenv("FINISHLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(market_cache, "WORTH_BYTES", 0)
    monkeypatch.setattr(market_cache.tempfile, "mkstemp", refuse)
    monkeypatch.setattr(intact, "write_json", refuse)
    for _ in range(2):
        got = market_cache.read_cached(path, [path], OPTIONS, lambda *_: _recording(rows, Instrument))
        for entry in list(market_cache._WRITING):
            assert market_cache._WRITING.pop(entry).result() is None
        assert np.array_equal(got.events, rows)
    monkeypatch.setattr(os, "access", lambda *_: False)
    got = market_cache.read_cached(path, [path], OPTIONS, lambda *_: _recording(rows, Instrument))
    assert np.array_equal(got.events, rows)


def test_kernels_go_where_they_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINISHLINE_CACHE", str(tmp_path / "cache"))
    assert kernelhome.kernel_directory() == str(tmp_path / "cache" / "mm-finishline" / "numba")
    monkeypatch.setattr(os, "access", lambda path, _: str(tmp_path / "cache") not in str(path))
    monkeypatch.setattr(kernelhome.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    assert kernelhome.kernel_directory().startswith(str(tmp_path / "tmp"))
