"""Calibration intervals: one row a symbol, arm and UTC-aligned interval, with the reason why a row was filtered out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmlib.core import tickbins as tb
from mmlib.core.histogram import SIZE, bucket_index
from mmlib.feeds.columns import empty_frame
from mmlib.metrics.fills import HORIZONS_S, Fills
from mmlib.metrics.grid import Bins, Grid, ratio, utc
from mmlib.metrics.latency import STAGE_COLUMNS
from mmlib.metrics.ledger import Deals, Ledger, Marks, ledger_of
from mmlib.metrics.money import Markouts, money_ratios, money_sums
from mmlib.metrics.slices import Pair, Partial

MAX_P95_MS = 1000.0  # of tick_total; slower intervals are not the bot's normal life
MIN_HIT_RATIO = 0.3
MIN_COVERAGE = 0.5  # of the ticks expected in an interval

NO_TICKS = "no ticks"
REQUIRED = (
    "hit_ratio",
    "deadline_miss_pct",
    "tick_total_p95_ms",
    "fetch_md_p95_ms",
    "mid_last",
    "spread_bps",
)
"""A NaN or infinity in one of these filters the interval out."""
WITH_FILLS = (
    *("gross_bps", "quote_travel_bps", "fees_bps", "inventory_bps", "net_bps", "taker_share_pct"),
    "priced_pct",
    *("queue_ahead_qty", "order_latency_p95_ms"),
)
"""Undefined, and therefore missing, in an interval without fills."""
MARKOUTS = tuple(f"markout_{horizon}s_bps" for horizon in HORIZONS_S)
OPTIONAL = ("volatility_bps", "rss_mb", "inventory_mean", "slippage_bps", *MARKOUTS)
"""May be missing: too few mids, a bot that does not report them, no tick soon enough after the fills."""


class Whole:
    """The slices of a dataset put side by side, over the whole grid, by symbol and arm."""

    def __init__(self, pairs: Sequence[Pair], grid: Grid) -> None:
        self.pairs, self.grid = list(pairs), grid
        shape = len(pairs), grid.size
        self.counts = np.zeros((*shape, 9), np.int64)
        self.sums = tb.no_sums(*shape)
        self.quantile = np.full((*shape, tb.STAGES, 3), np.nan)
        self._distance = np.zeros((len(pairs), 2, SIZE), np.int64)
        self._marks: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in pairs]
        self._opening: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in pairs]
        self._last = np.full(len(pairs), tb.NEVER)
        self._marked = np.zeros(len(pairs), np.bool_)
        self._number = {pair: k for k, pair in enumerate(self.pairs)}

    def add(self, partial: Partial) -> None:
        """Take a slice; those of the same symbols and arms come in the order of time."""
        of = np.array([self._number[pair] for pair in partial.pairs], np.int64)
        first = (int(partial.start_ns) - self.grid.start_ns) // self.grid.step_ns
        inside = slice(max(-first, 0), self.grid.size - first)  # a whole period may reach beyond the grid
        placed = slice(max(first, 0), max(first, 0) + partial.counts[:, inside].shape[1])
        for whole, part in (
            (self.counts, partial.counts),
            (self.sums, partial.sums),
            (self.quantile, partial.quantile),
        ):
            whole[of, placed] = part[:, inside]
        pair, bucket, n, total = partial.distance
        self._distance[of[pair], 0, bucket] += n
        self._distance[of[pair], 1, bucket] += total
        for k, one in enumerate(of.tolist()):
            self._follow(partial, k, one)

    def _follow(self, partial: Partial, k: int, one: int) -> None:
        """Take what follows the slice before: times, marks and inventories of the pair ``one``, which is ``k`` in the slice."""
        start, end = partial.tick_ns[k].tolist()
        if start == tb.NEVER:
            return
        last = int(self._last[one])
        if start > last != tb.NEVER:  # between the last tick of one slice and the first of the next
            bucket = bucket_index((start - last) / 1e6)
            self._distance[one, 0, bucket] += 1
            self._distance[one, 1, bucket] += start - last
        self._last[one] = end
        marks = _marks(partial, k, first=not self._marked[one])
        self._marked[one] |= len(marks[0]) > 0
        self._marks[one].append(marks)
        n_opening = int(partial.n_opening[k])
        self._opening[one].append((partial.opening_ns[k, :n_opening], partial.opening[k, :n_opening]))

    def typical_ns(self, k: int) -> float:
        """Typical distance of neighbouring ticks: the mean of those in the median's bucket, which is 0.2 % wide; 0 for none."""
        n, total = self._distance[k]
        below = np.cumsum(n)
        if below[-1] == 0:
            return 0.0
        middle = np.searchsorted(below, [(below[-1] + 1) // 2, below[-1] // 2 + 1])
        return float((total[middle] / n[middle]).mean())

    def ticks(self, k: int) -> Marks:
        """The few ticks of a pair that the money of its fills depends on.

        These are the last one with a mid of each interval, the last ones before each fill and the markout's horizons, and the
        first ones with an inventory, which decide the opening position. Between two fills the position does not change,
        so the steps of the mid in between add up to the one from end to end.
        """
        marks = [np.concatenate(column) for column in zip(_NOTHING, *self._marks[k], strict=True)]
        known = [
            np.concatenate(column)[: tb.OPENING] for column in zip(_NOTHING, *self._opening[k], strict=True)
        ]
        mark_ns, kept = np.unique(marks[0], return_index=True)
        ts_ns = np.concatenate([known[0], mark_ns])
        order = np.argsort(ts_ns, kind="stable")
        mid = np.concatenate([np.full(len(known[0]), np.nan), marks[1][kept]])
        inventory = np.concatenate([known[1], np.full(len(mark_ns), np.nan)])
        return Marks(ts_ns[order], mid[order], inventory[order])


_NOTHING = (np.empty(0, np.int64), np.empty(0))


def _marks(partial: Partial, k: int, *, first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Times and mids of the ticks that a slice noted of a pair; of the first slice that has one, the first of all as well."""
    asked = slice(*np.searchsorted(partial.answered, (k, k + 1)))
    ts_ns, mid = (
        [partial.mark_ns[k], partial.answer_ns[asked]],
        [partial.sums[k, :, tb.MID], partial.answer[asked]],
    )
    if first:
        ts_ns.append(partial.first_mark[k : k + 1])
        mid.append(partial.first_mid[k : k + 1])
    times, mids = np.concatenate(ts_ns), np.concatenate(mid)
    kept = times != tb.NEVER
    return times[kept], mids[kept]


def interval_frame(whole: Whole, fills: Mapping[Pair, Fills]) -> pd.DataFrame:
    """Every interval of the grid for every symbol and arm that has a tick or a fill.

    Args:
        whole: the ticks, reduced. fills: those of each symbol and arm, nothing outside the grid.

    Returns:
        ts (start, UTC), symbol, arm, reason ("" when kept, otherwise why it was filtered out), coverage (0..1), n_ticks,
        the metrics by column name with units, n_fills, money as in ``money.decompose``, markouts as in
        ``money.markouts`` of the interval's fills. Percentiles are of histograms, within 0.1 %.
    """
    grid = whole.grid
    held = [k for k, pair in enumerate(whole.pairs) if whole.counts[k, :, tb.N].any() or pair in fills]
    if not held or grid.size == 0:
        return pd.DataFrame(
            {"ts": utc(np.empty(0)), **dict.fromkeys(("symbol", "arm", "reason"), pd.Series(dtype="str"))}
        )
    none = Fills.of(empty_frame("fills"))
    of_fills = [_fill_columns(whole, k, fills.get(whole.pairs[k], none)) for k in held]
    columns = _tick_columns(whole, held)
    columns |= {name: np.stack([one[name] for one in of_fills]) for name in of_fills[0]}
    labels = {
        "ts": utc(np.repeat(grid.starts, len(held))),
        **{
            name: _repeated([whole.pairs[k][which] for k in held], grid.size)
            for which, name in enumerate(("symbol", "arm"))
        },
    }
    flat = {name: values.T.ravel() for name, values in columns.items()}
    markouts = {name: flat.pop(name) for name in MARKOUTS}
    flat |= money_ratios(flat)
    del flat["priced_notional"]
    return pd.DataFrame(labels | {"reason": reasons(flat)} | flat | markouts, copy=False)


def reasons(columns: Mapping[str, np.ndarray]) -> Any:
    """Why each interval is filtered out, the first rule that applies; "" when it is kept."""
    rules = [
        (columns["n_ticks"] == 0, NO_TICKS),
        (columns["coverage"] < MIN_COVERAGE, f"coverage below {MIN_COVERAGE:g}"),
        *((~np.isfinite(columns[name]), f"not finite: {name}") for name in REQUIRED),
        (columns["tick_total_p95_ms"] > MAX_P95_MS, f"tick_total p95 above {MAX_P95_MS:g} ms"),
        (columns["hit_ratio"] < MIN_HIT_RATIO, f"hit ratio below {MIN_HIT_RATIO:g}"),
    ]
    number = np.select([applies for applies, _ in rules], np.arange(len(rules)), len(rules))
    return pd.array([*(reason for _, reason in rules), ""], dtype="str").take(number)


def nonfinite_values(frame: pd.DataFrame) -> int:
    """NaN and infinite values in kept intervals, where a number must be: everywhere but in ``OPTIONAL`` columns, and in
    ``WITH_FILLS`` columns only where there are fills."""
    kept = (frame["reason"] == "").to_numpy(np.bool_)
    with_fills = kept & (frame["n_fills"].to_numpy() > 0)
    count = 0
    for name in frame.select_dtypes("number").columns:
        values = frame[name].to_numpy(np.float64)
        bad = kept & ~np.isfinite(values)
        if bad.any():
            due = with_fills if name in WITH_FILLS else kept & (name not in OPTIONAL)
            count += int((bad & (due | np.isinf(values))).sum())
    return count


def _tick_columns(whole: Whole, held: Sequence[int]) -> dict[str, np.ndarray]:
    """What the ticks of some pairs say of each interval, ``[held, size]``."""
    counts, sums = np.moveaxis(whole.counts[held], 2, 0), np.moveaxis(whole.sums[held], 2, 0)
    n, quantile = counts[tb.N], whole.quantile[held]
    typical = np.array([whole.typical_ns(k) for k in held])
    columns = {
        "coverage": np.minimum(n * typical[:, np.newaxis] / whole.grid.step_ns, 1.0),
        "n_ticks": n,
        "hit_ratio": ratio(counts[tb.HIT], n),
        "stale_pct": ratio(counts[tb.STALE], n, 100.0),
        "deadline_miss_pct": ratio(counts[tb.MISS], n, 100.0),
    }
    for stage, name in enumerate(STAGE_COLUMNS):
        for which, q in enumerate(tb.QUANTILES):
            columns[f"{name}_p{100 * q:g}_ms"] = quantile[:, :, stage, which]
    return columns | {
        "errors": sums[tb.ERRORS],
        "breaker_open_pct": ratio(counts[tb.BREAKER], n, 100.0),
        "guard_soft_pct": ratio(counts[tb.SOFT], n, 100.0),
        "guard_hard_pct": ratio(counts[tb.HARD], n, 100.0),
        "rss_mb": np.where(np.isneginf(sums[tb.RSS]), np.nan, sums[tb.RSS]),
        "spread_bps": ratio(sums[tb.SPREAD], counts[tb.N_SPREAD]),
        "mid_last": sums[tb.MID],
        "inventory_mean": ratio(sums[tb.INVENTORY], counts[tb.N_INVENTORY]),
        "volatility_bps": 1e4 * np.sqrt(ratio(sums[tb.VARIANCE], sums[tb.SECONDS])),
    }


def _fill_columns(whole: Whole, k: int, fills: Fills) -> dict[str, np.ndarray]:
    """What the fills of a pair say of each interval, ``[size]``."""
    grid, ticks = whole.grid, whole.ticks(k)
    ledger = ledger_of(*whole.pairs[k], ticks, fills.deals)
    event_bin, bins = grid.bins(ledger.ts_ns).index, grid.bins(ledger.fill_ts_ns)
    return {
        "queue_ahead_qty": bins.mean(fills.queue_ahead_qty),
        "order_latency_p95_ms": bins.quantile(fills.latency_ms, 0.95),
        **money_sums(ledger, event_bin, bins.index, size=grid.size),
        **dict(_markouts(ledger, fills.deals, ticks, bins)),
    }


def _markouts(ledger: Ledger, fills: Deals, ticks: Marks, bins: Bins) -> Iterator[tuple[str, np.ndarray]]:
    """Notional-weighted markouts of each interval's fills, see ``money.markouts``."""
    of_fills = Markouts(ticks.ts_ns, ticks.mid, fills.ts_ns, fills.price, fills.buy)
    for horizon_s, name in zip(HORIZONS_S, MARKOUTS, strict=True):
        value = of_fills.after(horizon_s)
        kept = np.isfinite(value)
        some = Bins(bins.index[kept], bins.size)
        weight = ledger.notional[kept]
        yield name, ratio(some.total(value[kept] * weight), some.total(weight))


def _repeated(names: Sequence[str], times: int) -> Any:
    """A column that holds the names one after the other, again and again."""
    return pd.array(names, dtype="str").take(np.tile(np.arange(len(names)), times))
