"""What cells display, as a reader of a page meets it: words and short numbers, nothing unescaped."""

from __future__ import annotations

import pandas as pd
import pytest

from mmlib.workflow.outputs import frame_html, literal_html, mark_statuses, table_figure_html

EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("shown", "page"),
    [
        ("'locked at noon'", "<p>locked at noon</p>"),
        ("('a', 'b')", "<ul><li>a</li><li>b</li></ul>"),
        ("()", "<p>None.</p>"),
        (repr(f"x{EVIL}"), "<p>x&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
    ],
)
def test_literals_become_prose(shown: str, page: str) -> None:
    assert literal_html(shown) == page


def test_a_mapping_becomes_a_table_of_words() -> None:
    page = literal_html(
        repr({"ok": True, "hours": 23.999444, "symbols": ["A", "B"], "none": None, EVIL: EVIL})
    )
    assert page is not None
    facts = literal_html("{'interval_min': 5.0, 'from': '2025-01-15T00:00:00Z', 'md_cache.ttl_ms': 3}")
    assert facts is not None
    for cell in ("interval [min]", "2025-01-15 00:00 UTC", "md_cache.ttl_ms"):
        assert cell in facts
    for cell in ("<td>yes</td>", "<td>24</td>", "<td>A, B</td>", "<td>–</td>"):
        assert cell in page
    assert EVIL not in page


@pytest.mark.parametrize(
    "text", ["plain text", "(1, 2)", "{}", "3.0", "__import__('os')", "[" * 5000, "(9, False)"]
)
def test_other_text_stays_text(text: str) -> None:
    assert literal_html(text) is None


def test_frames_lose_row_numbers_and_digits() -> None:
    frame = pd.DataFrame(
        {
            "symbol": ["BTCUSDT", "7"],
            "cache_age_p95_ms": [143.938853, float("nan")],
            "n": [43200, 5],
            "first": pd.to_datetime(["2025-01-16 00:00:00", "2025-01-16 12:00:01"], utc=True),
        }
    )
    page = frame_html(f"<div>{frame.to_html()}</div>")
    assert '<th scope="col">cache age p95 [ms]</th>' in page
    assert "<td>143.9</td>" in page
    assert "<td>43,200</td>" in page
    assert "<td>–</td>" in page
    assert "<td>2025-01-16 12:00 UTC</td>" in page
    assert "<th>1</th>" not in page


def test_named_rows_are_kept_and_no_rows_are_said() -> None:
    named = pd.DataFrame({"size": [24], "sum": [1]}, index=pd.Index(["BTCUSDT"], name="symbol"))
    page = frame_html(named.to_html())
    assert '<th scope="col">symbol</th><th scope="col">size</th>' in page
    assert "<th>BTCUSDT</th><td>24</td>" in page
    assert frame_html(pd.DataFrame({"gate": []}).to_html()) == "<p>No rows.</p>"
    assert frame_html(named.iloc[:0].to_html()) == "<p>No rows.</p>"


def test_text_in_frames_stays_escaped() -> None:
    assert EVIL not in frame_html(pd.DataFrame({EVIL: [EVIL]}).to_html())


def test_a_table_drawn_as_a_figure_becomes_a_real_table() -> None:
    cells = {"values": [["PASS", "NO_DATA"], ["&lt;b&gt;", EVIL]]}
    trace = {"type": "table", "header": {"values": ["<b>Status</b>", "<b>Why</b>"]}, "cells": cells}
    page = table_figure_html({"data": [trace], "layout": {"title": {"text": "Rows"}}})
    assert page is not None
    assert '<span class="status nodata">∅ NO_DATA</span>' in page
    assert "<td>&lt;b&gt;</td>" in page
    assert EVIL not in page
    assert table_figure_html({"data": [{"type": "scatter"}], "layout": {}}) is None


def test_statuses_in_reports_carry_their_mark() -> None:
    page = mark_statuses('<td>PASS</td><td style="x">FAIL (warning)</td><td>PASS on</td><td>no</td>')
    assert '<td><span class="status pass">✓ PASS</span></td>' in page
    assert '<td><span class="status fail">✗ FAIL</span> (warning)</td>' in page
    assert page.endswith("<td>PASS on</td><td>no</td>")
