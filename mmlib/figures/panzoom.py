"""Lines of any length that pan and zoom: what is in view is sampled again whenever the view changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
from tsdownsample import MinMaxDownsampler, MinMaxLTTBDownsampler

from mmlib.figures import theme
from mmlib.figures.widget import Widget

POINTS = 2000
"""What MinMax-LTTB keeps of a line for its shape."""
ENVELOPE = 500
"""Stretches of a view whose lowest and highest value are always shown, so that no spike is lost at any zoom."""
MARKS = 1500
"""Most marks of one kind in a view."""
GAP_INTERVALS = 3.0  # of the median distance: a line is broken there
_TYPICAL = 100_000  # distances that the typical one is taken from

_SHAPE, _EXTREMES = MinMaxLTTBDownsampler(), MinMaxDownsampler()


@dataclass(frozen=True)
class Line:
    """A line: times ``int64[n]`` ns rising, values ``float64[n]``; NaN is left out, and breaks it like a gap of time.

    ``row`` is the title of the row that it is drawn in, ``limit`` a dotted line there.
    """

    name: str
    ts_ns: np.ndarray
    values: np.ndarray
    row: str
    limit: float | None = None
    style: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Marks:
    """Single points: times ``int64[n]`` ns rising, values ``float64[n]``, the marker, and the text of each on hovering."""

    name: str
    ts_ns: np.ndarray
    values: np.ndarray
    row: str
    marker: dict[str, Any]
    text: np.ndarray


def most_points() -> int:
    """The most points of one line that a view ever holds, the breaks not counted."""
    return POINTS + 2 * ENVELOPE + 2


class _Track:
    """A line made ready to be sampled."""

    def __init__(self, line: Line) -> None:
        known = np.isfinite(line.values)
        whole = bool(known.all())
        self.ts = np.ascontiguousarray(line.ts_ns if whole else line.ts_ns[known], np.int64)
        self.y = np.ascontiguousarray(line.values if whole else line.values[known], np.float64)
        distances = np.diff(self.ts)
        some = distances[:: max(len(distances) // _TYPICAL, 1)]
        rising = some[some > 0]
        typical = float(np.median(rising)) if len(rising) else np.inf
        self.gaps = np.flatnonzero(distances > GAP_INTERVALS * typical)  # the line breaks behind these

    def sample(self, first_ns: int, last_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and values in view, with one point beyond either edge; NaN where the line breaks."""
        low = max(int(np.searchsorted(self.ts, first_ns)) - 1, 0)
        high = min(int(np.searchsorted(self.ts, last_ns, side="right")) + 1, len(self.ts))
        index = low + sampled(self.ts[low:high], self.y[low:high])
        before = np.searchsorted(self.gaps, index)
        broken = np.flatnonzero(np.diff(before) > 0) + 1
        x = np.insert(self.ts[index], broken, self.ts[index[broken]] if len(broken) else [])
        return x, np.insert(self.y[index], broken, np.nan)


