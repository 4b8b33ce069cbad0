"""The exploring notebook's view of a soak: controls for symbol, arm and time, and figures that follow them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as ipw
import numpy as np
import pandas as pd

from mmlib._io import UserError
from mmlib.config.load import shipped_dir
from mmlib.explore import Soak, Time, load_soak
from mmlib.figures import explore as figures
from mmlib.figures import latency, money, theme
from mmlib.figures.panzoom import Line, Marks, PanZoom
from mmlib.figures.widget import Widget
from mmlib.gates.spec import GATES_FILE, Gate, read_gates
from mmlib.gates.whatif import flips, sustained, windows
from mmlib.metrics.density import latency_density
from mmlib.metrics.grid import ns
from mmlib.metrics.latency import STAGE_COLUMNS, minute_series
from mmlib.metrics.money import markouts
from mmlib.workflow.record import resolve_workspace

_LEFT_OUT = frozenset(
    {"scheduled_ts", "modelled_ms"}
)  # of the ticks: nothing here is drawn or computed from them
_METRICS = (*STAGE_COLUMNS.values(), "cache_age_ms", "spread_bps", "rss_mb")
_STEPS = 288  # of the time control: five minutes of a day
_LIMIT_OF = {"tick_total_ms": "tick_total_p95_ms", "fetch_md_ms": "fetch_md_p95_ms"}
_SIDES = {"buy": ("triangle-up", theme.PALETTE[2]), "sell": ("triangle-down", theme.PALETTE[1])}


def explore(
    workspace: str | Path = ".",
    *,
    feeds: str = "",
    symbol: str = "",
    arm: str = "",
    start: Time = None,
    end: Time = None,
) -> Explorer:
    """Open the soak of a workspace, or other feeds, for exploring.

    Args:
        workspace: its feeds and its ``params/gates.yaml``; without one, the shipped gates.
        feeds: directory of feeds; empty is the workspace's.
        symbol, arm: what is shown first; empty is the first there is.
        start, end: look at ``[start, end)`` only; empty is all.

    Raises:
        UserError: no feeds, no ticks of the range, no such symbol or arm, or gates that cannot be read.
    """
    ws = resolve_workspace(workspace)
    soak = load_soak(feeds or ws, start=start or None, end=end or None)
    path = ws / GATES_FILE
    gates = read_gates(path if path.is_file() else shipped_dir("params") / "gates.yaml")
    return Explorer(soak, gates.step("soak"), symbol=symbol, arm=arm)


class Explorer:
    """A soak with controls; each figure is drawn when it is asked for, and again when a control changes.

    Attributes:
        controls: symbol, arm, time and metric, for display.
    """

    def __init__(self, soak: Soak, gates: Sequence[Gate], *, symbol: str = "", arm: str = "") -> None:
        self.soak = soak
        self._gates = list(gates)
        self._follow: list[Callable[[], None]] = []
        self._held: dict[str, pd.DataFrame] = {}
        symbols, arms = soak.symbols, soak.arms
        if not symbols:
            raise UserError(f"{soak.directory}: no ticks in this range; expected feeds with at least one")
        for name, given, known in (("symbol", symbol, symbols), ("arm", arm, arms)):
            if given and given not in known:
                raise UserError(f"{name} {given!r}: not in the feeds; expected one of {', '.join(known)}")
        self.symbol = ipw.Dropdown(options=symbols, value=symbol or symbols[0], description="Symbol")
        self.arm = ipw.Dropdown(options=arms, value=arm or arms[0], description="Arm")
        self.metric = ipw.Dropdown(options=_METRICS, value="tick_total_ms", description="Metric")
        self.time = _time_control(soak)
        self.controls = ipw.VBox([ipw.HBox([self.symbol, self.arm, self.metric]), self.time])
        for control in (self.symbol, self.arm, self.time):
            control.observe(self._changed, names="value")
        self.metric.observe(lambda _: self._draw_again(), names="value")

    # --- what the figures are drawn from ---

    @property
    def ticks(self) -> pd.DataFrame:
        """Ticks of the selection."""
        if "ticks" not in self._held:
            wanted = [name for name in self.soak.ticks.columns if name not in _LEFT_OUT]
            self._held["ticks"] = self.soak.ticks(wanted, **self._part())
        return self._held["ticks"]

    @property
    def fills(self) -> pd.DataFrame:
        """Fills of the selection."""
        if "fills" not in self._held:
            self._held["fills"] = self.soak.fills(**self._part())
        return self._held["fills"]

    @property
    def minutes(self) -> pd.DataFrame:
        """Minute series of the selection, which the gates are evaluated on."""
        if "minutes" not in self._held:
            self._held["minutes"] = minute_series(self.ticks, self.fills)
        return self._held["minutes"]

    @property
    def gates(self) -> list[Gate]:
        """Sustained gates of the soak that the minute series can answer."""
        return sustained(self._gates, self.minutes)

    # --- figures ---

    def ticks_figure(self) -> Widget:
        """The chosen metric tick by tick; pan and zoom as far as single ticks."""
        panel = PanZoom("Ticks", self._metric_lines())
        self._follow.append(lambda: panel.show("Ticks", self._metric_lines()))
        return panel.widget

    def latency(self) -> Widget:
        """Heat map of the chosen latency over time, with the gate's limit."""
        return self._widget(
            lambda: figures.density(
                latency_density(self.ticks, self.metric.value),
                self.metric.value,
                self._limit(self.metric.value),
            )
        )

    def hit_ratio(self) -> Widget:
        """Cache hit ratio by minute."""
        return self._widget(lambda: latency.minute_lines(self.minutes, "hit_ratio", self._limit("hit_ratio")))

    def violations(self) -> Widget:
        """The windows in which a gate of the soak was violated."""
        return self._widget(
            lambda: figures.windows(windows(self.gates, self.minutes), self._named(), self._span())
        )

    def price(self) -> Widget:
        """Our fills on the market's mid, the inventory below."""
        panel = PanZoom("Fills on the price", self._price_lines(), self._fill_marks())
        self._follow.append(lambda: panel.show("Fills on the price", self._price_lines(), self._fill_marks()))
        return panel.widget

    def markouts(self) -> Widget:
        """What the market did after our fills."""
        return self._widget(lambda: money.markouts(markouts(self.ticks, self.fills)))

    def what_if(self) -> ipw.VBox:
        """A slider a gate; the windows that flip with the limit it is moved to."""
        sliders = {gate.id: _slider(gate, self.minutes) for gate in self.gates}
        said = ipw.HTML()
        shown = self._widget(lambda: self._flipped(sliders, said))
        for slider in sliders.values():
            slider.observe(lambda _: shown.show_figure(self._flipped(sliders, said)), names="value")
        return ipw.VBox([*sliders.values(), said, shown])

    # --- how they are kept up to date ---

    def _widget(self, draw: Callable[[], Any]) -> Widget:
        widget = Widget(draw())
        self._follow.append(lambda: widget.show_figure(draw()))
        return widget

    def _changed(self, _: Any) -> None:
        self._held.clear()
        self._draw_again()

    def _draw_again(self) -> None:
        for follow in self._follow:
            follow()

    def _part(self) -> dict[str, Any]:
        start, end = self.time.value
        return {"symbols": self.symbol.value, "arm": self.arm.value, "start": start, "end": end}

    def _named(self) -> pd.DataFrame:
        return pd.DataFrame({"id": [g.id for g in self.gates], "title": [g.title for g in self.gates]})

    def _span(self) -> tuple[pd.Timestamp, pd.Timestamp] | None:
        ts = self.minutes["ts"]
        return (ts.iloc[0], ts.iloc[-1] + pd.Timedelta(minutes=1)) if len(ts) else None

    def _limit(self, metric: str) -> float | None:
        name = _LIMIT_OF.get(metric, metric)
        return next(
            (gate.limit for gate in self._gates if gate.kind == "sustained" and gate.metric == name), None
        )

    def _metric_lines(self) -> list[Line]:
        name = self.metric.value
        line = Line(
            name, ns(self.ticks["ts"]), self.ticks[name].to_numpy(np.float64), _row(name), self._limit(name)
        )
        return [line]

    def _price_lines(self) -> list[Line]:
        ts = ns(self.ticks["ts"])
        rows = (("mid", "Mid [quote currency]"), ("inventory", "Inventory [base units]"))
        colours = ({"color": theme.PALETTE[6]}, {"color": theme.PALETTE[0], "shape": "hv"})
        return [
            Line(name, ts, self.ticks[name].to_numpy(np.float64), row, style=style)
            for (name, row), style in zip(rows, colours, strict=True)
        ]

    def _fill_marks(self) -> list[Marks]:
        marks = []
        for (side, liquidity), rows in self.fills.groupby(["side", "liquidity"], sort=True):
            symbol, colour = _SIDES[str(side)]
            marker = {
                "symbol": symbol + ("" if liquidity == "maker" else "-open"),
                "size": 9,
                "color": colour,
            }
            words = zip(rows["qty"].tolist(), rows["price"].tolist(), rows["fee"].tolist(), strict=True)
            text = np.array(
                [f"{side} {q:g} at {p:g} as {liquidity}, fee {f:.4g}" for q, p, f in words], dtype=object
            )
            price = rows["price"].to_numpy(np.float64)
            marks.append(
                Marks(f"{side}, {liquidity}", ns(rows["ts"]), price, "Mid [quote currency]", marker, text)
            )
        return marks

    def _flipped(self, sliders: dict[str, ipw.FloatSlider], said: ipw.HTML) -> Any:
        limits = {gate.id: sliders[gate.id].value for gate in self.gates if gate.id in sliders}
        found = flips(self.gates, self.minutes, limits)
        counts = found["change"].value_counts()
        parts = [f"{words}: {int(counts.get(kind, 0))}" for kind, (words, _) in figures.CHANGES.items()]
        said.value = f"Windows. {'; '.join(parts)}."
        return figures.windows(found, self._named(), self._span())


