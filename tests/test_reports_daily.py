"""The daily report on 48 hours of a real market: every figure in it, recomputed from the feeds by another program."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib.config.load import load_config
from mmlib.engine.session import SessionSpec, run_session
from mmlib.feeds.sidecar import stated
from mmlib.gates.spec import GateBook, load_gates
from mmlib.metrics.latency import minute_series, results_since
from mmlib.ops import daily as ops
from mmlib.ops.day import load_day
from mmlib.ops.facts import facts_path, read_figures, write_figures
from mmlib.reports import daily, weekly
from mmlib.reports.beside import beside
from mmlib.reports.render import Provenance
from tests import naive_daily

ROOT = Path(__file__).resolve().parents[1]
DAYS = [date(2021, 7, 1), date(2021, 7, 2)]
NUMBER = re.compile(r"[+-]?\d[\d,]*\.?\d*")
pytestmark = [pytest.mark.recording, pytest.mark.slow]


@pytest.fixture(scope="module")
def book() -> GateBook:
    """The shipped gates; with their budget the recording loses so often that the report gives firings in short."""
    found = load_gates(ROOT)
    gates = (g.model_copy(update={"limit": -1e6}) if g.id == "soak.stop.loss" else g for g in found)
    return replace(found, gates=tuple(gates))


@pytest.fixture(scope="module")
def ws(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 hours of the Gemini recording as feeds, a tick every ten seconds."""
    ws = tmp_path_factory.mktemp("gemini")
    config = load_config(ROOT, sets={"md_cache.ttl_ms": 1500, "pipeline.tick_interval_ms": 10_000}).config
    spec = SessionSpec(
        f"recording:{shared_data / 'gemini_ethusd_20210701'}", ("ETHUSD",), ("A",), 48 * 3600.0
    )
    run_session(spec, config, ws / "artifacts" / "edge" / "feeds")
    return ws


@pytest.fixture(scope="module")
def texts(ws: Path, book: GateBook) -> dict[date, str]:
    """The two reports, the second with the first as its day before."""
    found = {}
    for day in DAYS:
        found[day] = written(ws, day, book)
    return found


def written(ws: Path, day: date, book: GateBook) -> str:
    feeds = ws / "artifacts" / "edge" / "feeds"
    summary = ops.daily_summary(load_day(feeds, day), book)
    text = daily.daily(summary, Provenance.of_feeds(stated(feeds), "test"), beside(ws, day))
    write_figures(facts_path(ws / "artifacts" / "reports" / "daily", day), summary.figures)
    return text


