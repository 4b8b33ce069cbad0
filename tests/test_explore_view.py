"""Looking at a soak: pan and zoom over ten million ticks, windows of gates and what other limits do, the notebook itself."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient

from mmlib._io import UserError
from mmlib.config.load import shipped_dir
from mmlib.feeds.writer import FeedWriter
from mmlib.figures import explore as figures
from mmlib.figures import panzoom
from mmlib.figures.panzoom import Line, Marks, PanZoom, most_points, sampled, texts, to_ns
from mmlib.figures.widget import STILL
from mmlib.gates.spec import Gate, read_gates
from mmlib.gates.whatif import flips, windows
from mmlib.metrics.density import latency_density
from mmlib.workflow.explorer import Explorer, explore
from tests.make_feeds import START_NS, fills, tick_frame, ticks

N = 10_000_000
STEP_NS = 25_920_000  # three days of ten million ticks


@pytest.fixture(scope="module")
def long_line() -> tuple[np.ndarray, np.ndarray]:
    """Ten million ticks with spikes, a stretch without values and a gap in time."""
    rng = np.random.default_rng(7)
    ts = START_NS + np.arange(N, dtype=np.int64) * STEP_NS
    ts[6_000_000:] += 3600 * 10**9
    values = rng.lognormal(1.0, 0.5, N)
    values[rng.integers(0, N, 300)] *= 50
    values[4_000_000:4_200_000] = np.nan
    return ts, values


def shown(panel: PanZoom, trace: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Times and values of what a trace holds, without the breaks."""
    data = panel.widget.data[trace]
    ts = np.array([to_ns(x) for x in data.x])
    y = np.asarray(data.y, float)
    return ts[~np.isnan(y)], y[~np.isnan(y)]


def check_view(panel: PanZoom, ts: np.ndarray, values: np.ndarray, first: int, last: int) -> None:
    """Few points, each a real one, and the extremes of every stretch of the view among them."""
    x, y = shown(panel)
    assert len(x) <= most_points()
    assert (np.diff(x) >= 0).all()
    inside = np.isfinite(values) & (ts >= first) & (ts <= last)
    known_ts, known = ts[inside], values[inside]
    if len(known) == 0:
        return
    seen = (x >= first // 1000 * 1000) & (x <= last)
    assert y[seen].min() == known.min() and y[seen].max() == known.max()
    for part, part_ts in zip(np.array_split(known, 40), np.array_split(known_ts, 40), strict=True):
        if len(part) < 50:
            continue
        # the stretches of the envelope need not end where these do: allow two of them on either side
        slack = 2 * len(known) // panzoom.ENVELOPE * STEP_NS + 2 * STEP_NS
        near = y[(x >= part_ts[0] - slack) & (x <= part_ts[-1] + slack)]
        assert near.max() >= part.max() and near.min() <= part.min()


def test_ten_million_ticks_pan_and_zoom(long_line: tuple[np.ndarray, np.ndarray]) -> None:
    ts, values = long_line
    panel = PanZoom("Ticks", [Line("tick_total_ms", ts, values, "Tick [ms]", limit=20.0)])
    check_view(panel, ts, values, int(ts[0]), int(ts[-1]))
    rng = np.random.default_rng(1)
    for share in (0.5, 0.1, 1e-3, 1e-5):
        width = int((ts[-1] - ts[0]) * share)
        first = int(ts[0] + rng.integers(0, ts[-1] - ts[0] - width)) // 1000 * 1000
        edges = texts(np.array([first, first + width]))
        panel.widget.plotly_relayout(
            {"xaxis.range[0]": edges[0].replace("T", " "), "xaxis.range[1]": edges[1]}
        )
        check_view(panel, ts, values, first, to_ns(edges[1]))
    x, _ = shown(panel)
    assert len(x) == pytest.approx(1e-5 * N, abs=12), "at this zoom every tick is drawn"
    panel.widget.plotly_relayout({"xaxis.autorange": True})
    check_view(panel, ts, values, int(ts[0]), int(ts[-1]))


def test_a_spike_is_seen_from_any_distance(long_line: tuple[np.ndarray, np.ndarray]) -> None:
    ts, values = long_line
    values = values.copy()
    values[7_777_777] = 1e6
    panel = PanZoom("Ticks", [Line("x", ts, values, "row")])
    for half in (N, 10**6, 10**4, 100):
        low, high = max(7_777_777 - half, 0), min(7_777_777 + half, N - 1)
        panel.on_view(None, texts(ts[[low, high]]))
        assert shown(panel)[1].max() == 1e6


def test_a_line_is_broken_where_ticks_or_values_are_missing(long_line: tuple[np.ndarray, np.ndarray]) -> None:
    ts, values = long_line
    panel = PanZoom("Ticks", [Line("x", ts, values, "row")])
    y = np.asarray(panel.widget.data[0].y, float)
    assert np.isnan(y).sum() == 2
    assert panel.widget.data[0].connectgaps is False
    hole = texts(ts[[4_050_000, 4_150_000]])
    panel.on_view(None, hole)
    x, _ = shown(panel)
    assert len(x) == 2, "the ticks on either side of the hole"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40).map(lambda values: np.resize(values, 9000)),
    st.integers(0, 2**32),
)
def test_what_is_drawn_is_among_the_points_and_holds_every_extreme(values: np.ndarray, seed: int) -> None:
    values = np.ascontiguousarray(values + np.random.default_rng(seed).normal(size=len(values)))
    ts = np.cumsum(np.random.default_rng(seed).integers(0, 10**9, len(values)))
    index = sampled(ts, values)
    assert len(index) <= most_points() and (np.diff(index) > 0).all()
    assert index[0] == 0 and index[-1] == len(values) - 1
    assert {values.argmin(), values.argmax()} & set(index.tolist()) or len(np.unique(values)) < len(values)
    assert values[index].min() == values.min() and values[index].max() == values.max()


