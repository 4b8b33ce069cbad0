"""What the feeds of a session say: frames, minute series, and the measurements that the gates ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmlib._io import UserError
from mmlib.dtypes import Grade
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.sidecar import grade_of, read_sidecar, stated
from mmlib.gates.evaluate import Measurement, evaluate_all
from mmlib.gates.metrics import ACCOUNT_METRICS, ALL_SYMBOLS
from mmlib.gates.result import GateResult
from mmlib.gates.spec import Gate
from mmlib.market.quality import Quality, quality_of
from mmlib.metrics.latency import account, minute_series, stage_percentiles, tick_summary
from mmlib.metrics.money import decompose

Series = dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]
_LABELS = ("ts", "symbol", "arm", "n_ticks", "n_fills")


@dataclass(frozen=True)
class Measures:
    """A session as measured from its feeds.

    Attributes:
        ticks, fills: feed frames.
        minutes: one row a (symbol, arm, minute), columns named as the gates' metrics.
        stages: percentiles by stage over everything.
        cache: one row a (symbol, arm): hit ratio, age, misses.
        money: decomposition by (symbol, arm).
        span_s: time covered, in the symbol that covers least [s].
        planned_s: time that was to be covered [s]; 0 where there was no plan.
        quarantined: lines that could not be read.
        sidecar: what the session that wrote the feeds states; None for a desk's own feeds.
        evidence: one line naming the data.
    """

    ticks: pd.DataFrame
    fills: pd.DataFrame
    minutes: pd.DataFrame
    stages: pd.DataFrame
    cache: pd.DataFrame
    money: pd.DataFrame
    span_s: float
    planned_s: float
    quarantined: int
    sidecar: dict[str, Any] | None
    grade: Grade
    evidence: str

    def measurements(self) -> dict[str, Measurement]:
        """Whole-session numbers by metric name, for threshold gates."""
        whole = tick_summary(self.ticks).iloc[0]
        n = int(whole["n_ticks"])
        minutes = max(self.span_s / 60.0, 1e-9)
        values = {
            "hit_ratio": whole["hit_ratio"],
            "fetch_md_p95_ms": whole["fetch_md_p95_ms"],
            "tick_total_p95_ms": whole["tick_total_p95_ms"],
            "deadline_miss_pct": whole["deadline_miss_pct"],
            "errors_per_min": float(whole["errors"]) / minutes,
            "span_min": self.span_s / 60.0,
        }
        unmeasured = frozenset((self.sidecar or {}).get("unmeasured", ()))
        for field in unmeasured:
            values |= {name: np.nan for name in UNMEASURED.get(field, ()) if name in values}
        return {name: self._measured(float(value), n) for name, value in values.items()}

    @property
    def quality(self) -> dict[str, Quality]:
        """The quality block of the market data by symbol; empty for a desk's own feeds."""
        stated = self.sidecar or {}
        sizes = stated.get("instruments", {})
        return {
            symbol: quality_of(counts, float(sizes.get(symbol, {}).get("tick_size", float("nan"))))
            for symbol, counts in stated.get("quality", {}).items()
        }

    @property
    def halted(self) -> tuple[str, ...]:
        """Why a stop criterion ended the session early, one line each; empty when none did."""
        return tuple(str(one["text"]) for one in (self.sidecar or {}).get("halted", ()))

    def _measured(self, value: float, n: int) -> Measurement:
        return Measurement(
            value,
            n,
            span_s=self.span_s,
            window=self.window,
            reason="" if n else "the feeds hold no ticks",
            evidence=self.evidence,
            planned_span_s=self.planned_s,
        )

    def series(self, arm: str | None = None) -> Series:
        """Minute series by metric and (symbol, arm), for sustained gates."""
        part = self.minutes if arm is None else self.minutes[self.minutes["arm"] == arm]
        metrics = [name for name in part.columns if name not in _LABELS]
        found: Series = {name: {} for name in metrics}
        for (symbol, of_arm), rows in part.groupby(["symbol", "arm"], observed=True):
            ts_ns = rows["ts"].to_numpy(dtype="datetime64[ns]").astype(np.int64)
            for name in metrics:
                if name not in ACCOUNT_METRICS:
                    found[name][f"{symbol} {of_arm}"] = (ts_ns, rows[name].to_numpy(dtype=np.float64))
        for one_arm, rows in part.groupby("arm", observed=True):
            for name in ACCOUNT_METRICS & found.keys():
                whole = account(rows, name)
                ts_ns = whole["ts"].to_numpy(dtype="datetime64[ns]").astype(np.int64)
                found[name][f"{ALL_SYMBOLS} {one_arm!s}"] = (ts_ns, whole[name].to_numpy(dtype=np.float64))
        return found

    def evaluate(self, gates: Sequence[Gate]) -> list[GateResult]:
        """Every threshold and sustained gate of a step on this session."""
        return evaluate_all(
            gates,
            self.measurements(),
            self.series(),
            span_s=self.span_s,
            evidence=self.evidence,
            planned_span_s=self.planned_s,
        )

    @property
    def window(self) -> str:
        """First to last tick, ISO 8601; empty without ticks."""
        if not len(self.ticks):
            return ""
        first, last = self.ticks["ts"].iloc[0], self.ticks["ts"].iloc[-1]
        return f"{first:%Y-%m-%dT%H:%M:%SZ}/{last:%Y-%m-%dT%H:%M:%SZ}"


