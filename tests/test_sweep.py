"""A sweep: each setting's money is that of its fills alone, it goes on where it was interrupted, and the best is judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib._io import UserError
from mmlib.cli import main
from mmlib.engine.bench import run_grid
from mmlib.engine.grids import settings_of
from mmlib.engine.sweep import HORIZONS_S, Market, mid_path, open_rows, run_block, write_rows
from mmlib.inference.reality import reality_check
from mmlib.workflow import sweep as verb
from mmlib.workflow.sweepplan import parse_axes, parse_fixed, plan
from tests.test_core_replay_grid import busy_market, whole
from tests.test_core_replay_orders import LOT, events

MS = 1_000_000
VALUES = [
    {"levels": 2, "interval_ticks": 1, "half_spread_ticks": k, "skew": 0.5, "order_qty": 0.5, "max_position": 3.0,
     "maker_bps": -0.5}
    for k in range(3)
]  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """A market of some seconds: times of the busy market in units of 20 ms."""
    made = events(whole(busy_market(1500, 3)))
    for name in ("exch_ts_ns", "local_ts_ns"):
        made[name] = 1_700_000_000_000_000_000 + (made[name] - 1000) * 20 * MS
    return made


def test_rows_pass_through_the_file_unchanged(rows: np.ndarray, tmp_path: Path) -> None:
    assert write_rows([rows[:7], rows[:0], rows[7:]], tmp_path / "rows.npy") == len(rows)
    assert np.array_equal(open_rows(str(tmp_path / "rows.npy")), rows)
    assert write_rows([], tmp_path / "none.npy") == 0 == len(open_rows(str(tmp_path / "none.npy")))


def test_money_of_a_block_is_that_of_its_fills(rows: np.ndarray, tmp_path: Path) -> None:
    write_rows([rows], tmp_path / "rows.npy")
    market = Market(str(tmp_path / "rows.npy"), 1.0, LOT, 1_000 * MS)
    path = mid_path(market.rows, 1.0)
    result = run_block((market, settings_of(VALUES)))
    assert result["fills"].sum() > 20
    for k, values in enumerate(VALUES):
        shape = {
            name: v for name, v in values.items() if name not in ("order_qty", "max_position", "maker_bps")
        }
        fills, _ = run_grid(rows, shape, tick_size=1.0, lot_size=LOT, order_qty=0.5, max_position=3.0,
                            queue_model="log", queue_exponent=1.0)  # fmt: skip
        cash = position = fees = 0.0
        gained, known = np.zeros(len(HORIZONS_S)), np.zeros(len(HORIZONS_S))
        for f in fills:
            price, qty, side = float(f["price_ticks"]), float(f["qty"]), int(f["side"])
            cash, position, fees = (
                cash - side * qty * price,
                position + side * qty,
                fees - 0.5e-4 * qty * price,
            )
            for h, horizon in enumerate(HORIZONS_S):
                later = int(f["exch_ns"]) + horizon * 1000 * MS
                step = (later - path.start_ns) // (100 * MS) - 1
                if later <= path.end_ns:
                    gained[h] += side * qty * (path.mids[max(step, 0)] - price)
                    known[h] += qty * price
        assert result["fills"][k] == len(fills)
        assert result["pnl"][k].sum() == pytest.approx(cash + position * path.mids[-1] - fees)
        assert result["position"][k, -1] == pytest.approx(position)
        for h, horizon in enumerate(HORIZONS_S):
            if known[h] > 0.0:
                assert result[f"markout_{horizon}s_bps"][k] == pytest.approx(1e4 * gained[h] / known[h])


ARGUMENTS = ["sweep", "--simulated-hours", "1", "--symbol", "BTCUSDT", "--grid", "half_spread_ticks=0:4:3",
             "--grid", "skew=0:4:2", "--set", "levels=1", "--maker-fee-bps", "-0.5", "--accounts-per-pass", "2"]  # fmt: skip


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path, monkeypatch, capsys) -> None:
    whole_run, broken = tmp_path / "whole", tmp_path / "broken"
    assert main([*ARGUMENTS, "-o", str(whole_run), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["settings"] == 6 and done["reused"] == 0
    count, work = 0, verb.run_block

    def fails(task):
        nonlocal count
        count += 1
        if count == 2:
            raise RuntimeError("killed")
        return work(task)

    monkeypatch.setattr(verb, "run_block", fails)
    monkeypatch.setattr(verb.os, "cpu_count", lambda: 1)
    assert main([*ARGUMENTS, "-o", str(broken)]) != 0
    assert not (broken / "sweep.parquet").exists() and not (broken / "rows.npy").exists()
    kept = len(list((broken / "parts").glob("*.npz")))
    monkeypatch.setattr(verb, "run_block", work)
    capsys.readouterr()
    assert main([*ARGUMENTS, "-o", str(broken), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reused"] == 2 * kept > 0
    tables = [pd.read_parquet(place / "sweep.parquet") for place in (whole_run, broken)]
    pd.testing.assert_frame_equal(*tables)
    assert tables[0]["fills"].sum() > 0
    part = sorted((broken / "parts").glob("*.npz"))[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    assert main([*ARGUMENTS, "-o", str(broken), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reused"] == 4
    pd.testing.assert_frame_equal(tables[0], pd.read_parquet(broken / "sweep.parquet"))
    for name in ("sweep.md", "sweep.html", "sweep.json"):
        assert (whole_run / name).stat().st_size > 0
    assert "White's reality check" in (whole_run / "sweep.md").read_text()


def test_a_grid_is_every_combination_and_a_sample_fills_its_ranges() -> None:
    axes = parse_axes(["half_spread_ticks=0:10:5", "skew=0:1:3"], False)
    made = plan(axes, {"levels": 3.0}, None, 0, order_qty=0.1, maker_bps=-0.5)
    assert len(made) == 15 and len(np.unique(made)) == 15
    assert set(made["half_spread_ticks"].tolist()) == {0, 2, 5, 8, 10} and set(made["levels"].tolist()) == {3}
    assert np.allclose(made["max_position"], 5.0)
    axes = parse_axes(["half_spread_ticks=0:99", "skew=0:1"], True)
    drawn = plan(axes, {}, 100, 7, order_qty=0.1, maker_bps=0.0)
    counts, _ = np.histogram(drawn["skew"], 10, (0.0, 1.0))
    assert len(drawn) == 100 and counts.min() >= 9
    assert np.array_equal(drawn, plan(axes, {}, 100, 7, order_qty=0.1, maker_bps=0.0))


@pytest.mark.parametrize(
    ("grid", "fixed", "words"),
    [
        ([], [], "at least one"),
        (["spread=0:1:2"], [], "unknown setting"),
        (["skew=0:1"], [], "LOW:HIGH:N"),
        (["skew=2:1:3"], [], "below"),
        (["skew=0:1:0"], [], "whole number from 1"),
        (["skew=0:nan:2"], [], "number"),
        (["levels=0:3:4"], [], "from 1"),
        (["levels=1:2.5:2"], [], "whole number"),
        (["skew=0:1:2", "skew=0:1:2"], [], "twice"),
        (["skew=0:1:2"], ["skew=1"], "turns it"),
        (["skew=0:1:2"], ["order_qty=0"], "above 0"),
        (["skew=0:1:1000", "half_spread_ticks=0:1000:1001"], [], "at most"),
    ],
)
def test_a_wrong_grid_is_refused(grid: list[str], fixed: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        axes = parse_axes(grid, False)
        plan(axes, parse_fixed(fixed, axes), None, 0, order_qty=1.0, maker_bps=0.0)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--simulated-hours", "0"], "simulated-hours"),
        (["nowhere.gz"], "no such file"),
        (["nowhere.gz", "--simulated-hours", "1"], "expected recordings, or"),
        (["--simulated-hours", "1", "--queue-model", "power"], "queue-exponent"),
        (["--simulated-hours", "1", "--unseen-pct", "99"], "unseen-pct"),
        (["--simulated-hours", "1", "--tick-size", "0.1"], "lot-size"),
    ],
)
def test_wrong_arguments_are_refused_in_a_line(extra: list[str], words: str, tmp_path: Path, capsys) -> None:
    given = ["sweep", *extra, "--symbol", "BTCUSDT", "--grid", "skew=0:1:2", "-o", str(tmp_path / "out")]
    assert main(given) == 2
    assert words in capsys.readouterr().err


def test_the_reality_check_knows_luck_from_an_edge() -> None:
    rng = np.random.default_rng(5)
    luck = rng.standard_normal((200, 300))
    lucky = [reality_check(luck[:, k * 60 : (k + 1) * 60], 1).p_value for k in range(5)]
    assert np.mean(lucky) > 0.2 and min(lucky) > 0.01
    edge = luck.copy()
    edge[17] += 0.5
    assert reality_check(edge, 1).p_value < 0.01
    assert reality_check(luck, 1) == reality_check(luck, 1)
    few = reality_check(luck[:, :10], 1)
    assert np.isnan(few.p_value) and "expected at least" in few.reason
    still = reality_check(np.zeros((4, 100)), 1)
    assert np.isnan(still.p_value) and still.reason
