"""A bot of our own as a stranger: its session leaves feeds, what cannot be measured has no value, and its orders replay."""

from __future__ import annotations

import asyncio
import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mmlib._io import UserError
from mmlib.cli import main
from mmlib.config.models import Config
from mmlib.dtypes import TICK, Liquidity, Status
from mmlib.engine.measure import measure
from mmlib.engine.orders import replay_orders
from mmlib.engine.spec import SessionSpec
from mmlib.feeds.orders import read_orders
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.sidecar import read_sidecar
from mmlib.gates.spec import load_gates
from mmlib.market.opening import open_source
from mmlib.paper.halting import Halting
from mmlib.paper.session import run_bots
from mmlib.paper.setup import Serving
from tests.paper_fixtures import ROOT

CONFIG = Config.model_validate({"market": {"rate_per_s": 200.0}})
START_NS = 1_736_899_200_000_000_000
S = 1_000_000_000


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feeds of the example bot on eight seconds of a busy simulated market."""
    ws = tmp_path_factory.mktemp("ws")
    bot = ROOT / "params" / "bots" / "touch_quoter.yaml"
    spec = SessionSpec("simulated", ("BTCUSDT", "ETHUSDT"), ("A",), 8.0, 0.0, START_NS, 7)
    return run_bots(spec, CONFIG, ws / "feeds", ws=ws, bots=[str(bot)]).feeds


def test_the_session_leaves_feeds_that_read(session: Path) -> None:
    sidecar = read_sidecar(session)
    assert sidecar is not None and sidecar["complete"] and sidecar["grade"] == "simulated"
    assert "secret" not in str(sidecar["paper"])
    for kind in ("ticks", "fills"):
        feed = read_feeds(session, kind)
        assert len(feed.frame) and feed.quarantined == 0
    fills = read_feeds(session, "fills").frame
    assert set(fills["liquidity"]) == {"maker"}  # the bot is post only
    assert (fills["mid_at_fill"] > 0).all() and (fills["queue_ahead_qty"] >= 0).all()


def test_what_only_the_bot_could_know_has_no_value(session: Path) -> None:
    measured = measure(session, planned_s=8.0)
    results = {one.id: one for one in measured.evaluate(load_gates(ROOT).step("shadow"))}
    assert results["shadow.hit_ratio"].status is Status.NO_DATA and results["shadow.hit_ratio"].value is None
    assert results["shadow.fetch_md_p95"].value is None
    assert results["shadow.tick_total_p95"].value > 0.0
    assert measured.minutes["hit_ratio"].isna().all() and measured.minutes["tick_total_p95_ms"].notna().any()


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_the_orders_replay_to_the_same_fills(session: Path, symbol: str) -> None:
    """The exchange and ``finishline replay`` agree on every fill of a session, from its orders and their times alone."""
    source = open_source(
        "simulated", symbol, seed=7, start_ns=START_NS, market=CONFIG.market.model_dump(exclude_none=True)
    )
    tick, lot = source.instrument.tick_size, source.instrument.lot_size
    orders = read_orders(session / f"orders_arm_A_{symbol}.csv", tick, lot)
    feed = read_feeds(session, "fills").frame
    feed = feed[feed["symbol"] == symbol].sort_values(["ts", "fill_id"])
    last_ns = int(feed["ts"].to_numpy("M8[ns]").astype("i8").max())
    chunks = source.chunks(START_NS, START_NS + 60 * S)
    fills, _ = replay_orders(
        chunks,
        orders.rows,
        tick_size=tick,
        lot_size=lot,
        queue_model=CONFIG.fill_model.queue_model,
        queue_exponent=CONFIG.fill_model.queue_exponent,
        entry_ns=round(CONFIG.latency.entry_ms * 1e6),
        response_ns=round(CONFIG.latency.response_ms * 1e6),
        maker_bps=CONFIG.fees.maker_bps,
        taker_bps=CONFIG.fees.taker_bps,
        partial_fills=True,
    )
    fills = fills[fills["exch_ts_ns"] <= last_ns]
    names = np.array(orders.names)[fills["order_id"]]
    replayed = sorted(
        zip(fills["exch_ts_ns"].tolist(), [int(name.split(".")[0]) for name in names], fills["price"].round(6).tolist(),
            fills["qty"].round(9).tolist(), (fills["liquidity"] == Liquidity.MAKER).tolist(),
            fills["queue_ahead_at_entry"].round(9).tolist(), strict=True)
    )  # fmt: skip
    written = sorted(
        zip(feed["ts"].to_numpy("M8[ns]").astype("i8").tolist(), feed["order_id"].astype(int).tolist(),
            feed["price"].round(6).tolist(), feed["qty"].round(9).tolist(), (feed["liquidity"] == "maker").tolist(),
            feed["queue_ahead_qty"].round(9).tolist(), strict=True)
    )  # fmt: skip
    assert len(written) and replayed == written


@pytest.mark.parametrize(
    ("uri", "bots", "word"),
    [
        ("live:binanceusdm", ["x"], "expected simulated or recording"),
        ("simulated", ["a", "b"], "one for each of the arms"),
        ("simulated", ["'"], "no command"),
        ("simulated", ["/no/such/program"], "cannot be started"),
    ],
)
def test_what_cannot_run_is_refused(tmp_path: Path, uri: str, bots: list[str], word: str) -> None:
    spec = SessionSpec(uri, ("BTCUSDT",), ("A",), 5.0, 0.0, START_NS, 7)
    with pytest.raises(UserError, match=word):
        run_bots(spec, CONFIG, tmp_path / "feeds", ws=tmp_path, bots=bots)


def test_a_bot_that_ends_early_leaves_a_session_that_is_not_complete(tmp_path: Path) -> None:
    spec = SessionSpec("simulated", ("BTCUSDT",), ("A",), 100.0, 0.0, START_NS, 7)
    done = run_bots(spec, CONFIG, tmp_path / "feeds", ws=tmp_path, bots=["{python} -c 'raise SystemExit(3)'"])
    sidecar = read_sidecar(done.feeds)
    assert sidecar is not None and not sidecar["complete"]
    assert sidecar["paper"]["bots"][0]["returncode"] == 3


def test_two_bots_are_two_arms_on_one_market(tmp_path: Path) -> None:
    bot = str(ROOT / "params" / "bots" / "touch_quoter.yaml")
    spec = SessionSpec("simulated", ("BTCUSDT",), ("A", "B"), 6.0, 0.0, START_NS, 7)
    done = run_bots(spec, CONFIG, tmp_path / "feeds", ws=tmp_path, bots=[bot, bot])
    for kind in ("ticks", "fills"):
        assert set(read_feeds(done.feeds, kind).frame["arm"]) == {"A", "B"}


def test_a_stop_criterion_halts_its_arm_after_its_time_and_not_before() -> None:
    """Every reaction of eleven minutes misses its deadline: the criterion asks for ten."""
    (gate,) = (one for one in load_gates(ROOT).step("soak") if one.id == "soak.stop.deadline_miss")
    halting = Halting([gate], "B")
    minute = 60 * S
    for k in range(12):
        row = np.zeros(1, TICK)
        row["ts_ns"], row["deadline_miss"], row["tick_total_ms"] = START_NS + k * minute, 1, 900.0
        halting.tick("BTCUSDT", row)
        reason = halting.look(START_NS + k * minute + 6 * S)
        assert bool(reason) == (k * 60 > gate.for_s), (k, reason)
    assert "soak.stop.deadline_miss" in halting.reason


def test_gates_on_what_is_not_measured_never_halt() -> None:
    gates = [one for one in load_gates(ROOT).step("soak") if one.metric in ("hit_ratio", "breaker_open_s")]
    halting = Halting(gates, "A")
    for k in range(60):
        row = np.zeros(1, TICK)
        row["ts_ns"] = START_NS + k * 60 * S
        halting.tick("BTCUSDT", row)
        assert halting.look(START_NS + k * 60 * S + 6 * S) == ""
    assert gates


@pytest.mark.parametrize(
    ("bot", "package"),
    [
        ("ccxt_quoter", "ccxt"),
        ("sdk_quoter", "binance_sdk_derivatives_trading_usds_futures"),
        ("python_binance_quoter", "binance"),
    ],
)
def test_the_shipped_examples_trade(tmp_path: Path, bot: str, package: str) -> None:
    """Each is stopped as soon as it has placed orders, however long its imports take."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    spec = SessionSpec("simulated", ("BTCUSDT",), ("A",), 240.0, 0.0, START_NS, 7)
    placed: list[int] = []

    def watch(up: Serving) -> None:
        async def until_it_trades() -> None:
            (party,) = up.exchange.parties.values()
            while party.counts.orders < 4:
                await asyncio.sleep(0.05)
            placed.append(party.counts.orders)
            up.exchange.ended.set()

        up.tasks.add(asyncio.get_running_loop().create_task(until_it_trades()))

    run_bots(
        spec,
        CONFIG,
        tmp_path / "feeds",
        ws=tmp_path,
        bots=[str(ROOT / "params" / "bots" / f"{bot}.yaml")],
        watch=watch,
    )
    assert placed


