"""A rollout stage: assignment, pairing, confidence, safety, verdict; what is missing never passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmlib._io import UserError
from mmlib.config.load import shipped_dir
from mmlib.dtypes import Status
from mmlib.gates.spec import GateBook, load_gates
from mmlib.rollout import stage
from mmlib.rollout.assign import assign_units
from mmlib.rollout.experiment import paired_experiment
from mmlib.rollout.safety import gate_lines, harm_series, timeline
from mmlib.rollout.segments import COLUMNS

START = pd.Timestamp("2025-01-15", tz="UTC")
UNHARMED = pd.DataFrame(
    [
        ("side", "buy", 300, 300, 0.1, 0.2, 0.7, 1.0, False),
        ("side", "sell", 9, 9, np.nan, np.nan, np.nan, np.nan, False),
    ],
    columns=list(COLUMNS),
)


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(shipped_dir("params").parent)


def money(
    delta: np.ndarray, slip: np.ndarray | float = -0.1, symbols: tuple[str, ...] = ("X", "Y")
) -> pd.DataFrame:
    """Hourly buckets of both arms; B is A plus ``delta``."""
    rng = np.random.default_rng(3)
    rows = []
    for symbol in symbols:
        base = rng.normal(0.5, 2.0, len(delta))
        for hour, d in enumerate(delta):
            at = START + pd.Timedelta(hours=hour)
            common = {"symbol": symbol, "bucket": at, "coverage": 1.0, "notional": 1e5}
            rows.append({**common, "arm": "A", "net_bps": base[hour], "slippage_bps": 1.0})
            slippage = 1.0 + (slip if np.isscalar(slip) else slip[hour])
            rows.append({**common, "arm": "B", "net_bps": base[hour] + d, "slippage_bps": slippage})
    return pd.DataFrame(rows)


def feeds(
    hours: float, slower_b: float = 1.0, miss_b: bool = False, lost: tuple[float, float] = (0.0, 0.0)
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Minute series and ticks of one symbol, two arms; B's ticks take ``slower_b`` times as long."""
    ts = START + pd.to_timedelta(np.arange(int(hours * 60)), unit="min")
    rng = np.random.default_rng(1)
    base = rng.gamma(4.0, 5.0, len(ts))
    minutes, ticks = [], []
    for arm, factor in (("A", 1.0), ("B", slower_b)):
        minutes.append(
            pd.DataFrame(
                {
                    "ts": ts,
                    "symbol": "X",
                    "arm": arm,
                    "slippage_bps": 1.0 - 0.1 * (arm == "B"),
                    "taker_share_pct": 3.0,
                    "deadline_miss_pct": 10.0 * (miss_b and arm == "B"),
                    "pnl": -np.linspace(0.0, lost[arm == "B"], len(ts)),
                }
            )
        )
        ticks.append(pd.DataFrame({"ts": ts, "symbol": "X", "arm": arm, "tick_total_ms": base * factor}))
    return pd.concat(minutes, ignore_index=True), pd.concat(ticks, ignore_index=True)


def judge(book: GateBook, frame: pd.DataFrame, hours: float = 30.0, pct: int = 10, previous=None, **feed):
    experiment = replace(
        paired_experiment(frame, planned_buckets=round(hours)), segments=UNHARMED, turning_fills=0
    )
    minutes, ticks = feeds(hours, **feed)
    safety = timeline(minutes, ticks, floor_ms=1.0)
    seconds = hours * 3600
    return stage.judge(
        book, experiment, safety, rollout_pct=pct, previous=previous, evidence="simulated: test", planned_s=seconds,
        span_s=seconds,
    )  # fmt: skip


def by_id(verdict) -> dict[str, Status]:
    return {result.id: result.status for result in verdict.results}


