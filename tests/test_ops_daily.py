"""The daily summary: health from gates and firings, uptime from gaps, firings exact, nothing from nothing."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib._io import UserError
from mmlib.core.histogram import Histogram
from mmlib.dtypes import Status
from mmlib.feeds.columns import empty_frame
from mmlib.gates.spec import GateBook, load_gates
from mmlib.metrics.parts import Part, parts
from mmlib.ops import actions, compare, daily, day_tables, facts, firings
from mmlib.ops.day import Day, load_day, parse_date
from mmlib.ops.error_codes import error_codes
from mmlib.ops.facts import Figures
from tests import make_days


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(Path(__file__).resolve().parents[1])


def a_day(ticks: pd.DataFrame, fills: pd.DataFrame | None = None, **rest: int) -> Day:
    nothing = empty_frame("fills").drop(columns="_line")
    return Day(date(2025, 1, 15), ticks, nothing if fills is None else fills, **rest)


def cut(ticks: pd.DataFrame) -> list[Part]:
    return parts(ticks, empty_frame("fills"))


def full(every_s: int = 10) -> pd.DataFrame:
    return make_days.ticks(86400 // every_s, every_s=every_s)


def test_a_good_day_is_healthy_and_adds_up(book: GateBook) -> None:
    ticks = full()
    fills = make_days.fills(ticks["ts"][::6])
    found = daily.daily_summary(a_day(ticks, fills), book)
    assert found.health == daily.HEALTHY
    assert found.status is Status.PASS
    assert found.actions == ()
    assert found.totals["n_fills"] == len(fills)
    assert found.totals["notional"] == pytest.approx((fills["price"] * fills["qty"]).sum())
    assert found.totals["net_bps"] == pytest.approx(10.0)
    assert found.uptime["uptime_pct"].tolist() == [100.0]
    assert len(found.minutes) == 1440


def test_a_day_without_ticks_is_no_data_never_pass(book: GateBook) -> None:
    found = daily.daily_summary(a_day(empty_frame("ticks").drop(columns="_line")), book)
    assert found.health == daily.NO_DATA
    assert found.status is Status.NO_DATA
    assert {r.status for r in found.results} == {Status.NO_DATA}
    assert len(found.actions) == 1


def test_only_the_hour_before_midnight_is_no_data(book: GateBook) -> None:
    before = make_days.ticks(300, start=make_days.DAY - pd.Timedelta(hours=1))
    assert daily.daily_summary(a_day(before), book).health == daily.NO_DATA


def test_a_losing_day_is_degraded_and_says_what_to_do(book: GateBook) -> None:
    ticks = full()
    found = daily.daily_summary(a_day(ticks, make_days.fills(ticks["ts"][::6], edge=-0.1)), book)
    assert found.health == daily.DEGRADED
    assert any(a == f"daily.net_bps is violated: {book.get('daily.net_bps').runbook}" for a in found.actions)


def test_a_day_without_fills_decides_nothing_about_money(book: GateBook) -> None:
    found = daily.daily_summary(a_day(full()), book)
    by_id = {r.id: r.status for r in found.results}
    assert by_id["daily.net_bps"] is Status.NO_DATA
    assert found.health == daily.DEGRADED
    assert np.isnan(found.totals["net_bps"])


def test_taking_everything_for_hours_is_critical(book: GateBook) -> None:
    ticks = full()
    found = daily.daily_summary(a_day(ticks, make_days.fills(ticks["ts"][::6], taker=True)), book)
    assert found.health == daily.CRITICAL
    assert {"daily.stop.taker_share", "soak.stop.taker_share"} <= set(found.fired["gate"])


@pytest.mark.parametrize(("minutes", "fires"), [(10, False), (11, True)])
def test_deadline_misses_fire_after_ten_minutes_and_not_before(
    book: GateBook, minutes: int, fires: bool
) -> None:
    ticks = full()
    first = 6 * 300
    ticks.loc[first : first + 6 * minutes - 1, "deadline_miss"] = True
    found = daily.daily_summary(a_day(ticks), book).fired
    hit = found[found["gate"] == "soak.stop.deadline_miss"]
    assert len(hit) == int(fires)
    if fires:
        row = hit.iloc[0]
        assert row["start"] == make_days.DAY + pd.Timedelta(minutes=300)
        assert row["end"] == make_days.DAY + pd.Timedelta(minutes=310)
        assert row["fired"] == row["end"]
        assert row["worst"] == 100.0
        assert row["severity"] == "critical"


def test_outages_are_counted_and_shown(book: GateBook) -> None:
    ticks = full()
    ticks = ticks.drop(index=range(1000, 1060)).reset_index(drop=True)
    found = daily.daily_summary(a_day(ticks), book)
    row = found.uptime.iloc[0]
    assert (row["gaps"], row["longest_gap_s"], row["down_s"]) == (1, 610.0, 600.0)
    assert row["uptime_pct"] == pytest.approx(100 * (1 - 600 / 86390))
    assert any("outages: 1, the longest 610 s" in action for action in found.actions)


def test_quarantined_lines_are_reported(book: GateBook) -> None:
    assert any("7 lines" in a for a in daily.daily_summary(a_day(full(), quarantined=7), book).actions)


def test_the_hour_before_midnight_warms_trailing_metrics_but_is_not_counted(book: GateBook) -> None:
    lead = make_days.ticks(360, start=make_days.DAY - pd.Timedelta(hours=1))
    ticks = pd.concat([lead, full()], ignore_index=True)
    found = daily.daily_summary(a_day(ticks), book)
    assert found.totals["n_ticks"] == 8640
    assert found.minutes["ts"].min() == make_days.DAY
    assert np.isfinite(found.minutes["rss_slope_mb_per_h"].iloc[0])


def test_guards_count_entries_and_shares() -> None:
    ticks = make_days.ticks(10).assign(guard_level=[0, 1, 1, 0, 2, 2, 1, 0, 0, 1])
    row = day_tables.guards(cut(ticks)).iloc[0]
    assert (row["soft_pct"], row["hard_pct"]) == (40.0, 20.0)
    assert (row["soft_triggers"], row["hard_triggers"]) == (3, 1)


def test_errors_find_the_worst_minute_and_every_opening() -> None:
    ticks = make_days.ticks(18)
    ticks.loc[[2, 7, 8], "errors"] = [3, 2, 2]
    ticks.loc[[0, 4, 5, 9], "breaker_open"] = True
    row = day_tables.errors(cut(ticks)).iloc[0]
    assert (row["errors"], row["worst_minute"], row["openings"]) == (7, 4, 3)
    assert row["worst_at"] == make_days.DAY + pd.Timedelta(minutes=1)


def test_cache_shares_and_age() -> None:
    ticks = make_days.ticks(4).assign(
        cache_hit=[True, True, True, False], cache_age_ms=[10.0, 10.0, np.nan, 500.0]
    )
    row = day_tables.cache(cut(ticks)).iloc[0]
    assert row["hit_ratio"] == 0.75
    assert row["cache_age_p50_ms"] == pytest.approx(10.0, rel=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 12])
def test_a_symbol_is_ranked_once(count: int) -> None:
    edge = pd.DataFrame(
        {"symbol": [f"S{i}" for i in range(count)], "n_fills": 1, "notional": 1.0, "pnl": 0.0}
    )
    edge["net_bps"] = np.arange(count, dtype=float)
    best, worst = day_tables.symbol_ranking(edge)
    assert len(best) <= 5
    assert len(worst) <= 3
    assert not set(best["symbol"]) & set(worst["symbol"])
    assert best["net_bps"].is_monotonic_decreasing
    assert worst["net_bps"].is_monotonic_increasing
    if count:
        assert best["symbol"].iloc[0] == f"S{count - 1}"
    if count > 1:
        assert worst["symbol"].iloc[0] == "S0"


def test_memory_is_the_first_and_the_last_that_any_symbol_reported() -> None:
    one = make_days.ticks(4).assign(rss_mb=[np.nan, 5.0, 9.0, 3.0])
    other = make_days.ticks(4, symbol="ETHUSDT").assign(rss_mb=[7.0, 2.0, 4.0, np.nan])
    (row,) = day_tables.memory(cut(pd.concat([one, other])), pd.DataFrame()).to_dict("records")
    assert (row["first_mb"], row["last_mb"], row["lowest_mb"], row["highest_mb"]) == (7.0, 3.0, 2.0, 9.0)


def test_rows_of_a_symbol_are_put_in_the_order_of_time() -> None:
    ticks = make_days.ticks(6).assign(breaker_open=[False, True, True, False, True, False])
    shuffled = ticks.iloc[[3, 0, 5, 1, 4, 2]]
    assert day_tables.errors(cut(shuffled))["openings"].tolist() == [2]
    (part,) = cut(shuffled)
    hour = part.between(make_days.DAY + pd.Timedelta(seconds=10), make_days.DAY + pd.Timedelta(seconds=40))
    assert hour.ticks["ts"].tolist() == ticks["ts"][1:4].tolist()


def test_memory_of_a_feed_that_never_reports_it_is_no_row() -> None:
    assert day_tables.memory(cut(make_days.ticks(3).assign(rss_mb=np.nan)), pd.DataFrame()).empty


def test_firings_look_at_the_gate_arm_only_and_at_the_process_once(book: GateBook) -> None:
    ts = pd.date_range(make_days.DAY, periods=30, freq="min")
    both = [pd.DataFrame({"ts": ts, "symbol": "X", "arm": arm, "deadline_miss_pct": 3.0}) for arm in "AB"]
    minutes = pd.concat(both, ignore_index=True).assign(rss_slope_mb_per_h=150.0)
    gates = [book.get("ab.safety.deadline_miss"), book.get("soak.stop.memory_leak")]
    found = firings.firings(minutes, gates)
    assert found["who"].tolist() == ["X", "process"]


def test_firings_in_short_add_up_and_keep_the_worst(book: GateBook) -> None:
    minutes = pd.DataFrame(
        {
            "ts": np.tile(pd.date_range(make_days.DAY, periods=120, freq="min", unit="ns"), 2),
            "symbol": np.repeat(["X", "Y"], 120),
            "arm": "A",
            "hit_ratio": 0.9,
        }
    )
    for symbol, start, stop, value in (("X", 5, 40, 0.4), ("X", 50, 90, 0.2), ("Y", 30, 75, 0.3)):
        at = (minutes["symbol"] == symbol) & (minutes.groupby("symbol").cumcount().between(start, stop))
        minutes.loc[at, "hit_ratio"] = value
    fired = firings.firings(minutes, [book.get("soak.stop.hit_ratio")])
    short = firings.in_short(fired, book)
    assert short[["who", "times", "minutes", "worst"]].to_numpy().tolist() == [
        ["X", 2, 75.0, 0.2],
        ["Y", 1, 45.0, 0.3],
    ]
    assert [f"{at:%H:%M}" for at in (*short["start"], *short["end"])] == ["00:05", "00:30", "01:30", "01:15"]
    assert firings.in_short(fired.iloc[:0], book).empty


@pytest.mark.parametrize("text", ["2025-02-30", "2025-1-1", "yesterday", "", "20250101", "2025-01-01T00"])
def test_a_date_that_does_not_exist_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected YYYY-MM-DD"):
        load_day(tmp_path, text)


def test_latest_is_the_last_day_with_a_file(tmp_path: Path) -> None:
    for name in ("20250114", "20250116", "20259999", "x"):
        (tmp_path / f"pipeline_ticks_{name}.jsonl").touch()
    assert parse_date("latest", tmp_path) == date(2025, 1, 16)


def test_an_absent_directory_is_a_day_without_data(tmp_path: Path, book: GateBook) -> None:
    found = daily.daily_summary(load_day(tmp_path / "none", "2025-01-15"), book)
    assert found.health == daily.NO_DATA


def test_a_session_that_ends_at_noon_covers_half_the_day_and_says_so(book: GateBook) -> None:
    found = daily.daily_summary(a_day(make_days.ticks(4320)), book)
    assert found.uptime["uptime_pct"].tolist() == [100.0]
    assert found.uptime["day_pct"].tolist() == [50.0]
    assert any("ticks cover 50.0 % of the day, 00:00:00 to 11:59:50" in action for action in found.actions)


def test_a_violated_threshold_of_the_day_is_an_alert_at_midnight(book: GateBook) -> None:
    ticks = full()
    fired = daily.daily_summary(a_day(ticks, make_days.fills(ticks["ts"][::6], edge=-0.1)), book).fired
    row = fired[fired["gate"] == "daily.net_bps"].iloc[0]
    assert (row["who"], row["fired"]) == ("all", make_days.DAY + pd.Timedelta(days=1))
    assert row["worst"] == pytest.approx(-10.0)


# --- errors by code ---------------------------------------------------------------------------------------------------


def coded(tmp_path: Path, rows: list[tuple[int, object]], errors: int = 3) -> pd.DataFrame:
    """Error codes of ten ticks, the file's lines given as (tick, what stands in error_codes)."""
    ticks = make_days.ticks(10).assign(errors=errors)
    lines = [
        json.dumps(
            {
                "ts": ticks["ts"][k].isoformat(),
                "symbol": "BTCUSDT",
                "arm": "A",
                "errors": errors,
                "error_codes": c,
            }
        )
        for k, c in rows
    ]
    path = tmp_path / "pipeline_ticks_20250115.jsonl"
    path.write_text("\n".join([*lines, "not JSON error_codes", '{"error_codes": {"A": 1}}']))
    return error_codes(cut(ticks), [path], 0.5)


