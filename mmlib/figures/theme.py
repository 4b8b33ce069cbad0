"""One look for every figure: palette, template, labels, empty figures, and lines split by symbol and arm."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe and Ito's colours, told apart with any colour vision and visible on white and on near-black."""

STATUS_COLOURS = {
    "PASS": "#009E73",
    "FAIL": "#D55E00",
    "INCONCLUSIVE": "#E69F00",
    "NO_DATA": "#7F7F7F",
    "ERROR": "#CC79A7",
}
"""Never the only sign: every figure also writes the status in words."""

INK = "#7A7A7A"  # contrast over 4 to 1 on white and on near-black
GRID = "rgba(127,127,127,0.25)"
LIMIT = "#D55E00"
CLEAR = "rgba(0,0,0,0)"
MAX_POINTS = 4000
MOST_LINES = 6
"""Lines that can be told apart; of more, a figure shows what they have in common and the one that stands out."""
DASHES = {"A": "solid", "B": "dash"}

LABELS = {
    "hit_ratio": "Cache hit ratio",
    "deadline_miss_pct": "Deadline misses",
    "tick_total_p95_ms": "Tick total, 95th percentile",
    "fetch_md_p95_ms": "Market data fetch, 95th percentile",
    "errors_per_min": "Errors",
    "breaker_open_s": "Circuit breaker open",
    "rss_mb": "Resident memory",
    "rss_slope_mb_per_h": "Memory growth",
    "taker_share_pct": "Taker share",
    "slippage_bps": "Slippage",
    "quote_travel_bps": "Quote travel",
    "net_bps": "Net result",
}

UNITS = {
    "hit_ratio": "share of ticks",
    "deadline_miss_pct": "% of ticks",
    "tick_total_p95_ms": "ms",
    "fetch_md_p95_ms": "ms",
    "errors_per_min": "1/min",
    "breaker_open_s": "s",
    "rss_mb": "MB",
    "rss_slope_mb_per_h": "MB/h",
    "taker_share_pct": "% of notional",
    "slippage_bps": "bps",
    "quote_travel_bps": "bps",
    "net_bps": "bps",
}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13, "color": INK},
        "colorway": list(PALETTE),
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "margin": {"l": 70, "r": 30, "t": 85, "b": 55},
        "title": {"x": 0, "xref": "paper", "y": 1, "yanchor": "top", "pad": {"t": 12}, "font": {"size": 16}},
        "xaxis": {"gridcolor": GRID, "zerolinecolor": INK, "linecolor": INK, "automargin": True},
        "yaxis": {"gridcolor": GRID, "zerolinecolor": INK, "linecolor": INK, "automargin": True},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "modebar": {"bgcolor": CLEAR, "color": INK},
        "hovermode": "x unified",
    }
)


def escape(value: object) -> str:
    """Text for a figure: plotly reads a subset of HTML in labels, so anything from data passes here."""
    return html.escape(str(value), quote=False)


TRAILING = frozenset({"rss_slope_mb_per_h", "taker_share_pct", "slippage_bps", "net_bps"})
"""Metrics that a minute series states over the trailing hour."""


def label(metric: str, *, minute: bool = False) -> str:
    """A reader's name of a metric; an unknown one is shown as it is.

    Args:
        metric: column name.
        minute: the value stands in a minute series, where some metrics look back over an hour.
    """
    name = LABELS.get(metric, escape(metric))
    return f"{name} over the trailing hour" if minute and metric in TRAILING else name


def unit_of(metric: str) -> str:
    """Unit of a metric for an axis title, empty when unknown."""
    return UNITS.get(metric, "")


def axis(name: str, unit: str = "") -> str:
    """Axis title with its unit in brackets."""
    return f"{name} [{escape(unit)}]" if unit else name


def figure(
    title: str, *, alt: str, x: str = "", y: str = "", height: int = 380, wide: bool = False, **layout: Any
) -> go.Figure:
    """An empty figure in our look; ``alt`` is the sentence a screen reader speaks, ``wide`` ones are not squeezed."""
    fig = go.Figure()
    fig.update_layout(
        template=TEMPLATE,
        title=title,
        height=height,
        meta={"alt": alt} | ({"wide": True} if wide else {}),
        **layout,
    )
    fig.update_xaxes(title=x)
    fig.update_yaxes(title=y)
    return fig


