"""Decoded recordings on disk: the same source with and without, decoded afresh when anything changes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from mmlib.market import cache
from mmlib.market.opening import open_source
from mmlib.market.source import Source
from tests.test_market_binance import BAD, GOOD, depth, save


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of our own that keeps recordings of any size."""
    monkeypatch.setenv("FINISHLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "WORTH_BYTES", 0)
    return cache.cache_home()


def play(path: Path, **more: object) -> tuple[Source, bytes]:
    """A source and its rows, with everything written that goes into the cache."""
    source = open_source(f"recording:{path}", "ABCUSDT", **more)  # type: ignore[arg-type]
    rows = np.concatenate(list(source.chunks())).tobytes()
    cache._WRITER.submit(int).result()
    return source, rows


def same(a: Source, b: Source) -> bool:
    names = ("instrument", "grade", "description", "sha256", "start_ns", "end_ns", "refresh_label", "quality")
    return all(getattr(a, name) == getattr(b, name) for name in names) and bool(
        (a.refresh_ms == b.refresh_ms).all()
    )


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("decoded once more")

    monkeypatch.setattr("mmlib.market.messages.Messages.read", refuse)


def test_the_second_reading_is_mapped_and_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.gz", [*GOOD[:2], BAD["crossed"], *GOOD[2:]])
    first, rows = play(path, quarantine_dir=tmp_path / "q1")
    forbid_decoding(monkeypatch)
    second, again = play(path, quarantine_dir=tmp_path / "q2")
    assert rows == again and same(first, second)
    assert second.quality["bad_lines"] == 1
    name = "a.gz.quarantine.jsonl"
    assert (tmp_path / "q1" / name).read_bytes() == (tmp_path / "q2" / name).read_bytes()
    assert isinstance(second._events, np.memmap)  # type: ignore[attr-defined]
    tiled, _ = play(path, tiles=3)
    assert isinstance(tiled._events, np.memmap)  # type: ignore[attr-defined]


def test_rows_handed_out_are_copies(home: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "a.gz", GOOD)
    source, before = play(path)
    for rows in source.chunks():
        rows["qty"] = -1.0
    assert np.concatenate(list(source.chunks())).tobytes() == before


@pytest.mark.parametrize("change", ["content", "instrument", "latency", "decoder"])
def test_a_change_decodes_afresh(
    home: Path, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.gz", GOOD)
    play(path)
    more: dict[str, object] = {}
    if change == "content":
        save(path, [*GOOD, depth(200, [["99.95", "7"]], [], 5, 6)])
    elif change == "instrument":
        more = {"instruments": {"ABCUSDT": (0.01, 0.1)}}
    elif change == "latency":
        more = {"latency": {"base_latency_ms": 3.0}}
    else:
        monkeypatch.setattr(cache, "decoder_version", lambda: "another")
    play(path, **more)
    assert len(list(home.glob("*.npy"))) == 2


@pytest.mark.parametrize("damage", ["no rows", "short rows", "no facts", "odd facts"])
def test_a_damaged_entry_is_made_anew(home: Path, tmp_path: Path, damage: str) -> None:
    path = save(tmp_path / "a.gz", GOOD)
    _, rows = play(path)
    npy, facts = next(home.glob("*.npy")), next(home.glob("*.json"))
    if damage == "no rows":
        npy.unlink()
    elif damage == "short rows":
        npy.write_bytes(npy.read_bytes()[:-40])
    elif damage == "no facts":
        facts.write_text("{")
    else:
        facts.write_text(json.dumps({"rows": 7}))
    assert play(path)[1] == rows
    assert json.loads(facts.read_text())["rows"] == 7 and npy.is_file()


def test_a_cache_that_cannot_be_kept_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINISHLINE_CACHE", str(tmp_path / "file"))
    assert play(save(tmp_path / "a.gz", GOOD))[0].quality["events"] == 4


def test_small_recordings_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINISHLINE_CACHE", str(tmp_path / "cache"))
    play(save(tmp_path / "a.gz", GOOD))
    assert not (tmp_path / "cache").exists()


def test_entries_nobody_used_for_a_month_go(home: Path, tmp_path: Path) -> None:
    play(save(tmp_path / "a.gz", GOOD))
    (old,) = home.glob("*.json")
    os.utime(old, (time.time() - 31 * 86_400,) * 2)
    play(save(tmp_path / "b.gz", GOOD[:3]))
    assert not old.exists() and not old.with_suffix(".npy").exists() and len(list(home.glob("*.json"))) == 1
