"""A/B figures: the running effect with its confidence sequence, symbols, safety over time, how often the rules err."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmlib.figures import theme


def effect(buckets: pd.DataFrame, minimum: float | None = None) -> go.Figure:
    """Difference B − A a bucket, its running mean and the anytime-valid interval around it.

    Args:
        buckets: bucket (time or number), delta, mean, lower, upper, all in bps; bounds that are
            NaN or infinite are left out.
        minimum: the least effect the acceptance gate asks for, bps.
    """
    title = "Effect of arm B over arm A on net result"
    if theme.lacking(buckets, ["bucket", "delta", "mean", "lower", "upper"]):
        return theme.no_data(title, "no bucket holds both arms")
    timed = buckets["bucket"].dtype.kind == "M" or isinstance(buckets["bucket"].dtype, pd.DatetimeTZDtype)
    x = theme.times(buckets["bucket"]) if timed else buckets["bucket"].to_numpy()
    last = buckets.iloc[-1]
    fig = theme.figure(
        title,
        x="Bucket start [UTC]" if timed else "Bucket",
        y=theme.axis("Difference in net, B − A", "bps"),
        alt=f"Differences in {len(buckets)} paired buckets; the running mean ends at "
        f"{theme.number(last['mean'])} bps with an interval from "
        f"{theme.number(last['lower'])} to {theme.number(last['upper'])}.",
    )
    colour = theme.PALETTE[0]
    fig.add_scatter(
        x=x, y=_finite(buckets["upper"]), mode="lines", line={"width": 0}, showlegend=False, name="upper"
    )
    fig.add_scatter(
        x=x,
        y=_finite(buckets["lower"]),
        mode="lines",
        line={"width": 0},
        fill="tonexty",
        fillcolor="rgba(0,114,178,0.22)",
        name="confidence sequence, each bound 95 %",
    )
    fig.add_scatter(
        x=x, y=buckets["mean"].to_numpy(), mode="lines", line={"color": colour}, name="running mean"
    )
    dots = {"color": theme.PALETTE[4], "size": 6}
    fig.add_scatter(x=x, y=buckets["delta"].to_numpy(), mode="markers", marker=dots, name="bucket")
    fig.add_hline(y=0, line={"color": theme.INK, "width": 1})
    if minimum is not None:
        theme.limit_line(fig, minimum, f"asked for: {theme.number(minimum)} bps")
    return fig


def plan(table: pd.DataFrame) -> go.Figure:
    """Probability that a stage passes, by its length, a line for each true gain; the loss budget's beside.

    Args:
        table: gain_bps, hours, promoted_pct, lower_pct, upper_pct, loss_first_pct (``rollout.plan.COLUMNS``).
    """
    title = "How long a stage must run"
    if theme.lacking(table, ["gain_bps", "hours", "promoted_pct", "loss_first_pct"]):
        return theme.no_data(title, "no soak with enough hours")
    ends = [
        f"{gain:g} bps: {part['promoted_pct'].iloc[-1]:.0f} % at {part['hours'].iloc[-1]:.0f} h"
        for gain, part in table.groupby("gain_bps")
    ]
    fig = theme.figure(
        title,
        x=theme.axis("Length of the stage", "h"),
        y=theme.axis("Probability", "%"),
        alt=f"Probability that a stage passes against its length; {'; '.join(ends)}.",
    )
    for number, (gain, part) in enumerate(table.groupby("gain_bps")):
        colour = theme.PALETTE[number % len(theme.PALETTE)]
        fig.add_scatter(
            x=part["hours"].to_numpy(),
            y=part["promoted_pct"].to_numpy(),
            mode="lines+markers",
            line={"color": colour},
            name=f"passes, true gain {gain:g} bps",
        )
        fig.add_scatter(
            x=part["hours"].to_numpy(),
            y=part["loss_first_pct"].to_numpy(),
            mode="lines",
            line={"color": colour, "dash": "dot"},
            name=f"hits the loss budget, gain {gain:g} bps",
        )
    fig.update_yaxes(range=[0, 100])
    return fig


def safety(timeline: pd.DataFrame) -> go.Figure:
    """The safety metrics over time, one row a gate, each with its limit and where it fired.

    Args:
        timeline: a column of times, ``gate`` (id), ``value``, optionally ``limit``, ``unit`` and
            ``fired`` (bool); without ``fired`` nothing is said about firing.
    """
    title = "Safety gates over time"
    if theme.lacking(timeline, ["gate", "value"]):
        return theme.no_data(title)
    gates = list(dict.fromkeys(timeline["gate"]))
    when = theme.time_column(timeline)
    fired = timeline["fired"].fillna(False).astype(bool) if "fired" in timeline.columns else None
    count = "" if fired is None else f"; {timeline.loc[fired, 'gate'].nunique()} of them fired"
    fig = make_subplots(
        rows=len(gates),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=min(0.08, 0.5 / len(gates)),
        subplot_titles=[theme.escape(gate) for gate in gates],
    )
    alt = f"Lines of {len(gates)} safety metrics against their limits{count}."
    fig.update_layout(
        template=theme.TEMPLATE,
        title=title,
        height=120 + 170 * len(gates),
        meta={"alt": alt},
        showlegend=False,
    )
    for row, gate in enumerate(gates, start=1):
        rows = timeline[timeline["gate"] == gate]
        _safety_row(fig, row, rows, theme.times(rows[when]), None if fired is None else fired[rows.index])
    fig.update_xaxes(title="Time [UTC]", row=len(gates), col=1)
    return fig


def forest(symbols: pd.DataFrame, minimum: float | None = None) -> go.Figure:
    """The effect in each symbol with its bounds, all of them together below.

    Args:
        symbols: symbol, n (buckets), mean, lower, upper [bps]; bounds that are not finite are left out.
        minimum: the least effect the acceptance gate asks for, bps.
    """
    title = "Effect on net by symbol"
    if theme.lacking(symbols, ["symbol", "n", "mean", "lower", "upper"]):
        return theme.no_data(title, "no bucket holds both arms")
    names = [f"{theme.escape(name)} ({n} h)" for name, n in zip(symbols["symbol"], symbols["n"], strict=True)]
    mean = symbols["mean"].to_numpy(dtype=float)
    fig = theme.figure(
        title,
        x=theme.axis("Difference in net, B − A", "bps"),
        alt=f"Means and bounds of {len(symbols)} rows; "
        + "; ".join(
            f"{theme.escape(n)}: {theme.number(m)} bps" for n, m in zip(symbols["symbol"], mean, strict=True)
        )
        + ".",
        height=150 + 45 * len(symbols),
        showlegend=False,
    )
    whisker = {
        "type": "data",
        "symmetric": False,
        "array": _finite(symbols["upper"]) - mean,
        "arrayminus": mean - _finite(symbols["lower"]),
        "thickness": 2,
    }
    marker = {"size": 9, "color": theme.PALETTE[0]}
    fig.add_scatter(x=mean, y=names, mode="markers", marker=marker, error_x=whisker, name="mean")
    fig.add_vline(x=0, line={"color": theme.INK, "width": 1})
    if minimum is not None:
        fig.add_vline(
            x=minimum,
            line={"color": theme.LIMIT, "width": 1, "dash": "dot"},
            annotation_text=f"asked for: {theme.number(minimum)} bps",
        )
    fig.update_yaxes(autorange="reversed")
    return fig


def error_rates(rates: pd.DataFrame, nominal_pct: float = 5.0) -> go.Figure:
    """How often rules decide something where no effect is, literal and statistical, with exact intervals.

    Args:
        rates: data, decision, rule, n, rate_pct, lower_pct, upper_pct; rows without stages are left out.
        nominal_pct: the error that the statistical rules are made for.
    """
    title = "How often the rules err between arms that do not differ"
    known = rates[rates["n"] > 0] if "n" in rates else rates
    if theme.lacking(known, ["data", "decision", "rule", "rate_pct", "lower_pct", "upper_pct"]):
        return theme.no_data(title, "not measured")
    worst = known.groupby("rule")["rate_pct"].max()
    fig = theme.figure(
        title,
        x="Stages decided wrongly [%]",
        alt="; ".join(
            f"{theme.escape(rule)} rules err in at most {theme.number(rate)} %"
            for rule, rate in worst.items()
        )
        + ".",
        height=170 + 34 * known[["data", "decision"]].drop_duplicates().shape[0],
        hovermode="closest",
    )
    for number, (rule, rows) in enumerate(known.groupby("rule", sort=False)):
        rate = rows["rate_pct"].to_numpy(dtype=float)
        fig.add_scatter(
            x=rate,
            y=[[theme.escape(d) for d in rows["data"]], [theme.escape(d) for d in rows["decision"]]],
            mode="markers",
            marker={"size": 9, "symbol": ("circle", "diamond")[number % 2], "color": theme.PALETTE[number]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": rows["upper_pct"].to_numpy(dtype=float) - rate,
                "arrayminus": rate - rows["lower_pct"].to_numpy(dtype=float),
            },
            name=f"{theme.escape(rule)} rule",
        )
    fig.add_vline(
        x=nominal_pct,
        line={"color": theme.LIMIT, "width": 1, "dash": "dot"},
        annotation_text=f"{nominal_pct:g} %",
    )
    fig.update_xaxes(range=[-2, 104])
    fig.update_yaxes(autorange="reversed")
    return fig


def _safety_row(
    fig: go.Figure, row: int, rows: pd.DataFrame, when: np.ndarray, fired: pd.Series | None
) -> None:
    """Draw one safety metric: its line, its limit, and crosses where it fired."""
    value = rows["value"].to_numpy(dtype=float)
    x, y = theme.thin(when, value)
    name, mode = theme.escape(rows["gate"].iloc[0]), theme.line_mode(y)
    fig.add_scatter(x=x, y=y, mode=mode, marker={"size": 3}, name=name, row=row, col=1)
    if "limit" in rows.columns and rows["limit"].notna().any():
        limit = float(rows["limit"].dropna().iloc[0])
        theme.limit_line(fig, limit, f"limit {theme.number(limit)}", row=row, col=1)
    if fired is not None and fired.any():
        hit = fired.to_numpy()
        marker = {"color": theme.LIMIT, "symbol": "x", "size": 7}
        fig.add_scatter(
            x=when[hit], y=value[hit], mode="markers", marker=marker, name="fired", row=row, col=1
        )
    unit = str(rows["unit"].iloc[0]) if "unit" in rows.columns else ""
    fig.update_yaxes(title=theme.axis("", unit).strip(), row=row, col=1)


def _finite(bound: pd.Series) -> np.ndarray:
    """A bound with infinities as gaps."""
    values = bound.to_numpy(dtype=float)
    return np.where(np.isfinite(values), values, np.nan)
