"""A soak that is killed, resumed, halted, rehearsed: the same feeds line for line, and halts where the evaluator says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib._io import UserError
from mmlib.config.incidents import KINDS, parse_incident
from mmlib.config.load import shipped_dir
from mmlib.config.models import Config
from mmlib.core import incidents
from mmlib.dtypes import FILL, TICK, GuardLevel
from mmlib.engine import checkpoint
from mmlib.engine.measure import measure
from mmlib.engine.session import SessionSpec, run_session
from mmlib.engine.spec import incident_rows, scripted
from mmlib.engine.watch import MINUTE_NS, Watch, fill_frame, immediate, tick_frame
from mmlib.feeds.same import digests
from mmlib.feeds.sidecar import read_sidecar
from mmlib.gates.evaluate import evaluate_series
from mmlib.gates.spec import load_gates
from mmlib.market import playback
from mmlib.market.opening import open_source
from mmlib.market.playback import Playback
from mmlib.metrics.latency import minute_series

S = 1_000_000_000
START = int(np.datetime64("2025-01-15T23:30", "ns").astype("i8"))
SPEC = SessionSpec("simulated", ("BTCUSDT", "ETHUSDT"), ("A",), 3600.0, start_ns=START, seed=5)
GATES = load_gates(shipped_dir("params").parent).step("soak")
STOPS = {gate.id: gate for gate in immediate(GATES)}


def config(*scripts: str, parallel: bool = False, **sections: dict) -> Config:
    return Config.model_validate(
        {"async_batch": {"enabled": parallel}, "rehearsal": {"incidents": list(scripts)}, **sections}
    )


def child(feeds: Path, *, resume: bool) -> subprocess.Popen[bytes]:
    """The session of `SPEC` in a process of its own, a checkpoint a chunk."""
    code = (
        "import sys, pathlib\nfrom tests import test_engine_soak as t\nfrom mmlib.market import playback\n"
        "playback.CHUNK_ROWS = 2048\n"
        "t.run_session(t.SPEC, t.config('one_sided_book@10m:5m'), pathlib.Path(sys.argv[1]),"
        f" resume={resume}, checkpoint_s=0.0)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(feeds)], env=os.environ)


def test_killed_for_good_and_resumed_a_session_leaves_the_feeds_of_one_that_never_was(tmp_path: Path) -> None:
    whole = run_session(SPEC, config("one_sided_book@10m:5m"), tmp_path / "whole")
    feeds = tmp_path / "feeds"
    killed = 0
    for symbol in SPEC.symbols:  # once in the middle of each
        running = child(feeds, resume=killed > 0)
        state = tmp_path / "feeds.partial" / "parts" / symbol / "state.npz"
        while running.poll() is None and not state.exists():
            time.sleep(0.002)
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
            killed += 1
        running.wait()
    assert killed >= 1
    assert (tmp_path / "feeds.partial").exists()
    assert child(feeds, resume=True).wait() == 0
    assert digests(feeds) == digests(whole.feeds)
    assert not (tmp_path / "feeds.partial").exists()
    stated, first = read_sidecar(feeds), read_sidecar(whole.feeds)
    assert stated and first
    assert {run["symbol"]: run["fills"] for run in stated["runs"]} == {
        run["symbol"]: run["fills"] for run in first["runs"]
    }
    again = run_session(SPEC, config("one_sided_book@10m:5m"), feeds, resume=True)
    assert again.finished == stated["finished"], "an ended session is not run again"


def test_a_session_killed_between_its_last_line_and_the_swap_is_swapped_in(tmp_path: Path) -> None:
    small = replace(SPEC, symbols=("BTCUSDT",), duration_s=120.0)
    done = run_session(small, config(), tmp_path / "feeds")
    before = digests(done.feeds)
    done.feeds.replace(tmp_path / "feeds.partial")
    run_session(small, config(), tmp_path / "feeds", resume=True)
    assert digests(tmp_path / "feeds") == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 6}, "spec.seed is 6, was 5"),
        ({"uri": "recording:/nowhere.gz"}, "spec.uri is recording:/nowhere.gz, was simulated"),
        ({"sections": {"md_cache": {"ttl_ms": 150}}}, "config.md_cache.ttl_ms is 150, was 100"),
        ({"stops": True}, "stops.soak.stop"),
        ({"code": "other"}, "code is other, was"),
    ],
)
def test_what_began_differently_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict, says: str
) -> None:
    def interrupt(_symbol: str, share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    small = replace(SPEC, symbols=("BTCUSDT",), duration_s=600.0)
    with pytest.raises(KeyboardInterrupt):
        run_session(small, config(), tmp_path / "feeds", progress=interrupt)
    if "code" in change:
        monkeypatch.setattr(checkpoint, "code_sha256", lambda: change["code"])
    other = replace(small, **{k: v for k, v in change.items() if k in ("seed", "uri")})
    stops = tuple(STOPS.values()) if "stops" in change else ()
    with pytest.raises(UserError, match="began differently.*" + says.replace(".", r"\.")):
        run_session(other, config(**change.get("sections", {})), tmp_path / "feeds", stops=stops, resume=True)
    assert (tmp_path / "feeds.partial").exists(), "what can still be resumed stays"


def test_a_recording_is_resumed_only_if_it_is_the_same(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "binance_usdm_btcusdt_20240808.gz"
    spec = SessionSpec(f"recording:{path}", ("BTCUSDT",), ("A",), 120.0)
    whole = run_session(spec, config(), tmp_path / "whole")

    def interrupt(_symbol: str, share: float) -> None:
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_session(spec, config(), tmp_path / "feeds", progress=interrupt, checkpoint_s=0.0)
    run_session(spec, config(), tmp_path / "feeds", resume=True)
    assert digests(tmp_path / "feeds") == digests(whole.feeds)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 12),
    st.sampled_from(["", "one_sided_book@5s:1m", "volatility_spike@10s:1m", "feed_gap@0s:2m"]),
)
def test_a_market_goes_on_from_any_chunk_as_if_it_had_not_been_left(cut: int, script: str) -> None:
    rows = incident_rows(scripted([script] if script else []), START)

    def player() -> Playback:
        market = {"rate_per_s": 100.0}
        return Playback(
            open_source("simulated", "ETHUSDT", seed=4, start_ns=START, market=market),
            START,
            START + 90 * S,
            rows,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(playback, "CHUNK_ROWS", 1024)
        first, whole = player(), []
        while (chunk := first.next()) is not None:
            whole.append(chunk.copy())
        second = player()
        for _ in range(min(cut, len(whole))):
            second.next()
        third = player()
        third.restore({name: array.copy() for name, array in second.state().items()})
        rest = []
        while (chunk := third.next()) is not None:
            rest.append(chunk.copy())
    assert len(whole) > 5
    assert b"".join(chunk.tobytes() for chunk in rest) == b"".join(c.tobytes() for c in whole[cut:])
    joined = np.concatenate(whole)
    assert (np.diff(joined["local_ts_ns"]) >= 0).all()
    assert (np.diff(joined["exch_ts_ns"]) >= 0).all()


def test_without_incidents_a_playback_is_the_source() -> None:
    source = open_source("simulated", "BTCUSDT", seed=9, start_ns=START)
    expected = np.concatenate(list(source.chunks(START, START + 300 * S)))
    again = Playback(
        open_source("simulated", "BTCUSDT", seed=9, start_ns=START),
        START,
        START + 300 * S,
        incidents.no_incidents(),
    )
    chunks = []
    while (chunk := again.next()) is not None:
        chunks.append(chunk.copy())
    assert np.concatenate(chunks).tobytes() == expected.tobytes()


# --- stop criteria while the session runs -------------------------------------------------------------------------------


@st.composite
def a_session(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Ticks and fills of some hours with stretches of trouble, holes and two arms."""
    minutes = draw(st.integers(30, 260))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    every = draw(st.sampled_from([10, 30]))
    at = np.arange(0, minutes * 60, every)
    ticks = np.zeros(2 * len(at), TICK)
    ticks["ts_ns"] = np.repeat(START + at * S + draw(st.integers(0, 59)) * S, 2)
    ticks["arm"] = np.tile([0, 1], len(at))
    ticks["mid"], ticks["rss_mb"], ticks["cache_hit"] = 100.0, 300.0, 1
    for name in ("breaker_open", "deadline_miss", "cache_hit", "rss_mb", "guard_level"):
        first = draw(st.integers(0, minutes)) * 60 // every * 2
        part = slice(first, first + draw(st.integers(0, 150)) * 60 // every * 2)
        if name == "rss_mb":
            ticks[name][part] += np.arange(len(ticks[name][part])) * draw(st.floats(0.0, 3.0))
        else:
            ticks[name][part] = {"cache_hit": 0, "guard_level": GuardLevel.HARD}.get(name, 1)
    hole = draw(st.integers(0, minutes)) * 60 // every * 2
    ticks = np.delete(ticks, slice(hole, hole + draw(st.integers(0, 10)) * 60 // every * 2))
    fills = np.zeros(draw(st.integers(0, 200)), FILL)
    fills["ts_ns"] = np.sort(rng.integers(START, START + minutes * MINUTE_NS, len(fills)))
    fills["arm"], fills["side"] = rng.integers(0, 2, len(fills)), rng.choice([1, -1], len(fills))
    fills["price"] = fills["mid_at_quote"] = fills["mid_at_fill"] = 100.0
    fills["qty"] = rng.integers(1, 9, len(fills))
    fills["liquidity"] = rng.random(len(fills)) < draw(st.sampled_from([0.05, 0.5]))
    return ticks, fills


@settings(max_examples=40, deadline=None)
@given(a_session(), st.lists(st.integers(1, 400), max_size=8))
def test_the_watch_fires_where_the_offline_evaluator_says(session, cuts: list[int]) -> None:
    ticks, fills = session
    if not len(ticks):
        return
    watch, fired = Watch(tuple(STOPS.values()), "BTCUSDT", ("A", "B"), START), []
    for end in [*(k for k in np.cumsum(cuts).tolist() if k < len(ticks)), len(ticks)]:
        known = fills[: np.searchsorted(fills["ts_ns"], ticks["ts_ns"][end - 1], side="right")]
        fired = watch.look(ticks[:end], fills if end == len(ticks) else known, last=end == len(ticks))
        if fired:
            break
    minutes = minute_series(
        tick_frame(ticks, "BTCUSDT", ("A", "B")), fill_frame(fills, "BTCUSDT", ("A", "B"))
    )
    expected = []
    for gate in (one for one in STOPS.values() if one.metric != "pnl"):  # that one is of all symbols together
        for arm, rows in minutes.groupby("arm"):
            ts_ns = rows["ts"].to_numpy("datetime64[ns]").astype(np.int64)
            result = evaluate_series(gate, ts_ns, rows[gate.metric].to_numpy(np.float64))
            if result.status == "FAIL":
                at = np.datetime64(result.reason.split("fired at ")[1][:19], "ns").astype("i8")
                expected.append((int(at), gate.id, str(arm)))
    first = min((at for at, _, _ in expected), default=None)
    assert {(one.minute_ns, one.gate, one.arm) for one in fired} == {e for e in expected if e[0] == first}


def quick(gate_id: str, **changes: float):
    """A stop criterion that needs less patience, as a desk's own gates.yaml could have it."""
    return STOPS[gate_id].model_copy(update=changes)


@pytest.mark.parametrize("parallel", [False, True])
def test_a_halt_in_one_symbol_ends_all_at_the_same_minute_wherever_they_are(
    tmp_path: Path, parallel: bool
) -> None:
    stops = (quick("soak.stop.breaker_open", limit=60.0),)
    done = run_session(
        replace(SPEC, duration_s=7200.0),
        config("rate_limit_storm@30m:10m", parallel=parallel),
        tmp_path / "feeds",
        stops=stops,
    )
    halt_ns = (
        START + 32 * 60 * S
    )  # it has been open for a minute in the second minute, and that minute is whole
    assert {(one.gate, one.halt_ns) for one in done.halted} == {("soak.stop.breaker_open", halt_ns)}
    assert {one.symbol for one in done.halted} == set(SPEC.symbols)
    m = measure(done.feeds, planned_s=7200.0)
    assert m.ticks["ts"].max().value < halt_ns
    assert m.ticks.groupby("symbol")["ts"].max().nunique() == 1
    assert done.span_s == pytest.approx(32 * 60)
    (result,) = m.evaluate(stops)
    assert result.status == "FAIL", "the offline evaluator agrees"
    stated = read_sidecar(done.feeds)
    assert stated
    assert (stated["complete"], stated["incidents"]) == (False, ["rate_limit_storm@30m:10m:1"])
    assert "scripted incidents: rate_limit_storm" in m.evidence
    assert "soak.stop.breaker_open fired at 2025-01-16T00:02:00Z" in m.halted[0]
    again = run_session(
        replace(SPEC, duration_s=7200.0),
        config("rate_limit_storm@30m:10m", parallel=not parallel),
        tmp_path / "again",
        stops=stops,
    )
    assert digests(again.feeds) == digests(done.feeds)


SHORT = {
    "feed_gap": ("feed_gap@10m:30m", quick("soak.stop.hit_ratio", for_s=600.0)),
    "latency_spike": ("latency_spike@10m:20m", STOPS["soak.stop.deadline_miss"]),
    "rate_limit_storm": ("rate_limit_storm@10m:20m", STOPS["soak.stop.breaker_open"]),
    "memory_leak": ("memory_leak@10m:100m:2000", quick("soak.stop.memory_leak", for_s=120.0)),
}


@pytest.mark.parametrize("kind", SHORT)
def test_each_incident_trips_the_criterion_that_it_is_meant_for_and_no_other(
    tmp_path: Path, kind: str
) -> None:
    script, stop = SHORT[kind]
    stops = tuple(stop if gate.id == stop.id else gate for gate in STOPS.values())
    spec = replace(SPEC, symbols=("BTCUSDT",), duration_s=6600.0)
    settings_ = {"market": {"rate_per_s": 60.0, "regime": "calm"}, "md_cache": {"ttl_ms": 400}}
    done = run_session(spec, config(script, **settings_), tmp_path / "feeds", stops=stops)
    assert {one.gate for one in done.halted} == {KINDS[kind].gate} == {stop.id}


@pytest.mark.parametrize("script", ["volatility_spike@10m:15m", "one_sided_book@10m:15m"])
def test_incidents_of_the_market_warn_and_do_not_halt(tmp_path: Path, script: str) -> None:
    spec = replace(SPEC, symbols=("BTCUSDT",), duration_s=2400.0)
    settings_ = {"market": {"rate_per_s": 60.0, "regime": "calm"}, "md_cache": {"ttl_ms": 400}}
    done = run_session(spec, config(script, **settings_), tmp_path / "feeds", stops=tuple(STOPS.values()))
    assert not done.halted
    warnings = [gate for gate in GATES if gate.severity == "warning"]
    fired = {r.id for r in measure(done.feeds).evaluate(warnings) if r.status == "FAIL"}
    assert fired == {KINDS[script.partition("@")[0]].gate}


def test_incidents_that_cannot_be_are_refused_by_name(shared_data: Path, tmp_path: Path) -> None:
    for text, says in (
        ("feed_gap", "expected KIND@START:DURATION"),
        ("fed_gap@1h:1m", "did you mean 'feed_gap'"),
        ("feed_gap@1:1m", "'1' is no time"),
        ("feed_gap@1h:0s", "more than 0s"),
        ("memory_leak@1h:1m:nan", "strength 'nan'"),
        ("memory_leak@1h:1m:x", "strength 'x'"),
    ):
        with pytest.raises(ValueError, match=says):
            parse_incident(text)
    assert str(parse_incident("feed_gap@90m:40m:5")) == "feed_gap@90m:40m:5"
    path = shared_data / "binance_usdm_btcusdt_20240808.gz"
    spec = SessionSpec(f"recording:{path}", ("BTCUSDT",), ("A",), 60.0)
    with pytest.raises(UserError, match="volatility_spike: only a simulated market can have it"):
        run_session(spec, config("volatility_spike@10s:20s"), tmp_path / "feeds")


def test_every_kind_has_a_rule_and_a_gate_that_exists() -> None:
    assert tuple(KINDS) == incidents.KINDS
    assert {rule.gate for rule in KINDS.values()} <= {gate.id for gate in GATES}
    assert len({rule.gate for rule in KINDS.values()}) == len(KINDS)
    json.dumps({name: rule.default for name, rule in KINDS.items()})
