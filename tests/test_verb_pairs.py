"""Two verbs at once in one workspace: each works or names who holds the place, and every file stays whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.verb_pairs import faults, not_whole, workspace


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workspace(tmp_path_factory.mktemp("pairs"), "prep")


@pytest.mark.parametrize(
    ("first", "second"), [("rollback", "rollback"), ("daily", "report"), ("soak", "soak")]
)
def test_two_verbs_at_once_leave_a_whole_workspace(first: str, second: str, prepared: Path) -> None:
    assert faults(prepared, first, second) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("index.json", '{"steps": '),
        ("rows.jsonl", '{"a": 1}\n{"a"'),
        ("prep.ipynb", "{}"),
        ("rows.parquet", "PAR1"),
        ("rules.yml", ""),
        ("index.html", "<html><body>"),
        (".index.json.x1.tmp", ""),
        (".prep.1.partial.ipynb", "{}"),
        ("feeds.partial/ticks.csv", ""),
    ],
)
def test_a_file_that_is_not_whole_is_found(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert [one.partition(":")[0] for one in not_whole(tmp_path)][:1] == [name]
