"""The exploring notebook as an analyst sees it: in JupyterLab and Chromium, counted by what is drawn."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmlib.feeds.writer import FeedWriter
from mmlib.figures.panzoom import Line, PanZoom
from mmlib.figures.widget import Widget
from tests import browser_lab
from tests.make_feeds import START_NS, fills, ticks

TICKS, LATENCY, FLIPS = "Ticks", "Latency over time: tick total", "Windows that flip"


def started_from(widget: Widget) -> tuple[list[int], str]:
    """What a browser that opens the widget now starts from: points of each trace, and the title."""
    state = widget.get_state(["_widget_data", "_widget_layout"])
    sizes = [len(trace.get("y", ())) for trace in widget._widget_data]
    assert len(state["_widget_data"]) == len(sizes)
    return sizes, state["_widget_layout"]["title"]["text"]


def test_a_browser_that_opens_late_starts_from_the_figure_as_it_stands() -> None:
    ts = START_NS + np.arange(5000, dtype=np.int64) * 10**9
    panel = PanZoom("Ticks", [Line("x", ts, np.arange(5000.0), "row")])
    sizes, title = started_from(panel.widget)
    assert sizes[0] > 1000 and title == "Ticks"
    panel.widget.plotly_relayout({"xaxis.range": ["2025-01-15T00:10:00", "2025-01-15T00:10:30"]})
    assert started_from(panel.widget) == ([33], "Ticks")
    panel.show("Others", [Line("a", ts[:7], np.arange(7.0), "row"), Line("b", ts[:9], np.arange(9.0), "row")])
    assert started_from(panel.widget) == ([7, 9], "Others")
    panel.show("None", [])
    assert started_from(panel.widget)[0] == []


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of two symbols, with a window that fires."""
    home = tmp_path_factory.mktemp("soak")
    for k, (symbol, n) in enumerate((("BTCUSDT", 1800), ("ETHUSDT", 1200))):
        rows = ticks(n, seed=k)
        rows["deadline_miss"][300:1200] = True
        with FeedWriter(home / "artifacts" / "edge" / "feeds", symbol) as writer:
            writer.ticks(rows)
            writer.fills(fills(60, seed=k, span_ns=1100 * 10**9))
    return home


def shows(tab: Any, title: str, holds: Callable[[dict[str, Any]], bool], most_s: float = 120.0) -> None:
    """Wait until a figure draws as it should: a page holds the numbers before it has drawn them."""
    until_s = time.monotonic() + most_s
    while not any(holds(one) for one in browser_lab.drawn(tab) if one["title"] == title):
        assert time.monotonic() < until_s, f"{title} draws {browser_lab.drawn(tab)}"
        tab.wait_for_timeout(100)


def until(tab: Any, title: str, name: str, value: Any) -> None:
    """Wait until the figure holds ``value`` points, or so many by trace."""
    tab.wait_for_function(
        """([title, name, value]) => [...document.querySelectorAll('.js-plotly-plot')].some(plot =>
            plot._fullLayout && plot._fullLayout.title && plot._fullLayout.title.text === title &&
            JSON.stringify(name === 'held' ? plot.data.reduce((n, t) => n + (t.y ? t.y.length : 0), 0)
                                           : plot.data.map(t => t.y ? t.y.length : 0)) === JSON.stringify(value))""",
        arg=[title, name, value],
    )


def choose(tab: Any, label: str, value: str) -> None:
    tab.locator(".widget-dropdown", has_text=label).first.locator("select").select_option(label=value)


@pytest.mark.browser
@pytest.mark.slow
def test_the_figures_are_drawn_and_follow_zoom_symbol_and_limit(
    soak: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser_lab.chromium()
    monkeypatch.setenv("FINISHLINE_CACHE", str(tmp_path / "cache"))
    with (
        browser_lab.lab(soak, tmp_path / "lab.log") as address,
        browser_lab.page(address, "explore_soak.ipynb") as tab,
    ):
        until(tab, TICKS, "held", 900)  # one arm of 1,800 ticks
        shows(tab, TICKS, lambda one: one["line"] > 500)  # drawn, not only held
        shows(tab, LATENCY, lambda one: one["images"] == 1)
        for one in browser_lab.drawn(tab):
            shows(tab, one["title"], lambda now: now["line"] + now["marks"] + now["images"] > 0)

        box = tab.locator(".js-plotly-plot").first.locator(".nsewdrag").first.bounding_box()
        y = box["y"] + box["height"] / 2
        tab.mouse.move(box["x"] + box["width"] * 0.25, y)
        tab.mouse.down()
        tab.mouse.move(box["x"] + box["width"] * 0.35, y, steps=8)
        tab.mouse.up()
        tab.wait_for_function(
            "() => document.querySelector('.js-plotly-plot').data[0].y.length < 200"
        )  # a tenth of the time
        shows(tab, TICKS, lambda one: 60 < one["held"] < 130 and 60 < one["line"] < 130)
        choose(tab, "Symbol", "ETHUSDT")
        until(tab, TICKS, "held", 600)
        shows(tab, TICKS, lambda one: one["line"] > 300)
        shows(tab, LATENCY, lambda one: one["images"] == 1)
        shows(tab, FLIPS, lambda one: one["marks"] == 1)

        readout = tab.locator(".widget-hslider", has_text="Deadline misses").first.locator(".widget-readout")
        readout.click()
        tab.keyboard.press("Control+A")
        tab.keyboard.type("100")
        tab.keyboard.press("Enter")
        until(tab, FLIPS, "by trace", [0, 1, 0])
        shows(tab, FLIPS, lambda one: one["marks"] == 1)
        tab.screenshot(path=str(tmp_path / "explore_soak.png"))