def test_errors_are_counted_by_code_with_their_rate_and_the_rest_has_none(tmp_path: Path) -> None:
    found = coded(tmp_path, [(0, {"ERR_TIMEOUT": 2, "ERR_429_RATE_LIMIT": 1}), (3, {"ERR_TIMEOUT": 3})])
    assert found["code"].tolist() == ["no code", "ERR_TIMEOUT", "ERR_429_RATE_LIMIT"]
    assert found["n"].tolist() == [24, 5, 1]
    assert found["per_h"].tolist() == [48.0, 10.0, 2.0]
    assert found["share_pct"].sum() == pytest.approx(100.0)


@pytest.mark.parametrize(
    "codes", [{"<script>": 1}, {"ERR": -1}, {"ERR": True}, {"ERR": 1.5}, {"ERR": 4}, ["ERR"], None, "ERR"]
)
def test_codes_that_are_none_leave_their_errors_without_one(tmp_path: Path, codes: object) -> None:
    found = coded(tmp_path, [(0, codes)])
    assert found[["code", "n"]].to_numpy().tolist() == [["no code", 30]]


@pytest.mark.parametrize("block", [1, 7, 64, 300, 1 << 20])
def test_codes_are_found_wherever_a_block_of_the_file_ends(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmlib.ops.error_codes._BLOCK", block)
    found = coded(tmp_path, [(k, {"ERR_TIMEOUT": 1}) for k in range(10)])
    assert found[["code", "n"]].to_numpy().tolist() == [["no code", 20], ["ERR_TIMEOUT", 10]]


def test_no_errors_no_codes(tmp_path: Path) -> None:
    assert coded(tmp_path, [(0, {"ERR": 1})], errors=0).empty


# --- figures, comparison ------------------------------------------------------------------------------------------------


def figures(name: str, pnl: float, ms: float, gross: float = 1.0) -> Figures:
    sums = {
        "n_ticks": 10.0,
        "hits": 9.0,
        "deadline_misses": 0.0,
        "errors": 1.0,
        "up_s": 3600.0,
        "day_s": 86400.0,
    }
    sums |= {"n_fills": 4.0, "notional": 1e4, "taker_notional": 500.0, "pnl": pnl, "gross_pnl": gross}
    sums |= {
        "travel_cost": 0.5,
        "slippage_cost": 0.5,
        "slippage_notional": 1000.0,
        "fees": 0.1,
        "inventory_pnl": 0.0,
    }
    return Figures(
        name, sums, {"tick_total": Histogram([ms] * 10), "fetch_md": Histogram([ms] * 10)}, "HEALTHY"
    )


def test_figures_survive_their_file_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "2025-01-15.json"
    one = figures("2025-01-15", 3.0, 20.0)
    facts.write_figures(path, one)
    assert facts.read_figures(path) == one
    assert facts.read_figures(tmp_path / "none.json") is None
    path.write_text('{"schema": 1}')
    with pytest.raises(UserError, match="write that day again"):
        facts.read_figures(path)


def test_a_week_is_made_of_sums_and_histograms() -> None:
    whole = facts.merged(
        "week", [figures("a", 3.0, 10.0), figures("b", -1.0, 100.0), figures("c", 1.0, 10.0)]
    )
    assert whole is not None
    assert whole.value("net_bps") == pytest.approx(1e4 * 3.0 / 3e4)
    assert whole.value("tick_total_p50_ms") == pytest.approx(10.0, rel=1e-3)
    assert whole.value("tick_total_p95_ms") == pytest.approx(100.0, rel=1e-3)
    assert facts.merged("week", []) is None
    assert [str(d) for d in facts.week_of(date(2025, 1, 1))][::6] == ["2024-12-30", "2025-01-05"]
    assert facts.week_name(date(2024, 12, 30)) == "2025-W01"


def test_the_comparison_finds_a_slower_tick_and_a_net_that_turned() -> None:
    today, before = figures("b", -2.0, 30.0, gross=-1.0), figures("a", 1.0, 20.0)
    table = compare.comparison(today, before, None, 0, figures("baseline", 0.0, 29.0))
    found = compare.findings(table)
    assert any("the whole tick is 50 % above the day before (30 ms, then 20 ms)" in text for text in found)
    assert not any("baseline" in text for text in found)
    assert any("Net turned from +1.00 to -2.00 bps; gross changed most (-2.00 bps)" in text for text in found)
    alone = compare.comparison(today, None, None, 0, None)
    assert compare.findings(alone) == []
    assert alone["previous"].isna().all()


def test_a_code_of_many_symbols_is_one_thing_to_do() -> None:
    rows = [("BTCUSDT", arm, "no code", n, 1.0, 100.0) for arm, n in (("A", 20), ("B", 31))]
    rows += [("ETHUSDT", "A", "ERR_TIMEOUT", 12, 1.0, 80.0), ("ETHUSDT", "A", "ERR_OTHER", 3, 0.2, 20.0)]
    codes = pd.DataFrame(rows, columns=["symbol", "arm", "code", "n", "per_h", "share_pct"])
    nothing = day_tables.errors([])
    todo = actions.actions([], [], firings.firings(pd.DataFrame(), []), nothing, nothing, codes, 0)
    assert [line.split(";")[0] for line in todo] == [
        "51 errors without a code on 2 symbols and arms, most on BTCUSDT arm B (31)",
        "12 errors ERR_TIMEOUT on ETHUSDT arm A",
    ]
