"""Damaged input of an A/B stage: each kind has its own name and status, and none passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmlib.config.load import shipped_dir
from mmlib.dtypes import Status
from mmlib.gates.spec import GateBook, load_gates
from mmlib.rollout import stage
from mmlib.rollout.damage import feed_problems
from mmlib.rollout.experiment import paired_experiment
from mmlib.rollout.safety import timeline
from tests.test_rollout_stage import START, UNHARMED, by_id, feeds, money

HOURS = 30


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(shipped_dir("params").parent)


def good() -> pd.DataFrame:
    return money(np.random.default_rng(0).normal(0.6, 0.2, HOURS))


def judged(book: GateBook, frame: pd.DataFrame, problems=()):
    minutes, ticks = feeds(HOURS)
    found = paired_experiment(frame, planned_buckets=HOURS, problems=problems)
    experiment = replace(found, segments=UNHARMED, turning_fills=0)
    return stage.judge(
        book, experiment, timeline(minutes, ticks, floor_ms=1.0), rollout_pct=10, previous=None, evidence="",
        planned_s=HOURS * 3600, span_s=HOURS * 3600,
    )  # fmt: skip


def arms_of(hours: int = HOURS, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ticks and fills of two arms on one symbol; each arm's inventory is the sum of its fills."""
    rng = np.random.default_rng(seed)
    at = START + pd.to_timedelta(np.arange(hours * 60), unit="min")
    ticks, fills = [], []
    for arm in ("A", "B"):
        side = rng.choice(["buy", "sell"], len(at))
        qty = rng.integers(1, 9, len(at)) * 0.001
        position = np.cumsum(np.where(side == "buy", qty, -qty))
        common = {"symbol": "X", "arm": arm}
        fills.append(pd.DataFrame({"ts": at + pd.Timedelta(seconds=20), **common, "side": side, "qty": qty}))
        known = np.concatenate([[0.0], position[:-1]])
        ticks.append(pd.DataFrame({"ts": at, "scheduled_ts": at, **common, "inventory": known}))
    return pd.concat(ticks, ignore_index=True), pd.concat(fills, ignore_index=True)


def only(problems) -> tuple[str, Status]:
    assert len(problems) == 1, problems
    return problems[0].kind, problems[0].status


def test_undamaged_feeds_and_buckets_have_no_problem(book: GateBook) -> None:
    assert feed_problems(*arms_of()) == ()
    verdict = judged(book, good())
    assert by_id(verdict)["ab.accept.input"] is Status.PASS
    assert verdict.action == "PROCEED"


@pytest.mark.parametrize("at", [3, 15, 28])
def test_arms_that_change_places_are_named_with_their_hour(book: GateBook, at: int) -> None:
    ticks, fills = arms_of()
    since = START + pd.Timedelta(hours=at)
    for frame in (ticks, fills):
        later = frame["ts"] >= since
        frame.loc[later, "arm"] = frame.loc[later, "arm"].map({"A": "B", "B": "A"})
    problems = feed_problems(ticks, fills)
    assert only(problems) == ("arms swapped", Status.ERROR)
    assert f"from {since:%Y-%m-%dT%H:%MZ} on" in problems[0].text
    verdict = judged(book, good(), problems)
    assert by_id(verdict)["ab.accept.input"] is Status.ERROR
    assert verdict.action == "HOLD"
    assert "arms swapped" in verdict.sentence


def test_lost_fills_are_not_taken_for_a_swap() -> None:
    ticks, fills = arms_of()
    lost = (fills["arm"] == "B") & (fills["ts"] > START + pd.Timedelta(hours=10)) & (fills["side"] == "buy")
    assert only(feed_problems(ticks, fills[~lost])) == ("fills lost", Status.ERROR)