def sampled(ts_ns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Indices to draw, rising: the shape by MinMax-LTTB, with the extremes of every stretch and both ends.

    Args:
        ts_ns: ``int64[n]``, rising.
        values: ``float64[n]``, finite.

    Source: Van Der Donckt et al., MinMaxLTTB: Leveraging MinMax-Preselection to Scale LTTB (2023).
    """
    n = len(values)
    if n <= POINTS:
        return np.arange(n)
    shape = _SHAPE.downsample(ts_ns, values, n_out=POINTS)
    extremes = _EXTREMES.downsample(values, n_out=2 * ENVELOPE)
    return np.unique(np.concatenate([shape, extremes, [0, n - 1]]).astype(np.int64))


class PanZoom:
    """Rows of lines and marks over one time axis, as a widget that samples again when the view changes.

    Attributes:
        widget: for Jupyter.
    """

    def __init__(self, title: str, lines: Sequence[Line], marks: Sequence[Marks] = ()) -> None:
        self.widget = Widget(self._whole(title, lines, marks))
        self.widget.layout.on_change(self.on_view, "xaxis.range", "xaxis.autorange")

    def show(self, title: str, lines: Sequence[Line], marks: Sequence[Marks] = ()) -> None:
        """Draw other lines, the whole of them."""
        self.widget.show_figure(self._whole(title, lines, marks))

    def _whole(self, title: str, lines: Sequence[Line], marks: Sequence[Marks]) -> go.Figure:
        kept = [line for line in lines if np.isfinite(line.values).any()]
        self._marks = [one for one in marks if len(one.ts_ns)] if kept else []
        self._tracks = [_Track(line) for line in kept]
        edges = [(int(track.ts[0]), int(track.ts[-1])) for track in self._tracks]
        self._edges = (min(e[0] for e in edges), max(e[1] for e in edges)) if edges else (0, 1)
        return self._draw(title, kept) if kept else theme.no_data(title, "nothing in this selection")

    def on_view(self, layout: Any, span: Any, autorange: Any = None) -> None:
        """What is called when the view changes: draw what is in it; an automatic range is the whole.

        Args:
            layout: not read. span: both ends, as plotly writes them. autorange: whether plotly chose them.
        """
        if not self._tracks:
            return
        whole = span is None or autorange is True
        first, last = self._edges if whole else (to_ns(span[0]), to_ns(span[1]))
        data = [self._line(track, first, last) for track in self._tracks]
        data += [self._mark(one, first, last) for one in self._marks]
        self.widget.show_data(data)

    def _line(self, track: _Track, first: int, last: int) -> dict[str, Any]:
        x, y = track.sample(first, last)
        return {"x": texts(x), "y": y}

    def _mark(self, one: Marks, first: int, last: int) -> dict[str, Any]:
        low, high = np.searchsorted(one.ts_ns, [first, last + 1])
        step = max(-(-(high - low) // MARKS), 1)
        index = np.arange(low, high, step)
        return {"x": texts(one.ts_ns[index]), "y": one.values[index], "text": one.text[index].tolist()}

    def _draw(self, title: str, lines: Sequence[Line]) -> go.Figure:
        rows = list(dict.fromkeys(line.row for line in lines))
        first, last = self._edges
        total = sum(len(track.ts) for track in self._tracks)
        fig = theme.figure(
            title,
            x="Time [UTC]",
            alt=f"{title}: {', '.join(rows)} over time, {total:,} points; zooming in shows more of them.",
            height=180 + 220 * len(rows),
            wide=True,
            hovermode="closest",
        )
        axes = {row: "y" if k == 0 else f"y{k + 1}" for k, row in enumerate(rows)}
        for line, track in zip(lines, self._tracks, strict=True):
            update = self._line(track, first, last)
            style = {"width": 1} | line.style
            fig.add_scatter(
                **update, name=line.name, mode="lines", line=style, yaxis=axes[line.row], connectgaps=False
            )
            if line.limit is not None:
                place = {"yref": axes[line.row], "xref": "paper"}
                dotted = {"color": theme.LIMIT, "dash": "dot", "width": 1.5}
                fig.add_shape(type="line", x0=0, x1=1, y0=line.limit, y1=line.limit, line=dotted, **place)
                text = {"text": f"limit {theme.number(line.limit)}", "font": {"color": theme.LIMIT}}
                fig.add_annotation(
                    x=1, xanchor="right", y=line.limit, yanchor="bottom", showarrow=False, **text, **place
                )
        for one in self._marks:
            update = self._mark(one, first, last)
            fig.add_scatter(
                **update,
                name=one.name,
                mode="markers",
                marker=one.marker,
                yaxis=axes[one.row],
                hoverinfo="text+x",
            )
        _stack(fig, axes)
        ends = texts(np.array([first, last]))
        fig.update_xaxes(range=ends, autorange=False, anchor=list(axes.values())[-1])
        return fig


def _stack(fig: go.Figure, axes: dict[str, str]) -> None:
    """Rows above each other, the first on top."""
    height = 1.0 / len(axes)
    for k, (row, axis) in enumerate(axes.items()):
        top = 1.0 - k * height
        name = "yaxis" + axis[1:]
        domain = [max(top - height + (0.06 if k < len(axes) - 1 else 0.0), 0.0), top]
        fig.layout[name] = {
            "title": {"text": theme.escape(row)},
            "domain": domain,
            "anchor": "x",
            "automargin": True,
        }


def texts(ts_ns: np.ndarray) -> list[str]:
    """Times as plotly's text, to the microsecond."""
    text: list[str] = np.datetime_as_string(np.asarray(ts_ns, np.int64).view("M8[ns]"), unit="us").tolist()
    return text


def to_ns(edge: Any) -> int:
    """Nanoseconds of an edge of the view: text as plotly writes it, or a number of milliseconds."""
    if isinstance(edge, int | float | np.number):
        return int(float(edge) * 1e6)
    text = str(edge).strip().removesuffix("Z").replace(" ", "T")
    return int(np.datetime64(text, "ns").astype(np.int64))