def test_marks_are_thinned_and_come_back_when_zoomed() -> None:
    ts = START_NS + np.arange(20_000, dtype=np.int64) * 10**9
    line = Line("mid", ts, np.arange(20_000.0), "Mid")
    text = np.array([f"<b>{k}" for k in range(20_000)], dtype=object)
    panel = PanZoom("Fills", [line], [Marks("buy", ts, np.arange(20_000.0), "Mid", {"size": 9}, text)])
    assert len(panel.widget.data[1].x) <= panzoom.MARKS
    panel.on_view(None, texts(ts[[500, 900]]))
    assert len(panel.widget.data[1].x) == 401
    assert panel.widget.data[1].text[0] == "<b>500"


def test_nothing_to_show_says_so_and_recovers() -> None:
    empty = np.empty(0)
    panel = PanZoom("Ticks", [Line("x", empty.astype(np.int64), empty, "row")])
    assert "No data" in panel.widget.layout.annotations[0].text
    panel.on_view(None, ("2025-01-15", "2025-01-16"))
    panel.show("Ticks", [Line("x", START_NS + np.arange(5), np.arange(5.0), "row")])
    assert len(panel.widget.data[0].x) == 5 and not panel.widget.layout.annotations


def test_a_saved_notebook_shows_a_still() -> None:
    panel = PanZoom("Ticks", [Line("x", START_NS + np.arange(5) * 10**6, np.arange(5.0), "row")])
    data, _ = panel.widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data[STILL]["data"][0]["x"][0] == "2025-01-15T00:00:00.000000"


@pytest.mark.parametrize(
    "edge", ["2025-01-15", "2025-01-15 00:00", "2025-01-15T00:00:00.0000Z", START_NS / 1e6]
)
def test_edges_of_a_view_as_plotly_writes_them(edge: object) -> None:
    assert to_ns(edge) == START_NS


# --- gates ---


def gate(**changes: object) -> Gate:
    found = read_gates(shipped_dir("params") / "gates.yaml").get("soak.stop.deadline_miss")
    return found.model_copy(update=changes)


