"""Whoever waits for one large file sees how far its reading is; short work, and --json, say nothing."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard

from mmlib import cli
from mmlib._io import UserError
from mmlib.feeds import progress
from mmlib.feeds.cache import cached
from mmlib.feeds.check import check_feeds
from mmlib.feeds.progress import told
from mmlib.feeds.writer import FeedWriter
from mmlib.metrics import farm
from mmlib.metrics.dataset import build_dataset
from mmlib.workflow.feed_verbs import bring
from tests.make_feeds import fills, ticks
from tests.test_feeds_import import HUMMINGBOT

TICKS, FILLS = "pipeline_ticks_20250115.jsonl", "fills_20250115.jsonl"
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
}


class Heard:
    """What was told, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, of: int) -> None:
        self.all.append((what, done, of))

    def of(self, path: Path) -> list[int]:
        """Bytes of a file that were read, each time that it was told; of how many is checked."""
        found = [(done, of) for what, done, of in self.all if what == f"MB of {path.name}"]
        assert {of for _, of in found} == {path.stat().st_size}
        return [done for done, _ in found]


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    """A directory with a day of two feeds."""
    home = tmp_path / "feeds"
    with FeedWriter(home, "BTCUSDT") as writer:
        writer.ticks(ticks(4000, seed=71))
        writer.fills(fills(200, seed=72))
    return home


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as long, and is told by the byte."""
    monkeypatch.setattr(progress, "_LATER_S", 0.0)
    monkeypatch.setattr(progress, "_MB", 1)


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.usefixtures("at_once")
def test_the_bytes_of_a_file_are_told_while_it_is_converted(suffix: str, feeds: Path, tmp_path: Path) -> None:
    heard, path = Heard(), feeds / (TICKS + suffix)
    path.write_bytes(PACKED[suffix]((feeds / TICKS).read_bytes()))
    with told(heard):
        cached(path, "ticks", tmp_path / "cache")
    done = heard.of(path)
    assert done[-1] == path.stat().st_size
    assert len({*done}) > 2 or suffix
    assert all(one <= other for one, other in pairwise(done))
    before = len(heard.all)
    cached(path, "ticks", tmp_path / "other")  # nobody listens any more
    assert len(heard.all) == before


@pytest.mark.usefixtures("at_once")
def test_a_dataset_and_a_check_tell_of_every_file_and_of_its_bytes(feeds: Path) -> None:
    for work in (build_dataset, check_feeds):
        heard = Heard()
        work(feeds, progress=heard)
        for name in (TICKS, FILLS):
            assert heard.of(feeds / name)[-1] == (feeds / name).stat().st_size
        assert {("files of ticks", 1, 1), ("files of fills", 1, 1)} <= {*heard.all}


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.usefixtures("at_once")
def test_an_import_tells_of_its_bytes(suffix: str, tmp_path: Path) -> None:
    heard, path = Heard(), tmp_path / f"trades.csv{suffix}"
    path.write_bytes(PACKED[suffix](HUMMINGBOT.encode()))
    bring(tmp_path / "ws", [path], "hummingbot", tmp_path / "imported", heard)
    assert heard.of(path)[-1] == path.stat().st_size
    assert heard.all[-1] == ("files", 1, 1)


def test_nothing_is_told_of_short_work_nor_after_a_failure(feeds: Path) -> None:
    heard = Heard()
    check_feeds(feeds, progress=heard)
    assert [what for what, *_ in heard.all] == ["files of ticks", "files of fills"]
    (feeds / "fills_20250116.jsonl").mkdir()
    with pytest.raises(UserError, match="fills_20250116"):
        check_feeds(feeds, progress=heard)
    assert progress._listeners == []


@pytest.mark.usefixtures("at_once")
def test_the_verb_shows_lines_on_standard_error_and_none_beside_json(
    feeds: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farm, "_SHOWN_S", 0.0)
    assert cli.main(["feeds", "check", str(feeds)]) == 0
    size = (feeds / TICKS).stat().st_size
    assert f"MB of {TICKS}: {size} of {size}\n" in capsys.readouterr().err
    assert cli.main(["feeds", "check", str(feeds), "--json"]) == 0
    assert capsys.readouterr().err == ""