@pytest.mark.parametrize(
    ("lost", "broken"),
    [
        ((0.0, 900.0), set()),
        ((0.0, 1100.0), {"ab.safety.loss", "ab.safety.loss_of_b"}),
        ((1100.0, 1100.0), {"ab.safety.loss_of_b"}),
        ((-600.0, 600.0), {"ab.safety.loss"}),
    ],
)
def test_a_loss_past_the_budget_is_rolled_back(
    book: GateBook, lost: tuple[float, float], broken: set[str]
) -> None:
    verdict = judge(book, money(np.random.default_rng(0).normal(0.6, 0.2, 30)), lost=lost)
    failed = {name for name, status in by_id(verdict).items() if status is Status.FAIL}
    assert failed == broken
    assert verdict.action == ("ROLL BACK" if broken else "PROCEED")
    assert broken or "loss budget 1,000" in verdict.sentence
    assert (verdict.violation.gate if verdict.violation else None) in (broken or {None})


def test_assignment_is_seeded_close_to_its_share_and_never_by_fills() -> None:
    units = [(s, START + pd.Timedelta(hours=h)) for s in ("X", "Y") for h in range(2000)]
    for pct in (10, 50, 100):
        treated = assign_units(units, pct, seed=1)["treated"]
        assert abs(treated.mean() - pct / 100) < 0.03
        assert treated.equals(assign_units(units, pct, seed=1)["treated"])
    at_10, at_50 = (assign_units(units, pct, seed=1)["treated"] for pct in (10, 50))
    assert (at_10 <= at_50).all(), "a unit treated at 10 % stays treated at 50 %"
    assert not at_50.equals(assign_units(units, 50, seed=2)["treated"])
    with pytest.raises(UserError, match="expected one of 10, 50, 100"):
        assign_units(units, 20, seed=1)


def test_the_effect_is_the_mean_over_symbols_of_b_minus_a() -> None:
    delta = np.array([0.5, -0.25, 1.0])
    found = paired_experiment(money(delta), planned_buckets=3)
    np.testing.assert_allclose(found.net["delta"], delta)
    np.testing.assert_allclose(found.net["mean"], np.cumsum(delta) / [1, 2, 3])
    assert found.delivered == {"A": 6, "B": 6}
    assert found.srm_p == 1.0


def test_a_clear_gain_proceeds(book: GateBook) -> None:
    delta = np.random.default_rng(0).normal(0.6, 0.2, 30)
    verdict = judge(book, money(delta))
    assert set(by_id(verdict).values()) == {Status.PASS}
    assert verdict.action == "PROCEED"
    assert verdict.sentence.startswith("Proceed")


def test_noise_holds_and_says_how_much_longer(book: GateBook) -> None:
    rng = np.random.default_rng(5)
    delta = rng.normal(0.0, 1.0, 30)
    delta += 0.3 - delta.mean()
    verdict = judge(book, money(delta))
    assert by_id(verdict)["ab.accept.net"] is Status.INCONCLUSIVE
    assert verdict.action == "HOLD"
    assert verdict.hours_needed is not None
    assert verdict.hours_needed > 0
    assert f"about {verdict.hours_needed:.0f} h more" in verdict.sentence


def test_an_effect_below_the_limit_is_never_a_matter_of_waiting(book: GateBook) -> None:
    verdict = judge(book, money(np.full(30, 0.1) + np.random.default_rng(1).normal(0, 0.05, 30)))
    assert by_id(verdict)["ab.accept.net"] in (Status.FAIL, Status.INCONCLUSIVE)
    assert verdict.hours_needed is None
    assert verdict.action == "HOLD"


def test_established_harm_rolls_back(book: GateBook) -> None:
    slip = np.random.default_rng(2).normal(1.0, 0.1, 30)
    verdict = judge(book, money(np.full(30, 0.5), slip))
    assert by_id(verdict)["ab.safety.slippage"] is Status.FAIL
    assert verdict.action == "ROLL BACK"
    assert "ab.safety.slippage" in verdict.sentence