@pytest.mark.recording
def test_a_session_on_a_recording_replays_to_the_same_fills(shared_data: Path, tmp_path: Path) -> None:
    """The bot trades on a real recording; the command line replays its orders file to the fills that the exchange wrote."""
    recording = shared_data / "binance_usdm_btcusdt_20240808.gz"
    spec = SessionSpec(f"recording:{recording}", ("BTCUSDT",), ("A",), 8.0, 0.0, 0, 7)
    bot = str(ROOT / "params" / "bots" / "touch_quoter.yaml")
    feeds = run_bots(spec, CONFIG, tmp_path / "feeds", ws=tmp_path, bots=[bot]).feeds
    assert read_sidecar(feeds)["grade"] == "recording"  # type: ignore[index]
    feed = read_feeds(feeds, "fills").frame
    output = tmp_path / "fills.csv"
    latency, fees = CONFIG.latency, CONFIG.fees
    argv = [
        "replay",
        str(recording),
        "--symbol",
        "BTCUSDT",
        "--orders",
        str(feeds / "orders_arm_A_BTCUSDT.csv"),
    ]
    argv += ["--entry-latency-ms", str(latency.entry_ms), "--response-latency-ms", str(latency.response_ms)]
    argv += [
        "--maker-fee-bps",
        str(fees.maker_bps),
        "--taker-fee-bps",
        str(fees.taker_bps),
        "--partial-fills",
    ]
    argv += ["--workspace", str(tmp_path), "-o", str(output)]
    assert main(argv) == 0
    last_ns = int(feed["ts"].to_numpy("M8[ns]").astype("i8").max())
    with output.open() as handle:
        replayed = sorted(
            (
                int(row["exch_ts_ns"]),
                row["order_id"],
                float(row["price"]),
                float(row["qty"]),
                row["liquidity"],
            )
            for row in csv.DictReader(handle)
            if int(row["exch_ts_ns"]) <= last_ns
        )
    written = sorted(
        zip(feed["ts"].to_numpy("M8[ns]").astype("i8").tolist(), feed["order_id"].astype(str).tolist(),
            feed["price"].tolist(), feed["qty"].tolist(), feed["liquidity"].tolist(), strict=True)
    )  # fmt: skip
    assert written and replayed == written
