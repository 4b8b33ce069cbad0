"""The safety watch of an A/B stage over a real connection: a harmful arm is taken back inside the running session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest
import yaml

from mmlib.config.flags import snapshot
from mmlib.config.load import ensure_params, load_config
from mmlib.config.rollback import active_rollback
from mmlib.dtypes import Grade
from mmlib.engine.measure import measure
from mmlib.engine.realtime.loop import LiveLoop
from mmlib.engine.realtime.options import LiveUri
from mmlib.engine.realtime.run import run_live
from mmlib.engine.session import SessionSpec, run_session
from mmlib.feeds.reader import read_feeds
from mmlib.gates.spec import load_gates
from mmlib.market.lines import Lines
from mmlib.market.loopback.server import LoopbackExchange
from mmlib.reports.ab import ab_run_online
from mmlib.reports.render import Provenance
from mmlib.rollout.estimate import experiment_of
from mmlib.rollout.safety import timeline
from mmlib.rollout.stage import judge
from mmlib.rollout.switchback import Design
from mmlib.rollout.watchdog import StageWatch
from tests.fast_time import fast_time
from tests.live_fixtures import SYMBOLS, loopback

pytestmark = pytest.mark.usefixtures("live_kernels")

SPEED = 60.0
START_NS = 1_736_899_200_000_000_000
HARMFUL = {
    "adaptive_spread": {
        "enabled": True,
        "min_spread_bps": 0.01,
        "max_spread_bps": 0.02,
    },  # B sits at the touch,
    "queue_aware": {"enabled": True},
    "quoting": {
        "base_spread_bps": 60.0,
        "order_notional": 1000.0,
        "max_inventory_notional": 1000.0,
    },  # A is not reached
    "inventory_skew": {"enabled": False},
    "taker_cap": {"enabled": False},  # and B takes whenever it has reached its limit
    "risk_guards": {"enabled": False},
    "circuit_breaker": {"enabled": False},
    "pipeline": {
        "deadline_ms": 900_000
    },  # this clock makes seconds of milliseconds: durations are not judged here
    "md_cache": {"ttl_ms": 60_000},
}


@pytest.fixture
def ws(tmp_path: Path) -> Path:
    """A workspace with a harmful arm B, whose taker gate takes two minutes instead of two hours and ten minutes."""
    ensure_params(tmp_path)
    config, gates = (tmp_path / "params" / name for name in ("config.yaml", "gates.yaml"))
    tree = yaml.safe_load(config.read_text())
    for section, values in HARMFUL.items():
        tree[section] |= values
    config.write_text(yaml.safe_dump(tree))
    book = yaml.safe_load(gates.read_text())
    for gate in book["gates"]:
        if gate["id"] == "ab.safety.taker_share":
            gate |= {"for_s": 120, "warmup_s": 0}
    gates.write_text(yaml.safe_dump(book))
    snapshot(tmp_path, load_config(tmp_path, sets={}))
    return tmp_path


class EndAfter:
    """Observer that ends a session half a minute after the watch has acted."""

    def __init__(self, watch: StageWatch) -> None:
        self._watch, self._until_ns = watch, 0
        self.failures: list[str] = []

    def on_tick(self, symbol: str, rows: np.ndarray, errors: dict[str, int]) -> None: ...

    def on_fill(self, symbol: str, fills: np.ndarray) -> None: ...

    def on_second(self, session: LiveLoop, now_ns: int) -> None:
        self.failures += [told for told in session.ledger.recent if told.startswith("ab_10: ")]
        if self._watch.taken_back and not self._until_ns:
            self._until_ns = now_ns + 30 * 10**9
        if self._until_ns and now_ns > self._until_ns:
            session.stop("seen")


def report_of(ws: Path, feeds: Path, watch: StageWatch) -> str:
    """The stage's report, as its notebook makes it."""
    gates = load_gates(ws)
    floor_ms = gates.get("ab.safety.tick_p95").floor_ms
    m = measure(feeds, planned_s=86_400, symbols=SYMBOLS, quarantine=ws / "quarantine")
    experiment = experiment_of(m.ticks, m.fills, planned_s=86_400, design=Design(10, 3, floor_ms=floor_ms))
    verdict = judge(
        gates, experiment, timeline(m.minutes, m.ticks, floor_ms=floor_ms), rollout_pct=10, previous=None,
        evidence=m.evidence, planned_s=86_400, span_s=m.span_s,
    )  # fmt: skip
    stamp = Provenance("finishline ab")
    return ab_run_online(verdict, experiment, m.money, stamp, rollout_pct=10, rollback=watch.taken_back)


def fills_of(feeds: Path) -> list[tuple[str, ...]]:
    return sorted(tuple(map(repr, row)) for row in read_feeds(feeds, "fills").frame.itertuples(index=False))


def test_a_harmful_arm_is_taken_back_inside_the_running_session(
    ws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(ws, sets={}).config
    monkeypatch.setattr(LoopbackExchange, "grade", Grade.LIVE)  # flags are written on live evidence only
    feeds, raw = ws / "artifacts" / "edge" / "ab" / "stage_10", ws / "raw.gz"
    with fast_time(monkeypatch, SPEED, START_NS), loopback(rate_per_s=10.0) as host:
        uri = LiveUri("binanceusdm", host.url, raw).text()
        watch = StageWatch(
            ws, load_gates(ws).step("ab_10"), stage="ab_10", config=config, planned_s=86_400, evidence=uri
        )
        spec = SessionSpec(uri, SYMBOLS, ("A", "B"), 900.0, seed=3)
        end = EndAfter(watch)
        run_live(spec, config, feeds, watch=lambda _loop: [watch, end])
    assert end.failures == []
    assert watch.taken_back is not None, "within fifteen minutes"
    assert watch.taken_back["gate"] == "ab.safety.taker_share"
    assert float(watch.taken_back["value"]) > 9.0

    changed = load_config(ws, sets={}).config  # the flags are written, and say why
    assert not changed.adaptive_spread.enabled
    assert not changed.queue_aware.enabled
    active = active_rollback(ws)
    assert active is not None
    assert active["details"]["window"] == watch.taken_back["window"]

    notes = [orjson.loads(line[20:]) for line in Lines(raw) if b'"note":"config"' in line]
    assert {note["s"] for note in notes} == set(SYMBOLS)
    assert "ab.safety.taker_share violated" in notes[0]["reason"]
    told = pd.Timestamp(min(int(line[:19]) for line in Lines(raw) if b'"note":"config"' in line), tz="UTC")
    ticks, fills = read_feeds(feeds, "ticks").frame, read_feeds(feeds, "fills").frame
    assert (fills["arm"] == "B").all()
    assert (fills["liquidity"] == "taker").sum() > 3
    assert (ticks[ticks["ts"] > told].groupby("arm", observed=True).size() > 20).all(), "both arms go on"
    assert fills["ts"].max() < told + pd.Timedelta(5, "s"), "B quotes as the control does"

    text = report_of(ws, feeds, watch)
    assert text.startswith("# A/B at 10 %\n\n**ROLL BACK.**")
    assert "adaptive_spread.enabled: True -> False" in text
    again = run_session(
        SessionSpec(f"recording:{raw}", SYMBOLS, ("A", "B"), 900.0, seed=3), config, ws / "again"
    )
    assert fills_of(again.feeds) == fills_of(feeds)