def no_data(title: str, why: str = "nothing was measured") -> go.Figure:
    """What an empty frame becomes: a figure that says so."""
    fig = figure(title, alt=f"{title}: no data, {why}.", height=200)
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False)
    fig.add_annotation(
        text=f"No data: {escape(why)}",
        showarrow=False,
        xref="paper",
        yref="paper",
        x=0.5,
        y=0.5,
        font={"size": 16},
    )
    return fig


def lacking(frame: pd.DataFrame, columns: Sequence[str]) -> bool:
    """True when there is nothing to draw: no rows, or only missing values in the columns.

    Raises:
        KeyError: a column is absent; an empty frame may lack them.
    """
    if frame.empty:
        return True
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise KeyError(f"figure: columns {absent} are absent; the frame has {list(frame.columns)}")
    return bool(frame[list(columns)].isna().to_numpy().all())


def time_column(frame: pd.DataFrame) -> str:
    """Name of the first column that holds times.

    Raises:
        KeyError: there is none.
    """
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.DatetimeTZDtype) or frame[name].dtype.kind == "M":
            return str(name)
    raise KeyError(f"figure: no column holds times; the frame has {list(frame.columns)}")


def times(column: pd.Series) -> np.ndarray:
    """Times as ``datetime64[ms]`` in UTC, which plotly takes as they are."""
    aware = pd.to_datetime(column, utc=True)
    return np.asarray(aware.dt.tz_localize(None).to_numpy(), dtype="datetime64[ms]")


def milliseconds(column: pd.Series) -> np.ndarray:
    """Times as ``float64`` milliseconds since 1970 in UTC, for an axis of dates: packed, where ``times`` become a text each."""
    return times(column).astype(np.int64).astype(np.float64)


def thin(x: np.ndarray, y: np.ndarray, limit: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most about ``limit`` points of a long line, keeping the lowest and the highest of every stretch.

    Args:
        x: positions [n], any dtype.
        y: float64[n]; NaN stretches keep one NaN, so a gap stays a gap.
        limit: lines no longer than this are returned untouched.
    """
    n = len(y)
    if n <= limit:
        return x, y
    edges = np.linspace(0, n, limit // 2 + 1).astype(np.int64)
    keep: list[int] = []
    for start, stop in itertools.pairwise(edges):
        part = y[start:stop]
        if np.isnan(part).all():
            keep.append(int(start))
        else:
            keep.extend(sorted({int(start + np.nanargmin(part)), int(start + np.nanargmax(part))}))
    index = np.array(keep)
    return x[index], y[index]


def series(frame: pd.DataFrame) -> Iterator[tuple[str, dict[str, str], pd.DataFrame]]:
    """Split a frame by symbol and arm: name, line style (colour by symbol, dash by arm), rows."""
    keys = [name for name in ("symbol", "arm") if name in frame.columns]
    if not keys:
        yield "", {"color": PALETTE[0]}, frame
        return
    symbols = frame["symbol"].unique().tolist() if "symbol" in keys else []
    arms = frame["arm"].nunique() if "arm" in keys else 0
    for values, rows in frame.groupby(keys, sort=True, observed=True):
        parts = dict(zip(keys, values if isinstance(values, tuple) else (values,), strict=True))
        style = {"color": PALETTE[symbols.index(parts["symbol"]) % len(PALETTE)] if symbols else PALETTE[0]}
        if arms > 1:
            style["dash"] = DASHES.get(str(parts["arm"]), "dot")
        shown = [f"arm {v}" if k == "arm" else str(v) for k, v in parts.items() if k != "arm" or arms > 1]
        yield escape(", ".join(shown)), style, rows


def line_mode(y: np.ndarray) -> str:
    """Plotly's mode for a line: short ones also get markers, so a point between two gaps stays visible."""
    return "lines+markers" if len(y) <= 200 else "lines"


def limit_line(fig: go.Figure, value: float, text: str, **place: Any) -> None:
    """Draw a horizontal limit with its number written on it."""
    fig.add_hline(
        y=value,
        line={"color": LIMIT, "dash": "dot", "width": 1.5},
        annotation={"text": escape(text), "font": {"color": LIMIT}, "xanchor": "right"},
        **place,
    )


def number(value: float | None, digits: int = 3) -> str:
    """A short number for a label; missing is a dash."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
