"""Every kind of damage over a real feed: each good line is kept with its values, each bad one is in quarantine."""

from __future__ import annotations

import json
import math
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zstandard

from mmlib.config.models import Config
from mmlib.engine.session import SessionSpec, run_session
from mmlib.feeds.check import check_feeds
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.schema import KINDS, Kind
from tests import naive_feeds
from tests.damage import DAMAGES, unpacked, whole
from tests.make_feeds import START_NS

ALONE = Config.model_validate({"async_batch": {"enabled": False}})
NAMES = {"ticks": "pipeline_ticks_20250115.jsonl", "fills": "fills_20250115.jsonl"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Lines of both feeds of a short session."""
    spec = SessionSpec("simulated", ("BTCUSDT", "ETHUSDT"), ("A", "B"), 240.0, start_ns=START_NS, seed=3)
    feeds = run_session(spec, ALONE, tmp_path_factory.mktemp("session") / "feeds").feeds
    return {kind: (feeds / name).read_bytes().splitlines() for kind, name in NAMES.items()}


def records(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows as sorted tuples of (field, value); missing is None."""
    times = {name: frame[name].astype("int64") for name in ("ts", "scheduled_ts") if name in frame}
    rows = frame.assign(**times).to_dict("records")
    return sorted((tuple(sorted((k, _plain(k, v)) for k, v in row.items())) for row in rows), key=repr)


def _plain(name: str, value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NaT:
        return None
    if name == "scheduled_ts":
        return naive_feeds.nanoseconds(value)
    if name in ("order_id", "fill_id"):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def expected(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(sorted((k, _plain(k, v)) for k, v in row.items())) for row in rows), key=repr)


def test_there_are_at_least_twenty_kinds() -> None:
    assert len(DAMAGES) >= 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DAMAGES)
def test_every_good_line_is_kept_and_every_bad_one_is_in_quarantine(
    name: str, kind: Kind, real: dict[str, list[bytes]], tmp_path: Path
) -> None:
    function, n_bad, suffix = DAMAGES[name]
    if "megabytes" in name and kind == "ticks":
        pytest.skip("costs seconds; the fills are read the same way")
    data = function(real[kind], random.Random(name))
    path = tmp_path / "feeds" / (NAMES[kind] + suffix)
    path.parent.mkdir()
    path.write_bytes(data)
    good, bad = naive_feeds.read(kind, unpacked(data, suffix))
    assert len(bad) == n_bad, "the damage is not what it says"
    feed = read_feeds(path.parent, kind, quarantine_dir=tmp_path / "quarantine")
    assert feed.quarantine["line"].tolist() == bad
    assert set(feed.quarantine["file"]) <= {path.name}
    assert (feed.quarantine["reason"].str.len() > 5).all()
    assert len(feed.frame) == len(good)
    assert records(feed.frame) == expected(good)
    if bad:
        kept = (tmp_path / "quarantine" / f"{path.name}.quarantine.jsonl").read_bytes().splitlines()
        assert [json.loads(line)["line"] for line in kept] == bad
        assert all(json.loads(line)["file"] == path.name for line in kept)
    (one,) = check_feeds(path.parent).files
    assert (one.readable, one.bad + one.duplicates) == (len(good), len(bad))
    assert one.lines == len(good) + len(bad)


@pytest.mark.parametrize("kind", KINDS)
def test_all_damage_at_once(kind: Kind, real: dict[str, list[bytes]], tmp_path: Path) -> None:
    """The kinds one after the other over the same file, as far as they keep it a file of lines."""
    rng = random.Random(5)
    lines = real[kind][:250]
    parts = [
        f(lines, rng) for name, (f, _, suffix) in DAMAGES.items() if not suffix and "megabytes" not in name
    ]
    data = b"".join(part if part.endswith(b"\n") else part + b"\n" for part in parts)
    (tmp_path / NAMES[kind]).write_bytes(data)
    good, bad = naive_feeds.read(kind, data)
    feed = read_feeds(tmp_path, kind)
    assert (len(feed.frame), feed.quarantine["line"].tolist()) == (len(good), bad)
    assert records(feed.frame) == expected(good)
    (one,) = check_feeds(tmp_path).files
    assert (one.readable, one.bad + one.duplicates) == (len(good), len(bad))


def test_a_file_cut_short_in_its_last_line_is_no_lost_line(
    real: dict[str, list[bytes]], tmp_path: Path
) -> None:
    lines = real["fills"]
    (tmp_path / NAMES["fills"]).write_bytes(whole(lines) + lines[0][:50])
    (one,) = check_feeds(tmp_path).files
    assert (one.readable, one.unfinished, one.bad, one.lines) == (len(lines), 1, 0, len(lines) + 1)
    assert one.clean


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_cut_short_gives_what_it_holds(
    suffix: str, real: dict[str, list[bytes]], tmp_path: Path
) -> None:
    name = "zipped_again" if suffix == ".gz" else "zipped_by_zstd"
    data = DAMAGES[name][0](real["ticks"], random.Random(1))
    cut = data[: len(data) // 3]
    (tmp_path / f"{NAMES['ticks']}{suffix}").write_bytes(cut)
    unpack = zlib.decompressobj(31) if suffix == ".gz" else zstandard.ZstdDecompressor().decompressobj()
    held = unpack.decompress(cut)
    good, _ = naive_feeds.read("ticks", held[: held.rfind(b"\n") + 1])
    feed = read_feeds(tmp_path, "ticks")
    assert len(feed.unfinished) == 1 or len(feed.quarantine)
    # a decompressor may hold back what it has not verified, never give less than whole blocks
    assert 0 < len(feed.frame) <= len(good) or not good
    assert set(records(feed.frame)) <= set(expected(good))
    (one,) = check_feeds(tmp_path).files
    assert (one.readable, one.unfinished) == (len(feed.frame), 1)
