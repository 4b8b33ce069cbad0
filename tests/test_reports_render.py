"""Markdown rendering: nothing from data becomes markup, tables stay whole, drawings follow their numbers."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from types import SimpleNamespace

import mistune
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmlib.dtypes import Grade, Status
from mmlib.reports import bars, render, verdict

HOSTILE = "<script>alert(1)</script> | `x` [a](javascript:b) *c*\n# head"


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_a_table_keeps_its_shape_whatever_the_cells_hold(cells: list[str]) -> None:
    heads = [f"h{i}" for i in range(len(cells))]
    lines = str(render.table(render.Table(heads, [cells, [render.code(c) for c in cells]]))).split("\n")
    assert len(lines) == 4
    assert lines[2].count("|") == len(cells) + 1


MARKS = st.text(alphabet="<>&;|`*_[](){}!#-~\\ab/:=\"'\n\t 1&#", max_size=30)


@given(MARKS)
def test_a_markdown_reader_finds_only_our_own_tags(text: str) -> None:
    page = (
        str(render.table(render.Table(["a", "b"], [[text, render.code(text)]])))
        + f"\n\n- {render.md(text)}\n"
    )
    html = mistune.create_markdown(escape=False, plugins=["table"])(page)
    tags = set(re.findall(r"<\s*/?\s*([a-zA-Z!?]+)", re.sub(r"<code>.*?</code>", "", str(html))))
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td", "ul", "ol", "li", "p", "code"}
    assert str(html).count("<td") == 2


def test_hostile_text_is_one_harmless_line() -> None:
    text = str(render.md(HOSTILE))
    assert "<" not in text
    assert "\n" not in text
    assert "\\`x\\`" in text
    assert "\\](" in text
    assert "\\*c\\*" in text
    span = str(render.code(HOSTILE))
    assert re.fullmatch(r"<code>[^<>|`\n]*</code>", span)
    assert render.code("a b <= c") == "`a b <= c`"


def test_a_fence_cannot_be_closed_from_inside() -> None:
    assert "```" not in str(render.fence("a\n```\n<b>"))


@pytest.mark.parametrize("value", [None, math.nan, pd.NaT, np.float64("nan")])
def test_missing_is_a_dash_everywhere(value: object) -> None:
    assert render.md(value) == "–"
    assert render.num(value) == "–"
    assert str(render.table(render.Table(["a"], [[value]]))).endswith("| – |")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (3, "3"),
        (1234567, "1,234,567"),
        (12345.678, "12,346"),
        (math.inf, "–"),
        (-0.5, "-0.5"),
        (0.000038012, "0.000038"),
        (1e-12, "1e-12"),
    ],
)
def test_numbers_for_readers(value: float, text: str) -> None:
    assert render.num(value) == text


def test_absent_columns_are_left_out_and_numbers_are_right_aligned() -> None:
    view = render.frame_table(pd.DataFrame({"a": [1.5], "b": ["x"]}), {"a": "A", "zz": "Z", "b": "B"})
    assert str(render.table(view)) == "| A | B |\n| ---: | --- |\n| 1.5 | x |"


def result(**over: object) -> dict[str, object]:
    base = {"id": "g.x", "step": "g", "status": "PASS", "value": 1.0, "op": "<=", "limit": 2.0, "unit": "ms"}
    rest = {
        "window": "",
        "n": 5,
        "reason": "",
        "evidence": "",
        "severity": "critical",
        "title": "X",
        "schema": 1,
    }
    return {**base, **rest, **over}


def test_verdict_is_the_worst_blocking_gate_and_warnings_stay_apart() -> None:
    found = verdict.judge(
        [result(), result(id="g.y", status="FAIL"), result(id="g.w", status="FAIL", severity="warning")],
        {"g.y": "turn it off"},
    )
    assert found.status is Status.FAIL
    assert [row["id"] for row in found.problems] == ["g.y"]
    assert [row["id"] for row in found.warnings] == ["g.w"]
    assert found.actions == ["g.y: turn it off"]


def test_only_warnings_or_nothing_never_pass() -> None:
    assert verdict.judge([]).status is Status.NO_DATA
    assert verdict.judge([result(severity="warning")]).status is Status.NO_DATA
    assert verdict.judge([result()]).status is Status.PASS


def test_gate_table_hides_units_that_are_none() -> None:
    text = str(
        render.table(verdict.gate_table([result(unit="1", value=0.7), result(unit="bool", value=None)]))
    )
    assert "0.7 |" in text
    assert "bool" not in text
    assert "≤ 2" in text


def test_a_bar_is_as_long_as_its_number() -> None:
    assert bars.bar(10, 10, 8) == "█" * 8
    assert bars.bar(5, 10, 8) == "█" * 4
    assert bars.bar(0.0001, 10, 8) == "▏"
    assert bars.bar(20, 10, 8).endswith("▶")
    assert [bars.bar(x, 10) for x in (0.0, -1.0, math.nan)] == ["", "", ""]
    assert bars.bar(1, 0) == ""


@given(st.lists(st.floats(0, 1e6) | st.just(math.nan), max_size=300))
def test_a_sparkline_marks_gaps_and_extremes(values: list[float]) -> None:
    line = bars.sparkline(values, 50)
    seen = [v for v in values if math.isfinite(v)]
    assert len(line) == (min(len(values), 50) if seen else 0)
    if seen and max(seen) > min(seen) and len(values) <= 50:
        assert line[values.index(max(seen))] == "█"
        assert line[values.index(min(seen))] == "▁"
        assert [c == " " for c in line] == [math.isnan(v) for v in values]


def test_provenance_names_every_model() -> None:
    sidecar = {
        "grade": "simulated",
        "source": "simulated",
        "seed": 7,
        "refresh_latency": "lognormal, median 5 ms",
    }
    shown = render.Provenance.of_feeds(sidecar, "finishline run")
    assert shown.grade is Grade.SIMULATED
    assert any("lognormal, median 5 ms" in line for line in shown.modelled)
    assert any("seed 7" in line for line in shown.modelled)
    assert render.Provenance.of_feeds(None, "x").grade is Grade.STATED
    unnamed = render.Provenance.of_feeds({"grade": "recording", "source": "r"}, "x")
    assert any("no model was named" in line for line in unnamed.modelled)


def test_provenance_of_a_step_repeats_its_command() -> None:
    config = SimpleNamespace(config=SimpleNamespace(model_dump=lambda mode: {"a": 1}))
    step = SimpleNamespace(
        step="shadow",
        source="recording:a b.gz",
        symbols=("BTCUSDT", "ETHUSDT"),
        params={"sets": {"md_cache.ttl_ms": 1500}},
        run_id="20250115T000000Z",
        config=config,
        gates=SimpleNamespace(sha256="ab" * 32),
    )
    shown = render.Provenance.of_step(step, created=datetime(2025, 1, 15, tzinfo=UTC))
    assert shown.command == (
        "finishline run --step shadow --source 'recording:a b.gz' --symbols BTCUSDT,ETHUSDT "
        "--set md_cache.ttl_ms=1500"
    )
    assert shown.grade is None
    assert len(shown.config_sha256) == 64