def _row(name: str) -> str:
    unit = "ms" if name.endswith("_ms") else "bps" if name.endswith("_bps") else "MB"
    return theme.axis(name.rpartition("_")[0].replace("_", " ").capitalize(), unit)


def _time_control(soak: Soak) -> ipw.SelectionRangeSlider:
    """A range of times, in steps that a person would choose."""
    assert soak.span is not None
    first, last = soak.span
    span_s = (last - first).total_seconds()
    step_s = next((s for s in (60, 300, 900, 3600, 21_600, 86_400) if span_s / s <= _STEPS), 86_400)
    begin, end = first.floor(f"{step_s}s"), last.floor(f"{step_s}s") + pd.Timedelta(seconds=step_s)
    edges = pd.date_range(begin, end, freq=f"{step_s}s")
    options = [(f"{edge:%d %b %H:%M}", edge) for edge in edges]
    return ipw.SelectionRangeSlider(
        options=options,
        index=(0, len(options) - 1),
        description="Time",
        continuous_update=False,
        layout={"width": "90%"},
    )


def _slider(gate: Gate, minutes: pd.DataFrame) -> ipw.FloatSlider:
    """A limit between nothing and twice what the gate says, or what was seen."""
    seen = minutes[gate.metric].to_numpy(np.float64)
    seen = seen[np.isfinite(seen)]
    low, high = min(0.0, 2 * gate.limit, *seen), max(2 * gate.limit, *seen, 0.0)
    high = high if high > low else low + 1.0
    return ipw.FloatSlider(
        value=gate.limit,
        min=low,
        max=high,
        step=(high - low) / 200,
        description=gate.title,
        tooltip=gate.rule,
        readout_format=".3g",
        continuous_update=False,
        style={"description_width": "220px"},
        layout={"width": "90%"},
    )
