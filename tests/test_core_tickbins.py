"""Ticks to intervals against plain loops; batches, mixed groups, unknown and odd values, and ticks outside change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmlib.core import tickbins as tb
from mmlib.core.histogram import RELATIVE_ERROR
from tests import naive_tickbins as naive

GROUPS, INTERVALS = 3, 4
STEP_NS = 10_000_000_000
ORIGIN_NS = 1_736_899_200_000_000_000
END_NS = ORIGIN_NS + INTERVALS * STEP_NS


def some_ticks(n: int, seed: int) -> list[dict[str, Any]]:
    """Ticks of all groups, mixed, in the order of time and some at the same; group -1, NaN, infinities and times outside."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(ORIGIN_NS - STEP_NS, END_NS + STEP_NS, n))
    times[1::7] = times[:-1:7]
    ticks = []
    for ts in times.tolist():
        stages = rng.lognormal(1.0, 2.0, tb.STAGES)
        stages[rng.random(tb.STAGES) < 0.1] = rng.choice([np.nan, np.inf, -1.0, 0.0])
        others = np.array([60_000.0 + rng.normal(), rng.normal(2.0), rng.normal(), 200.0 + rng.random()])
        others[rng.random(4) < 0.3] = np.nan
        ticks.append(
            {
                "ts": ts,
                "group": int(rng.integers(-1, GROUPS)),
                "flags": (rng.random(4) < 0.3).tolist(),
                "guard": int(rng.integers(0, 3)),
                "errors": int(rng.integers(0, 3)),
                "values": [*stages.tolist(), *others.tolist()],
            }
        )
    return ticks


def add(ticks: list[dict[str, Any]], bins: tb.TickBins, lower_ns: int, upper_ns: int) -> None:
    """Hand ticks to the kernel."""

    def column(name: str, dtype: type) -> np.ndarray:
        return np.array([tick[name] for tick in ticks], dtype)

    flags = column("flags", np.bool_).reshape(-1, 4)
    values = column("values", np.float64).reshape(-1, tb.STAGES + 4)
    tb.add_ticks(
        *(column(name, np.int64) for name in ("ts", "group")),
        tuple(np.ascontiguousarray(flags[:, k]) for k in range(4)),
        *(column(name, np.int64) for name in ("guard", "errors")),
        tuple(np.ascontiguousarray(values[:, k]) for k in range(tb.STAGES + 4)),
        lower_ns,
        upper_ns,
        ORIGIN_NS,
        STEP_NS,
        bins,
    )


def questions(seed: int, ticks: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Times to ask for, of each group: before, between, at and after its ticks; the second group has none."""
    rng = np.random.default_rng(seed)
    at = np.array([tick["ts"] for tick in ticks[::9]], np.int64)
    parts = [
        np.unique(np.concatenate([rng.integers(ORIGIN_NS - STEP_NS, END_NS + STEP_NS, 12), at]))
        for _ in range(GROUPS)
    ]
    parts[1] = parts[1][:0]
    return np.concatenate(parts), np.cumsum([0, *(len(part) for part in parts)])


@pytest.mark.parametrize(("n", "batches"), [(0, 1), (1, 1), (8, 3), (240, 1), (240, 5)])
def test_every_figure_is_what_plain_loops_find(n: int, batches: int) -> None:
    ticks = some_ticks(n, seed=n)
    asked_ns, ends = questions(n + 1, ticks)
    bins = tb.new_bins(GROUPS, INTERVALS, asked_ns, ends)
    lower_ns, upper_ns = ORIGIN_NS + STEP_NS // 3, END_NS - STEP_NS // 3
    for part in np.array_split(np.arange(n), batches):
        add([ticks[k] for k in part], bins, lower_ns, upper_ns)
    tb.finish_bins(bins)
    for g in range(GROUPS):
        own = [t for t in ticks if t["group"] == g and lower_ns <= t["ts"] < upper_ns]
        for i in range(INTERVALS):
            inside = [t for t in own if (t["ts"] - ORIGIN_NS) // STEP_NS == i]
            assert bins.counts[g, i].tolist() == naive.counts(inside)
            assert bins.sums[g, i].tolist() == pytest.approx(naive.sums(inside), rel=1e-9, nan_ok=True)
            marks = [t["ts"] for t in inside if not np.isnan(t["values"][tb.STAGES])]
            assert bins.mark_ns[g, i] == (marks[-1] if marks else tb.NEVER)
            for got, exact in zip(bins.quantile[g, i].tolist(), naive.quantiles(inside), strict=True):
                assert got == pytest.approx(exact, rel=RELATIVE_ERROR, abs=1e-6, nan_ok=True)
        assert bins.tick_ns[g].tolist() == ([own[0]["ts"], own[-1]["ts"]] if own else [tb.NEVER] * 2)
        first = next((t for t in own if not np.isnan(t["values"][tb.STAGES])), None)
        assert bins.first_mark[g] == (first["ts"] if first else tb.NEVER)
        assert first is None or bins.first_mid[g] == first["values"][tb.STAGES]
        expected = naive.distances(own)
        assert {
            int(k): tuple(bins.distance[g, :, k].tolist()) for k in np.flatnonzero(bins.distance[g, 0])
        } == expected
        held_ns, held = naive.opening(own)
        assert bins.n_opening[g] == len(held)
        assert bins.opening_ns[g, : len(held)].tolist() == held_ns.tolist()
        assert bins.opening[g, : len(held)].tolist() == held.tolist()
        for k in range(int(ends[g]), int(ends[g + 1])):
            got = int(bins.answer_ns[k]), float(bins.answer[k])
            assert got == pytest.approx(naive.answer(own, int(asked_ns[k])), rel=0, abs=0, nan_ok=True)


def test_percentiles_of_one_value_are_that_value() -> None:
    bins = tb.new_bins(1, 1, np.empty(0, np.int64), np.zeros(2, np.int64))
    tick = {"ts": ORIGIN_NS, "group": 0, "flags": [False] * 4, "guard": 0, "errors": 0, "values": [7.3] * 11}
    add([tick] * 3, bins, ORIGIN_NS, END_NS)
    tb.finish_bins(bins)
    assert (bins.quantile == 7.3).all()
    assert (
        not bins.counted.any() and not bins.distance.any()
    )  # ready for the next interval; no distance at all


def test_closing_twice_changes_nothing() -> None:
    ticks = some_ticks(60, seed=5)
    asked_ns, ends = questions(6, ticks)
    bins = tb.new_bins(GROUPS, INTERVALS, asked_ns, ends)
    add(ticks, bins, ORIGIN_NS, END_NS)
    tb.finish_bins(bins)
    before = [np.array(one, copy=True) for one in bins[:-1]]
    tb.finish_bins(bins)
    for one, other in zip(before, bins[:-1], strict=True):
        np.testing.assert_array_equal(one, other)
