"""Where feeds came from: no loss, mixture or claim makes evidence stronger than it is."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlib._io import UserError
from mmlib.dtypes import Grade
from mmlib.feeds.check import check_feeds
from mmlib.feeds.origin import DECLARATION, STATEMENT, read_declaration
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.schema import FILE_STEM, KINDS, Kind
from mmlib.feeds.sidecar import grade_of, stated
from mmlib.feeds.stream import FeedStream
from mmlib.feeds.writer import FeedWriter
from mmlib.metrics.dataset import build_dataset
from mmlib.reports.render import Provenance
from tests.make_feeds import fills, ticks

N_LARGE = 2000
SIGNED = {"schema": 1, "statement": STATEMENT, "signed_by": "A. Trader", "signed_on": "2025-01-16"}


def written(home: Path, source: str, n: int = 300) -> Path:
    with FeedWriter(home, "BTCUSDT", source=source) as writer:
        writer.ticks(ticks(n, seed=1))
        writer.fills(fills(9, seed=1))
    return home


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """File -> lines; those of the ticks are many blocks of 64 kB."""
    home = tmp_path_factory.mktemp("large")
    with FeedWriter(home, "BTCUSDT", source="live") as writer:
        writer.ticks(ticks(N_LARGE, seed=1))
        writer.fills(fills(40, seed=1))
    return {path.name: path.read_text().splitlines(keepends=True) for path in home.glob("*.jsonl")}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeedStream.__init__, "__defaults__", (1 << 16,))


def declared(home: Path, **changes: Any) -> Path:
    held = {k: v for k, v in (SIGNED | changes).items() if v is not None}
    (home / DECLARATION).write_text(yaml.safe_dump(held))
    return home


@pytest.mark.parametrize("source", [str(grade) for grade in Grade])
def test_every_line_says_where_it_came_from_and_reads_as_before(source: str, tmp_path: Path) -> None:
    home, bare = written(tmp_path / "a", source), written(tmp_path / "b", "")
    for path in home.glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert {(row["schema"], row["source"]) for row in rows} == {(2, source)}
    for kind in ("ticks", "fills"):
        one, other = read_feeds(home, kind), read_feeds(bare, kind)  # type: ignore[arg-type]
        assert one.frame.equals(other.frame)
        assert one.quarantined == 0


def test_lines_of_version_1_are_still_read(tmp_path: Path) -> None:
    home = written(tmp_path, "")
    for path in home.glob("*.jsonl"):
        path.write_text(path.read_text().replace('"schema":2', '"schema":1'))
    feed = read_feeds(home, "ticks")
    assert (len(feed.frame), feed.quarantined) == (300, 0)


@pytest.mark.parametrize("value", ['"made up"', "5", "true", "[]", '"lıve"'])
def test_a_source_that_is_none_is_a_bad_line(value: str, tmp_path: Path) -> None:
    home = written(tmp_path, "live", n=3)
    (path,) = home.glob("pipeline*")
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first.replace('"source":"live"', f'"source":{value}'), *rest]) + "\n")
    assert (len(read_feeds(home, "ticks").frame), read_feeds(home, "ticks").quarantined) == (2, 1)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("source", ["simulated", "recording (tiled)", "recording"])
def test_feeds_that_lost_their_sidecar_stay_what_they_are(
    source: str, signed: bool, packed: bool, tmp_path: Path
) -> None:
    home = written(tmp_path, source)
    if packed:
        for path in list(home.glob("*.jsonl")):
            Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    if signed:
        declared(home)
    assert grade_of(home) == source


@pytest.mark.parametrize("source", ["", "stated by the desk", "live"])
def test_a_desks_feeds_are_stated_until_a_declaration_signs_them(source: str, tmp_path: Path) -> None:
    home = written(tmp_path, source)
    assert grade_of(home) is Grade.STATED
    assert (stated(home) or {})["source"] == "a desk's own feeds, stated by the desk"
    declared(home)
    assert grade_of(home) is Grade.LIVE
    said = str((stated(home) or {})["source"])
    assert "declared live by A. Trader on 2025-01-16" in said
    assert DECLARATION in said


@pytest.mark.parametrize("at", [0, 1, -1])
def test_simulated_lines_among_a_desks_decide(at: int, tmp_path: Path) -> None:
    home = declared(written(tmp_path, "live", n=2000))
    (path,) = home.glob("pipeline*")
    lines = path.read_text().splitlines()
    lines.insert(at if at >= 0 else len(lines), lines[5].replace('"live"', '"simulated"'))
    path.write_text("\n".join(lines) + "\n")
    assert grade_of(home) is Grade.SIMULATED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statement": "trust me"}, "statement: expected 'These feeds"),
        ({"signed_by": None}, "signed_by: missing"),
        ({"signed_by": "x"}, "signed_by: expected the name"),
        ({"signed_by": "A\x1b[31mB"}, "signed_by: expected the name"),
        ({"signed_on": "yesterday"}, "signed_on: expected a date"),
        ({"schema": 7}, "schema: expected 1"),
        ({"grade": "live"}, "grade: unknown key"),
    ],
)
def test_a_declaration_that_is_none_is_refused_by_key(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    home = declared(written(tmp_path, ""), **change)
    with pytest.raises(UserError, match=message):
        grade_of(home)
    with pytest.raises(UserError, match=DECLARATION):
        read_declaration(home)


def test_nothing_says_measured_of_what_was_not_measured_here(tmp_path: Path) -> None:
    home = written(tmp_path, "")
    for shown in (Provenance.of_feeds(None, "x"), Provenance.of_feeds(stated(home), "x")):
        assert not shown.measured
        assert "stated" in str(shown.grade)
    assert not Provenance.of_feeds(stated(declared(home)), "x").measured


@pytest.mark.parametrize("written_as", ["plain", "packed", "other order", "cached"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, N_LARGE - 1), kind=st.sampled_from(["ticks", "fills"]))
def test_one_weaker_line_anywhere_sinks_the_grade(
    written_as: str,
    place: int,
    kind: Kind,
    large: dict[str, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home, kept = (tmp_path_factory.mktemp(name) for name in ("feeds", "kept"))
    for name, lines in large.items():
        mine = [*lines]
        if name.startswith(FILE_STEM[kind]):
            at = place % len(lines)
            mine[at] = mine[at].replace('"source":"live"', '"source":"simulated"')
            if written_as == "other order":
                row = json.loads(mine[at])
                mine[at] = json.dumps(dict(reversed(row.items()))) + "\n"
        data = "".join(mine).encode()
        (home / (name + ".gz" * (written_as == "packed"))).write_bytes(
            gzip.compress(data, 1) if written_as == "packed" else data
        )
    declared(home)
    for _ in range(1 + (written_as == "cached")):
        feeds = [read_feeds(home, one, cache_dir=kept if written_as == "cached" else None) for one in KINDS]
        sources = frozenset().union(*(one.sources for one in feeds))
        assert sources == {"live", "simulated"}
        assert grade_of(home, sources) is Grade.SIMULATED
    counts = {one.kind: one.sources for one in check_feeds(home).files}
    n = sum(map(len, (lines for name, lines in large.items() if name.startswith(FILE_STEM[kind]))))
    assert counts[kind] == {"live": n - 1, "simulated": 1}
    assert build_dataset(home).summary["grade"] == "simulated"


def test_versions_and_sources_are_counted_line_for_line(tmp_path: Path) -> None:
    home = written(tmp_path, "live", n=300)
    (path,) = home.glob("pipeline_ticks_*.jsonl")
    lines = path.read_text().splitlines()
    for k in range(0, 300, 3):
        row = json.loads(lines[k])
        row["schema"] = 1
        del row["source"]
        lines[k] = json.dumps(row, separators=(",", ":"))
    lines[1] = lines[1].replace('"source":"live"', '"source":null')
    lines[2] = lines[2].replace('"schema":2', '"schema":3')
    path.write_text("\n".join(lines) + "\n")
    (one,) = (found for found in check_feeds(home).files if found.kind == "ticks")
    assert one.schema_versions == {"1": 100, "2": 199}
    assert one.sources == {"none stated": 101, "live": 198}