def test_the_result_of_a_day_counts_from_midnight(ws: Path) -> None:
    feeds = ws / "artifacts" / "edge" / "feeds"
    for date_ in DAYS:
        day = load_day(feeds, date_)
        minutes = results_since(minute_series(day.ticks, day.fills), pd.Timestamp(day.start))
        own = day.of_day(minutes).dropna(subset="pnl")
        expected = naive_daily.figures(feeds, date_)["minutes"]
        got = dict(zip((own["ts"].astype("int64") // 60_000_000_000).tolist(), own["pnl"], strict=True))
        assert got.keys() == expected.keys()
        np.testing.assert_allclose(
            [got[k] for k in expected], [row["pnl"] for row in expected.values()], atol=1e-6
        )
        assert own["pnl"].min() < -1000.0, "the shipped budget would have fired"


def tables(text: str) -> dict[str, list[list[str]]]:
    """Heading -> rows of cells of the tables below it, without their headings."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| ") and not "".join([line, *lines[k + 1 : k + 2]]).count("| ---"):
            found.setdefault(heading, []).append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def number(cell: str) -> float:
    found = NUMBER.match(cell.strip("` "))
    return float(found[0].replace(",", "")) if found else math.nan


def close(cell: str, wanted: float, *, histogram: bool = False) -> bool:
    """Within what four digits show, and within a histogram's error where one is behind it."""
    if math.isnan(wanted):
        return cell == "–"
    # four digits, two of a very small number
    digits = 0.06 if abs(wanted) < 1e-3 else 6e-4
    return (
        abs(number(cell) - wanted)
        <= digits * abs(wanted) + (1.1e-3 * abs(wanted) if histogram else 0) + 1e-12
    )


def check(cells: list[str], wanted: list[float | str], *, histogram: bool = False) -> None:
    assert len(cells) == len(wanted), (cells, wanted)
    for cell, want in zip(cells, wanted, strict=True):
        if isinstance(want, str):
            assert cell == want, (cells, wanted)
        else:
            assert close(cell, want, histogram=histogram), (cells, wanted)


def rules(book: GateBook) -> list[tuple[str, str, str, float, float]]:
    known = ("soak.stop.", "soak.warn.", "daily.stop.")
    return [(g.id, g.metric, g.op, g.limit, g.for_s) for g in book if g.id.startswith(known)]


def test_every_figure_is_what_another_program_finds(ws: Path, texts: dict[date, str], book: GateBook) -> None:
    feeds = ws / "artifacts" / "edge" / "feeds"
    naive = {day: naive_daily.figures(feeds, day) for day in DAYS}
    for day in DAYS:
        check_report(texts[day], naive[day], naive.get(day - timedelta(days=1)), book)


def check_report(text: str, n: dict, before: dict | None, book: GateBook) -> None:
    found = tables(text)
    who: list[float | str] = ["ETHUSD", "A"]
    check_headline(text, n)
    gates = {row[-1].strip("`"): row for row in found["Gates of the day"]}
    values = {
        "daily.net_bps": (n["bps"]["pnl"], n["n_fills"]),
        "daily.slippage": (n["bps"]["slippage"], n["n_fills"]),
        "daily.taker_share": (n["taker_share_pct"], n["n_fills"]),
        "daily.stop.taker_share": (n["worst_taker_pct"], n["n_minutes"]),
    }
    assert set(gates) == set(values)
    for gate, (value, count) in values.items():
        assert close(gates[gate][2], value), gate
        assert number(gates[gate][4]) == count
    check_firings(found, n, book)
    check_beside(found, n, before)
    stamp = lambda ts: f"{ts[:10]} {ts[11:19]} UTC"  # noqa: E731
    (up,) = found["Uptime"]
    times: list[float | str] = [stamp(n["first"]), stamp(n["last"])]
    check(up, [*who, *times, n["n_ticks"], n["up_pct"], n["span_pct"], n["gaps"], n["longest"]])
    assert [row[1] for row in found["Latency of each stage"]] == list(n["stages"])
    for row in found["Latency of each stage"]:
        check(row, ["ETHUSD", row[1], *n["stages"][row[1]]], histogram=True)
    (cache,) = found["Market data cache"]
    check(
        cache, [*who, n["n_ticks"], n["hit_ratio"], n["stale_pct"], *n["ages"], n["miss_pct"]], histogram=True
    )
    (edge,) = found["Where the result came from"]
    signs = {
        "gross": 1,
        "travel": -1,
        "fees": -1,
        "inventory": 1,
        "pnl": 1,
        "slippage": -1,
    }  # costs are negative
    parts = [sign * n["bps"][k] for k, sign in signs.items()]
    check(edge, [*who, n["n_fills"], n["notional"], n["pnl"], *parts, n["taker_share_pct"]])
    soft_pct, soft, hard_pct, hard = n["guards"]
    check(found["Guards"][0], [*who, soft_pct, soft, hard_pct, hard])
    errors = [n["errors"], n["errors_per_h"], n["errors_per_10k"], n["worst_minute"]]
    assert n["errors"] == 0  # so that the time of the worst minute is none, and there is no code
    check(found["Errors"][0], [*who, *errors, "–"])
    assert len(found["Errors"]) == 1
    longest = max(row["breaker_open_s"] for row in n["minutes"].values())
    if n["openings"]:
        check(found["Circuit breaker"][0], [*who, n["openings"], longest, n["open_pct"]])
    assert ("It never opened." in text) == (n["openings"] == 0)
    check(found["Memory"][0], [*n["rss"]])
    assert "Lines of the feeds in quarantine: 0." in text
    looked = {
        "Gates of the day",
        "Alerts that would have fired",
        "Beside other days",
        "Uptime",
        "Memory",
        "Errors",
    }
    looked |= {"Latency of each stage", "Market data cache", "Where the result came from", "Guards"}
    looked |= {"Circuit breaker"} if n["openings"] else set()
    assert set(found) - looked == {"Where these numbers come from"}, "a table that nobody recomputes"


def check_headline(text: str, n: dict) -> None:
    line = next(line for line in text.splitlines() if line.startswith("**"))
    wanted = [n["n_ticks"], n["up_pct"], n["n_fills"], n["notional"], n["bps"]["pnl"]]
    cells = NUMBER.findall(line)
    assert len(cells) == len(wanted)
    for cell, value in zip(cells, wanted, strict=True):
        assert close(cell, value)
    parts = next(line for line in text.splitlines() if line.startswith("In bps of traded notional"))
    signs = {"gross": 1, "travel": -1, "fees": -1, "inventory": 1}
    shown = dict(re.findall(r"(gross|travel|fees|inventory) ([+-]\d+\.\d+)", parts))
    assert {k: float(v) for k, v in shown.items()} == {k: round(s * n["bps"][k], 2) for k, s in signs.items()}
    cost = min(signs, key=lambda k: signs[k] * n["bps"][k])
    assert f"The largest cost was {cost.replace('travel', 'quote travel')}." in parts


def check_firings(found: dict[str, list[list[str]]], n: dict, book: GateBook) -> None:
    wanted = [(*row,) for row in naive_daily.firings(n["minutes"], rules(book))]
    for gate, value, bad in (
        ("daily.net_bps", n["bps"]["pnl"], n["bps"]["pnl"] <= 0),
        ("daily.slippage", n["bps"]["slippage"], n["bps"]["slippage"] >= 3),
        ("daily.taker_share", n["taker_share_pct"], n["taker_share_pct"] >= 9),
    ):
        if bad:
            wanted.append((gate, "00:00", "24:00", "24:00", value))
    rows = found.get("Alerts that would have fired", [])
    shown = {(row[1].strip("`"), row[3], row[4], row[5]): row[6] for row in rows}
    assert set(shown) == {row[:4] for row in wanted}
    for row in wanted:
        assert close(shown[row[:4]], row[4], histogram="p95" in row[0])


def check_beside(found: dict[str, list[list[str]]], n: dict, before: dict | None) -> None:
    def values(of: dict) -> dict[str, float]:
        bps = of["bps"]
        return {
            "Up [%]": of["up_pct"],
            "Tick total p95 [ms]": of["stages"]["tick_total"][2],
            "FetchMD p95 [ms]": of["stages"]["fetch_md"][2],
            "Deadline misses [%]": of["miss_pct"],
            "Cache hit ratio": of["hit_ratio"],
            "Errors an hour": of["errors_per_h"],
            "Fills": of["n_fills"],
            "Notional [quote]": of["notional"],
            "Net [bps]": bps["pnl"],
            "Gross [bps]": bps["gross"],
            "Slippage [bps]": -bps["slippage"],
            "Fees [bps]": -bps["fees"],
            "Inventory [bps]": bps["inventory"],
            "Taker share [%]": of["taker_share_pct"],
        }

    now, old = values(n), values(before) if before else None
    now = {
        name: value for name, value in now.items() if not math.isnan(value)
    }  # what is not known has no row
    rows = {row[0]: row[1:] for row in found["Beside other days"]}
    assert set(rows) == set(now)
    for name, cells in rows.items():
        day, previous, change, week, baseline = cells
        assert close(day, now[name], histogram="p95" in name), name
        assert baseline == "–"
        if old is None:
            assert (previous, change, week) == ("–", "–", "–")
            continue
        assert close(previous, old[name], histogram="p95" in name)
        assert close(week, old[name], histogram="p95" in name)
        slack = (
            2.2e-3 * (abs(now[name]) + abs(old[name])) if "p95" in name else 1e-3 * abs(now[name] - old[name])
        )
        assert abs(number(change) - (now[name] - old[name])) <= slack + 1e-9, name


def test_the_week_adds_its_days_up(ws: Path, texts: dict[date, str], book: GateBook) -> None:
    feeds, reports = ws / "artifacts" / "edge" / "feeds", ws / "artifacts" / "reports" / "daily"
    known = {day: found for day in DAYS if (found := read_figures(facts_path(reports, day))) is not None}
    week = [date(2021, 6, 28) + timedelta(days=k) for k in range(7)]
    found = tables(weekly.weekly(week, known, book, Provenance("test")))
    naive = [naive_daily.figures(feeds, day) for day in DAYS]
    assert [row[1] for row in found["Days"]].count("no report") == 5
    total = found["Days"][-1]
    notional, fills = sum(n["notional"] for n in naive), sum(n["n_fills"] for n in naive)
    taker = sum(n["taker_share_pct"] * n["notional"] for n in naive) / notional
    assert close(total[7], fills)
    assert close(total[8], notional)
    assert close(total[9], sum(n["pnl"] for n in naive))
    assert close(total[10], 1e4 * sum(n["pnl"] for n in naive) / notional)
    assert close(total[12], taker)
    ticks = [
        t
        for day in DAYS
        for t in naive_daily.read(feeds, "pipeline_ticks", day)
        if t["ts"].startswith(str(day))
    ]
    p95 = naive_daily.rank_quantile([t["tick_total_ms"] for t in ticks], 0.95)
    assert close(total[3], p95, histogram=True)
