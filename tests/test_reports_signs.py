"""One sign convention of money, tested on every report: earnings positive, costs negative, and the parts add up to net."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from mmlib.config.load import shipped_dir
from mmlib.dtypes import Status
from mmlib.feeds.writer import FeedWriter
from mmlib.gates.spec import load_gates
from mmlib.metrics.money import decompose
from mmlib.ops.compare import comparison
from mmlib.ops.daily import daily_summary
from mmlib.ops.day import load_day
from mmlib.reports import ab, beside, daily, dataset, weekly
from mmlib.reports.render import Provenance
from mmlib.reports.signs import COSTS, SIGNS
from tests import make_feeds
from tests.test_reports_outcomes import experiment, verdict

STAMP = Provenance("test")
BOOK = load_gates(shipped_dir("params").parent)


@pytest.fixture(scope="module", params=[1, 2, 3])
def feeds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few minutes whose fills cost and earn by chance; the fees are rebates in one of them."""
    home = tmp_path_factory.mktemp("signs")
    fills = make_feeds.fills(60, request.param)
    fills["fee"] = abs(fills["fee"]) * (-1 if request.param == 2 else 1)
    ticks = make_feeds.ticks(600, request.param)
    ticks["arm"] = fills["arm"] = 0
    with FeedWriter(home, "BTCUSDT") as writer:
        writer.ticks(ticks)
        writer.fills(fills)
    return home


def reports(feeds: Path) -> dict[str, str]:
    """Every report that tells money, of one day."""
    day = load_day(feeds, "2025-01-15")
    summary = daily_summary(day, BOOK)
    money = decompose(day.ticks, day.fills)
    return {
        "daily": daily.daily(summary, STAMP),
        "weekly": weekly.weekly([day.date], {day.date: summary.figures}, BOOK, STAMP),
        "ab": ab.ab_run_online(verdict("HOLD", Status.PASS), experiment(), money, STAMP, rollout_pct=10),
    }


def table_rows(text: str) -> Iterator[dict[str, str]]:
    """Rows of every table by their headings."""
    for block in re.findall(r"(?m)^(\|.*\n\| ?[-:].*\n(?:\|.*\n)+)", text):
        head, _, *rows = (
            [cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()
        )
        yield from (dict(zip(head, row, strict=False)) for row in rows)


def number(cell: str) -> float:
    return float(cell.replace(",", "")) if re.fullmatch(r"[-+0-9.,e]+", cell) else math.nan


def test_every_report_says_the_convention_once_and_keeps_it(feeds: Path) -> None:
    day = load_day(feeds, "2025-01-15")
    costs = decompose(day.ticks, day.fills, by=()).iloc[0]
    for name, text in reports(feeds).items():
        assert text.count(SIGNS) == 1, name
        for row in table_rows(text):
            for heading, column in (("Fees [bps]", "fees_bps"), ("Slippage [bps]", "slippage_bps")):
                value = number(row.get(heading, ""))
                if name != "ab" and math.isfinite(value):
                    assert value == pytest.approx(-costs[column], rel=2e-3, abs=1e-4), (name, heading)
            parts = [number(row[h]) for h in row if re.fullmatch(r"(Gross|Fees|Inventory) \[bps\]", h)]
            parts += [number(row.get("Quote travel [bps]", row.get("Slippage [bps]", "")))]
            if len(parts) == 4 and all(map(math.isfinite, parts)):
                assert sum(parts) == pytest.approx(number(row["Net [bps]"]), rel=5e-3, abs=5e-3), name


def test_what_is_listed_above_is_what_stands_in_the_table(feeds: Path) -> None:
    """Slippage was -1.44 above and 1.439 below, in one report."""
    text = reports(feeds)["daily"]
    line = next(one for one in text.splitlines() if one.startswith("In bps of traded notional"))
    above = {
        name: float(value) for name, value in re.findall(r"([a-z ]+) ([+-]\d+\.\d+)", line.split(":")[1])
    }
    (row,) = [row for row in table_rows(text) if "Inventory [bps]" in row]
    for name, value in above.items():
        assert number(row[f"{name.strip().capitalize()} [bps]"]) == pytest.approx(value, abs=6e-3), name


def test_a_comparison_shows_costs_negative_and_gates_on_costs_are_named_so(feeds: Path) -> None:
    figures = daily_summary(load_day(feeds, "2025-01-15"), BOOK).figures
    table = comparison(figures, figures, None, 0, None)
    shown = {row["Figure"]: number(row["The day"]) if "The day" in row else math.nan for row in _rows(table)}
    for row in table.to_dict("records"):
        if row["metric"] in COSTS and math.isfinite(row["day"]):
            label = f"{row['name']} [{row['unit']}]"
            assert shown[label] == pytest.approx(-row["day"], rel=2e-3, abs=1e-4), label
    for gate in BOOK:
        if "slippage" in gate.metric:
            assert "cost" in gate.title.lower(), gate.id


def _rows(table: pd.DataFrame) -> list[dict[str, str]]:
    made = beside.compared_table(table)
    heads = ["Figure", "The day"]
    return [dict(zip(heads, (str(row[0]), f"{row[1]:.12g}"), strict=True)) for row in made.rows]


def test_the_dataset_summary_shows_what_fills_cost_as_negative() -> None:
    intervals = pd.DataFrame(
        {"symbol": ["X"] * 3, "slippage_bps": [1.0, 2.0, 4.0], "net_bps": [-3.0, -2.0, 5.0], "reason": ""}
    )
    text = dataset.calib_summary([], intervals, {}, STAMP)
    assert text.count(SIGNS) == 1
    found = {row["Metric"].strip("`"): row for row in table_rows(text) if "Metric" in row}
    numbers = {name: [float(row[k]) for k in ("Lowest", "Median", "Highest")] for name, row in found.items()}
    assert numbers == {"slippage_bps": [-4.0, -2.0, -1.0], "net_bps": [-3.0, -2.0, 5.0]}