def test_a_missing_arm_has_a_name_of_its_own(book: GateBook) -> None:
    verdict = judged(book, good()[lambda frame: frame["arm"] == "A"])
    assert by_id(verdict)["ab.accept.input"] is Status.NO_DATA
    assert verdict.action == "NO DATA"
    ticks, fills = arms_of()
    assert feed_problems(ticks[ticks["arm"] == "A"], fills[fills["arm"] == "A"]) == ()


def test_duplicated_buckets_are_refused_not_averaged(book: GateBook) -> None:
    frame = good()
    verdict = judged(book, pd.concat([frame, frame[frame["bucket"] == START].assign(net_bps=99.0)]))
    result = next(r for r in verdict.results if r.id == "ab.accept.input")
    assert result.status is Status.ERROR
    assert (
        "duplicated buckets: X arm A at 2025-01-15T00:00Z came more than once (and 3 more)" in result.reason
    )
    assert verdict.action == "HOLD"
    net = next(r for r in verdict.results if r.id == "ab.accept.net")
    assert net.n == HOURS - 1
    assert net.value is not None
    assert net.value < 5.0


def test_one_bucket_with_nearly_all_of_the_volume_does_not_decide(book: GateBook) -> None:
    frame = good()
    frame.loc[frame["bucket"] == START, "notional"] = 1e5 * 99 * (HOURS - 1)
    verdict = judged(book, frame)
    assert by_id(verdict)["ab.accept.input"] is Status.INCONCLUSIVE
    assert "holds 99% of the traded notional" in verdict.sentence
    assert verdict.action == "HOLD"


@pytest.mark.parametrize(
    ("column", "value", "status"),
    [
        ("net_bps", np.nan, Status.ERROR),
        ("net_bps", np.inf, Status.ERROR),
        ("notional", np.nan, Status.ERROR),
        ("slippage_bps", np.nan, Status.NO_DATA),
    ],
)
def test_what_is_not_a_number_is_named(book: GateBook, column: str, value: float, status: Status) -> None:
    frame = good()
    frame.loc[(frame["bucket"] == START) & (frame["arm"] == "B") & (frame["symbol"] == "Y"), column] = value
    verdict = judged(book, frame)
    result = next(r for r in verdict.results if r.id == "ab.accept.input")
    assert result.status is status
    words = "unknown" if np.isnan(value) else str(value)
    assert f"{column} of Y arm B at 2025-01-15T00:00Z is {words}" in result.reason
    assert verdict.action == "HOLD"


def test_a_clock_that_steps_back_ahead_or_off_its_schedule_is_told_apart() -> None:
    ticks, fills = arms_of()
    late = ticks["ts"] >= START + pd.Timedelta(hours=12)
    back = pd.Timedelta(minutes=40)
    stepped = ticks.assign(
        **{name: ticks[name].where(~late, ticks[name] - back) for name in ("ts", "scheduled_ts")}
    )
    stepped_fills = fills.assign(
        ts=fills["ts"].where(fills["ts"] < START + pd.Timedelta(hours=12), fills["ts"] - back)
    )
    kinds = {p.kind: p.status for p in feed_problems(stepped, stepped_fills)}
    assert kinds["clock stepped back"] is Status.ERROR
    ahead = ticks.assign(
        **{name: ticks[name].where(~late, ticks[name] + back) for name in ("ts", "scheduled_ts")}
    )
    shifted = fills.assign(
        ts=fills["ts"].where(fills["ts"] < START + pd.Timedelta(hours=12), fills["ts"] + back)
    )
    assert only(feed_problems(ahead, shifted)) == ("gap", Status.NO_DATA)
    set_off = ticks.assign(scheduled_ts=ticks["scheduled_ts"].where(~late, ticks["scheduled_ts"] + back))
    assert only(feed_problems(set_off, fills)) == ("clock was set", Status.ERROR)


def test_empty_feeds_are_no_damage() -> None:
    ticks, fills = arms_of()
    assert feed_problems(ticks.iloc[:0], fills.iloc[:0]) == ()