def measure(
    feeds: Path,
    *,
    planned_s: float = 0.0,
    limit_s: float | None = None,
    symbols: Sequence[str] | None = None,
    quarantine: Path | None = None,
    cache_dir: Path | None = None,
) -> Measures:
    """Read a directory of feeds and measure it.

    Args:
        feeds: directory of the two feeds.
        planned_s: how long the session meant to be [s].
        limit_s: take no more than this from the first tick on [s].
        symbols: keep these, whatever their case.
        quarantine: where lines that cannot be read are kept, see ``read_feeds``.
        cache_dir: where the feeds are kept as Parquet, see ``read_feeds``.

    Raises:
        UserError: the feeds hold ticks, but of none of ``symbols``; or as ``read_feeds``.
    """
    ticks = read_feeds(feeds, "ticks", quarantine_dir=quarantine, cache_dir=cache_dir)
    fills = read_feeds(feeds, "fills", quarantine_dir=quarantine, cache_dir=cache_dir)
    tick_frame, fill_frame = _of_symbols(ticks.frame, symbols), _of_symbols(fills.frame, symbols)
    if symbols and len(ticks.frame) and not len(tick_frame):
        present = ", ".join(sorted(ticks.frame["symbol"].unique())[:10])
        raise UserError(f"{feeds}: holds {present}; expected one of {', '.join(symbols)} (--symbols)")
    if limit_s is not None and len(tick_frame):
        end = tick_frame["ts"].iloc[0] + pd.Timedelta(seconds=limit_s)
        tick_frame = tick_frame[tick_frame["ts"] < end]
        fill_frame = fill_frame[fill_frame["ts"] < end]
    sidecar = read_sidecar(feeds)
    unmeasured = frozenset((sidecar or {}).get("unmeasured", ()))
    sources = ticks.sources | fills.sources
    grade = grade_of(feeds, sources)
    spans = tick_summary(tick_frame, by=("symbol",))["span_s"] if len(tick_frame) else pd.Series([0.0])
    source = _source(sidecar, feeds, sources)
    return Measures(
        ticks=tick_frame,
        fills=fill_frame,
        minutes=_blank(minute_series(tick_frame, fill_frame), unmeasured),
        stages=stage_percentiles(tick_frame),
        cache=_blank(_cache(tick_frame), unmeasured),
        money=decompose(tick_frame, fill_frame),
        span_s=float(spans.min()),
        planned_s=planned_s,
        quarantined=ticks.quarantined + fills.quarantined,
        sidecar=sidecar,
        grade=grade,
        evidence=source if source.startswith(str(grade)) else f"{grade}: {source}",
    )


UNMEASURED: Mapping[str, tuple[str, ...]] = {
    "cache_hit": ("hit_ratio",),
    "used_stale": ("used_stale_pct",),
    "fetch_md_ms": ("fetch_md_p95_ms",),
    "breaker_open": ("breaker_open_s",),
    "guard_level": ("guard_hard_pct",),
}
"""Field of the ticks feed -> the metrics that have no value where whoever wrote it could not measure it."""


def _blank(frame: pd.DataFrame, unmeasured: Set[str]) -> pd.DataFrame:
    """The frame without values of what was not measured."""
    names = [name for field in sorted(unmeasured) for name in UNMEASURED.get(field, ()) if name in frame]
    return frame.assign(**dict.fromkeys(names, np.nan)) if names else frame


def _source(sidecar: Mapping[str, Any] | None, feeds: Path, sources: Collection[str]) -> str:
    """What the feeds come from; what weakens them and incidents that were scripted are part of that."""
    if sidecar is None:
        return str((stated(feeds, sources) or {}).get("source", "no feeds"))
    scripted = ", ".join(sidecar.get("incidents", ()))
    said = [str(sidecar["source"]), *sidecar.get("caveats", ())]
    return ", ".join([*said, f"scripted incidents: {scripted}"] if scripted else said)


def _of_symbols(frame: pd.DataFrame, symbols: Sequence[str] | None) -> pd.DataFrame:
    """The rows of some symbols, whatever their case; all rows when none is named."""
    if not symbols:
        return frame
    return frame[frame["symbol"].str.upper().isin([symbol.upper() for symbol in symbols])]


def _cache(ticks: pd.DataFrame) -> pd.DataFrame:
    """Cache behaviour by symbol and arm."""
    by = ["symbol", "arm"]
    grouped = ticks.groupby(by, observed=True)
    return pd.DataFrame(
        {
            "n": grouped.size(),
            "hit_ratio": grouped["cache_hit"].mean(),
            "used_stale_pct": 100.0 * grouped["used_stale"].mean(),
            "cache_age_p50_ms": grouped["cache_age_ms"].quantile(0.5),
            "cache_age_p95_ms": grouped["cache_age_ms"].quantile(0.95),
            "deadline_miss_pct": 100.0 * grouped["deadline_miss"].mean(),
        }
    ).reset_index()