def series(values: list[float], symbol: str = "BTCUSDT") -> pd.DataFrame:
    ts = pd.date_range("2025-01-15", periods=len(values), freq="min", tz="UTC").as_unit("ns")
    return pd.DataFrame({"ts": ts, "symbol": symbol, "arm": "A", "deadline_miss_pct": values})


def test_windows_and_which_of_them_flip() -> None:
    values = [0.0] * 5 + [8.0] * 12 + [0.0] * 10 + [6.0] * 4 + [0.0] * 5 + [3.0] * 20 + [0.0] * 4
    minutes = series(values)
    found = windows([gate()], minutes)
    assert found["seconds"].tolist() == [660.0, 180.0] and found["fired"].tolist() == [True, False]
    assert found["worst"].tolist() == [8.0, 6.0]
    assert flips([gate()], minutes, {})["change"].tolist() == ["both"]
    looser = flips([gate()], minutes, {gate().id: 10.0})
    assert looser[["change", "seconds"]].to_numpy().tolist() == [["gone", 660.0]]
    stricter = flips([gate()], minutes, {gate().id: 2.5})
    assert stricter[["change", "seconds"]].to_numpy().tolist() == [["both", 660.0], ["new", 1140.0]]
    assert windows([gate(arm="B")], minutes).empty
    assert windows([gate(metric="rss_slope_mb_per_h")], minutes).empty
    assert windows([], minutes).empty and flips([], minutes, {}).empty


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 3.0, 6.0, float("nan")]), min_size=1, max_size=60),
    st.sampled_from([-1, 2, 4, 9]),
)
def test_a_window_flips_when_no_moment_of_it_fires_in_the_other(values: list[float], limit: float) -> None:
    one = gate(for_s=120.0)
    minutes = pd.concat([series(values), series(values[::-1], "ETHUSDT")], ignore_index=True)
    now, then = windows([one], minutes), windows([one], minutes, {one.id: limit})
    got = flips([one], minutes, {one.id: limit})

    def meets(row: object, others: pd.DataFrame) -> bool:
        near = others[others["fired"] & (others["symbol"] == row.symbol)]  # type: ignore[attr-defined]
        return bool(((near["start"] <= row.end) & (near["end"] >= row.start)).any())  # type: ignore[attr-defined]

    expected = [
        ("both" if meets(r, now) else "new", r.symbol, r.start) for r in then[then["fired"]].itertuples()
    ]
    expected += [("gone", r.symbol, r.start) for r in now[now["fired"]].itertuples() if not meets(r, then)]
    assert sorted(zip(got["change"], got["symbol"], got["start"], strict=True)) == sorted(expected)


def test_every_tick_is_counted_once_in_the_heat_map() -> None:
    frame = tick_frame(ticks(5000, seed=2, holes=True))
    counts = latency_density(frame, "fetch_md_ms")
    known = frame[frame["fetch_md_ms"].notna()]
    assert counts["n"].sum() == len(known)
    step = (known["ts"].max() - known["ts"].min()) / 240
    first = counts[counts["ts"] == counts["ts"].min()]
    naive = known[known["ts"] < counts["ts"].min() + step]
    assert first["n"].sum() == pytest.approx(len(naive), abs=1)
    assert (
        counts["latency_ms"].between(known["fetch_md_ms"].min() * 0.9, known["fetch_md_ms"].max() * 1.1).all()
    )
    figure = figures.density(counts, "fetch_md_ms", 45.0)
    low, high = figure.layout.yaxis.range
    assert 10**low < counts["latency_ms"].min() and 45.0 < 10**high < 1e4, (
        "a logarithmic axis holds logarithms"
    )
    assert "heat map" in figure.layout.meta["alt"].lower()
    assert "No data" in figures.density(latency_density(frame.iloc[:0])).layout.annotations[0].text