def test_the_literal_rule_fires_on_chance_where_the_gate_does_not(book: GateBook) -> None:
    minutes, ticks = feeds(30)
    rising = minutes["slippage_bps"].where(
        minutes["arm"] == "A", 1.01
    )  # a hundredth of a basis point, all along
    slip = np.random.default_rng(4).normal(0.0, 1.0, 30)
    experiment = paired_experiment(money(np.full(30, 0.5), slip), planned_buckets=30)
    safety = timeline(minutes.assign(slippage_bps=rising), ticks, floor_ms=1.0)
    verdict = stage.judge(
        book,
        experiment,
        safety,
        rollout_pct=10,
        previous=None,
        evidence="",
        planned_s=108_000,
        span_s=108_000,
    )
    assert by_id(verdict)["ab.safety.slippage"] is Status.PASS
    assert verdict.literal[0].status is Status.FAIL
    assert verdict.literal[0].severity == "info"


def test_slow_or_late_ticks_of_b_roll_back(book: GateBook) -> None:
    good = money(np.full(30, 0.5))
    assert by_id(judge(book, good, slower_b=1.05))["ab.safety.tick_p95"] is Status.PASS
    assert by_id(judge(book, good, slower_b=1.2))["ab.safety.tick_p95"] is Status.FAIL
    assert judge(book, good, miss_b=True).action == "ROLL BACK"


def test_microseconds_do_not_roll_back_but_are_recorded(book: GateBook) -> None:
    minutes, ticks = feeds(30, slower_b=1.5)
    safety = timeline(minutes, ticks.assign(tick_total_ms=ticks["tick_total_ms"] * 1e-6), floor_ms=1.0)
    assert (safety["tick_p95_regression_pct"].dropna() == 0).all()
    assert (safety["literal_regression_pct"].dropna() > 40).all()


def test_a_missing_arm_is_no_data(book: GateBook) -> None:
    frame = money(np.full(30, 0.5))
    verdict = judge(book, frame[frame["arm"] == "A"])
    found = by_id(verdict)
    assert found["ab.accept.net"] is Status.NO_DATA
    assert verdict.action == "NO DATA"
    assert "no ticks of arm B" in verdict.sentence
    assert judge(book, frame[frame["arm"] == "C"]).action == "NO DATA"


def test_uneven_delivery_fails_the_sample_ratio(book: GateBook) -> None:
    frame = money(np.full(60, 0.6) + np.random.default_rng(0).normal(0, 0.1, 60))
    lost = (frame["arm"] == "B") & (frame["bucket"] >= START + pd.Timedelta(hours=25))
    verdict = judge(book, frame[~lost], hours=60)
    assert by_id(verdict)["ab.accept.srm"] is Status.FAIL
    assert verdict.action == "HOLD"


def test_thin_buckets_are_left_out_and_counted(book: GateBook) -> None:
    frame = money(np.full(30, 0.5))
    frame.loc[frame["bucket"] == START, "coverage"] = 0.5
    frame.loc[frame["bucket"] == START + pd.Timedelta(hours=1), "notional"] = 0.0
    found = paired_experiment(frame, planned_buckets=30)
    assert found.buckets == 28
    assert sorted(found.left_out["reason"].unique()) == ["coverage below 90%", "neither arm traded"]


def test_stages_advance_only_from_a_pass(book: GateBook) -> None:
    good = money(np.random.default_rng(0).normal(0.6, 0.2, 30))
    assert by_id(judge(book, good, pct=50, previous=Status.PASS))["ab.accept.previous"] is Status.PASS
    held = judge(book, good, pct=50, previous=Status.INCONCLUSIVE)
    assert by_id(held)["ab.accept.previous"] is Status.INCONCLUSIVE
    assert held.action == "HOLD"
    assert by_id(judge(book, good, pct=100))["ab.accept.previous"] is Status.NO_DATA
    assert {r.step for r in held.results} == {"ab_50"}


def test_a_stage_cut_short_does_not_pass(book: GateBook) -> None:
    experiment = paired_experiment(money(np.full(30, 0.6)), planned_buckets=48)
    minutes, ticks = feeds(30)
    verdict = stage.judge(
        book, experiment, timeline(minutes, ticks, floor_ms=1.0), rollout_pct=10, previous=None, evidence="",
        planned_s=48 * 3600, span_s=30 * 3600,
    )  # fmt: skip
    assert verdict.action == "HOLD"
    assert Status.PASS not in {by_id(verdict)[i] for i in ("ab.safety.taker_share", "ab.accept.net")}


def test_harm_is_known_only_after_its_bucket() -> None:
    effect = pd.DataFrame({"bucket": [START, START + pd.Timedelta(hours=1)], "lower": [-1.0, 2.0]})
    ts = pd.Series(START + pd.to_timedelta([0, 59, 60, 119, 120, 180], unit="min"))
    _, values = harm_series(effect, ts, 3600)["all symbols"]
    np.testing.assert_array_equal(values, [np.nan, np.nan, -1.0, -1.0, 2.0, 2.0])


def test_an_hourly_p95_equals_the_naive_one() -> None:
    minutes, ticks = feeds(3)
    found = timeline(
        minutes, ticks.assign(tick_total_ms=ticks["tick_total_ms"].where(ticks["arm"] == "A", 7.0))
    )
    at = START + pd.Timedelta(minutes=130)
    window = ticks[(ticks["arm"] == "A") & (ticks["ts"] <= at) & (ticks["ts"] > at - pd.Timedelta(hours=1))]
    p95 = np.sort(window["tick_total_ms"])[
        57 - 1
    ]  # of sixty values; buckets hide a thousandth on either side
    assert found.set_index("ts").loc[at, "tick_p95_regression_pct"] == pytest.approx(
        (7.0 / p95 - 1) * 100, abs=0.2
    )


def test_lines_for_the_figure_carry_their_limits(book: GateBook) -> None:
    minutes, ticks = feeds(3)
    lines = gate_lines(timeline(minutes, ticks), book.step("ab_10"))
    assert set(lines.columns) == {"ts", "gate", "value", "limit", "unit"}
    assert lines.groupby("gate")["limit"].nunique().eq(1).all()
    assert lines["gate"].nunique() == 6


def test_the_bound_that_decides_stands_below_the_line_it_replaces(book: GateBook) -> None:
    minutes, ticks = feeds(30)
    slip = np.random.default_rng(0).normal(0, 1, 30)
    found = paired_experiment(money(slip, slip), planned_buckets=30)
    lines = gate_lines(timeline(minutes, ticks), book.step("ab_10"), found.harm)
    names = list(dict.fromkeys(lines["gate"]))
    assert names[1] == f"{names[0]}: lower bound, which decides"
    bound = lines[lines["gate"] == names[1]].set_index("ts")["value"]
    assert bound[START + pd.Timedelta(hours=29)] == found.slippage["lower"].iloc[28]
    assert np.isnan(bound[START + pd.Timedelta(hours=2)])


def test_hours_too_few_to_bound_harm_are_no_pass(book: GateBook) -> None:
    verdict = judge(book, money(np.full(8, 0.5)), hours=8)
    assert by_id(verdict)["ab.safety.slippage"] is Status.INCONCLUSIVE
    assert by_id(judge(book, money(np.full(30, 0.5))))["ab.safety.slippage"] is Status.PASS


def test_a_clearly_harmed_segment_holds_a_stage_that_gains_on_the_whole(book: GateBook) -> None:
    frame = money(np.random.default_rng(0).normal(0.6, 0.2, 30))
    experiment = paired_experiment(frame, planned_buckets=30)
    harmed = UNHARMED.assign(effect_bps=[-14.0, np.nan], p_holm=[0.001, np.nan], harmed=[True, False])
    for parts, action in (
        (UNHARMED, "PROCEED"),
        (harmed, "HOLD"),
        (UNHARMED.iloc[1:], "HOLD"),
        (None, "HOLD"),
    ):
        judged = replace(experiment, segments=parts, turning_fills=0)
        verdict = stage.judge(
            book, judged, timeline(*feeds(30), floor_ms=1.0), rollout_pct=10, previous=None, evidence="test",
            planned_s=30 * 3600, span_s=30 * 3600,
        )  # fmt: skip
        assert verdict.action == action
        assert action == "PROCEED" or "ab.accept.segments" in verdict.sentence
    held = next(r for r in verdict.results if r.id == "ab.accept.segments")
    assert held.status is Status.NO_DATA