# --- the view and the notebook ---


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINISHLINE_CACHE", str(tmp_path / "cache"))
    for k, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        rows = ticks(1800, seed=k)
        rows["deadline_miss"][300:1200] = True
        with FeedWriter(tmp_path / "artifacts" / "edge" / "feeds", symbol) as writer:
            writer.ticks(rows)
            writer.fills(fills(60, seed=k, span_ns=1700 * 10**9))
    return tmp_path


def test_the_figures_follow_the_controls(workspace: Path) -> None:
    view = explore(workspace)
    assert isinstance(view, Explorer)
    drawn = {
        name: getattr(view, name)()
        for name in ("ticks_figure", "latency", "hit_ratio", "violations", "price", "markouts")
    }
    assert all(len(figure.data) for figure in drawn.values())
    before = {name: figure.still() for name, figure in drawn.items()}
    view.symbol.value = "ETHUSDT"
    assert all(figure.still() != before[name] for name, figure in drawn.items() if name != "violations")
    assert set(view.ticks["symbol"]) == {"ETHUSDT"}
    view.time.index = (5, 10)
    assert len(view.ticks) == 5 * 30
    (line,) = drawn["ticks_figure"].data
    assert len(line.x) == 150 and line.name == "tick_total_ms"
    view.metric.value = "emit_ms"
    assert drawn["ticks_figure"].data[0].name == "emit_ms"
    view.arm.value = "B"
    assert set(view.ticks["arm"]) == {"B"} and set(view.fills["arm"]) <= {"B"}


def test_a_slider_shows_which_windows_flip(workspace: Path) -> None:
    view = explore(workspace, symbol="BTCUSDT", arm="A")
    box = view.what_if()
    sliders = {slider.description: slider for slider in box.children[:-2]}
    said, figure = box.children[-2:]
    assert said.value.startswith("Windows. fires either way: 1; ")
    sliders["Deadline misses"].value = 100.0
    assert "fires either way: 0; fires with the limit as it is, no longer with the other: 1;" in said.value
    gone = next(trace for trace in figure.data if trace.name.startswith("fires with the limit as it is"))
    assert len(gone.x) == 1 and gone.y[0] == "Deadline misses"
    sliders["Deadline misses"].value = 5.0
    sliders["Errors"].value = 0.0
    assert "fires either way: 1; fires with the limit as it is, no longer with the other: 0;" in said.value
    assert "fires with the other limit only: 0" not in said.value
    quiet = figures.windows(view_windows(view).iloc[:0], named(view), view.soak.span)
    assert list(quiet.data[-1].y) == [gate.title for gate in view.gates][::-1], (
        "a gate without a window keeps its row"
    )


def view_windows(view: Explorer) -> pd.DataFrame:
    return windows(view.gates, view.minutes)


def named(view: Explorer) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": [gate.id for gate in view.gates], "title": [gate.title for gate in view.gates]}
    )


def test_what_is_not_in_the_feeds_is_named(workspace: Path) -> None:
    with pytest.raises(UserError, match=r"symbol 'XRP': not in the feeds; expected one of BTCUSDT, ETHUSDT"):
        explore(workspace, symbol="XRP")
    with pytest.raises(UserError, match="no ticks in this range"):
        explore(workspace, start="2025-01-15T12:00:00Z")


@pytest.mark.slow
def test_the_notebook_runs_on_the_feeds_of_a_workspace(workspace: Path) -> None:
    """With its default parameters, in the workspace, as papermill and JupyterLab run it."""
    book = nbformat.read(shipped_dir("notebooks") / "explore_soak.ipynb", as_version=4)
    client = NotebookClient(
        book, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(workspace)}}
    )
    client.execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    bundles = [output.data for output in outputs if "data" in output]
    stills = [bundle for bundle in bundles if STILL in bundle]
    assert len(stills) == 6
    assert all(bundle[STILL]["data"] for bundle in stills)
    assert sum("application/vnd.jupyter.widget-view+json" in bundle for bundle in bundles) == 8
    assert not (workspace / "params").exists(), "looking changes nothing"
