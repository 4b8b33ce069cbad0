"""A session's feeds: swapped in whole, never over a desk's own, the same whether symbols run in parallel or not."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmlib._io import UserError
from mmlib.config.load import shipped_dir
from mmlib.config.models import Config
from mmlib.dtypes import Grade, Status
from mmlib.engine.measure import measure
from mmlib.engine.session import SessionSpec, obtain_feeds, run_session
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.sidecar import read_sidecar
from mmlib.gates.spec import load_gates

START = int(np.datetime64("2025-01-15T23:50", "ns").astype("i8"))
ALONE = Config.model_validate({"async_batch": {"enabled": False}})
SPEC = SessionSpec("simulated", ("BTCUSDT", "ETHUSDT"), ("A", "B"), 1200.0, start_ns=START, seed=5)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_session(SPEC, ALONE, tmp_path_factory.mktemp("session") / "feeds").feeds


def fills_of(feeds: Path) -> list[tuple]:
    frame = read_feeds(feeds, "fills").frame
    return list(frame.sort_values(["symbol", "arm", "fill_id"]).itertuples(index=False, name=None))


def test_feeds_rotate_at_midnight_and_state_what_they_are(session: Path) -> None:
    names = sorted(path.name for path in session.glob("pipeline_ticks_*"))
    assert names == ["pipeline_ticks_20250115.jsonl", "pipeline_ticks_20250116.jsonl"]
    stated = read_sidecar(session)
    assert stated is not None
    assert (stated["grade"], stated["symbols"], stated["arms"]) == (
        "simulated",
        ["BTCUSDT", "ETHUSDT"],
        ["A", "B"],
    )
    assert "model" in stated["refresh_latency"]
    assert len(fills_of(session)) > 20
    assert not session.with_name("feeds.partial").exists()


def test_parallel_symbols_and_a_repeat_give_the_same_fills(session: Path, tmp_path: Path) -> None:
    parallel = run_session(SPEC, Config(), tmp_path / "parallel").feeds
    again = run_session(SPEC, ALONE, tmp_path / "again").feeds
    assert fills_of(session) == fills_of(parallel) == fills_of(again)


def test_an_error_in_another_process_ends_the_session_at_once(tmp_path: Path) -> None:
    shares: list[float] = []
    long = replace(SPEC, symbols=("BTCUSDT", "no symbol"), duration_s=30 * 86_400.0)
    with pytest.raises(UserError, match="symbol 'NO SYMBOL'"):
        run_session(long, Config(), tmp_path / "feeds", progress=lambda _, share: shares.append(share))
    assert max(shares, default=0.0) < 1.0


def test_another_seed_gives_other_fills(session: Path, tmp_path: Path) -> None:
    other = run_session(replace(SPEC, seed=6, symbols=("BTCUSDT",)), ALONE, tmp_path / "feeds").feeds
    assert {row[:6] for row in fills_of(other)} != {
        row[:6] for row in fills_of(session) if row[1] == "BTCUSDT"
    }


def test_the_session_before_is_kept_and_a_failed_one_replaces_nothing(tmp_path: Path) -> None:
    feeds = tmp_path / "feeds"
    small = replace(SPEC, symbols=("BTCUSDT",), duration_s=60.0)
    run_session(small, ALONE, feeds)
    before = fills_of(feeds)
    run_session(replace(small, seed=9), ALONE, feeds)
    assert fills_of(feeds.with_name("feeds.previous")) == before
    with pytest.raises(UserError, match="no such file"):
        run_session(replace(small, uri=f"recording:{tmp_path / 'absent.gz'}"), ALONE, feeds)
    assert read_sidecar(feeds) is not None


def test_a_desks_own_feeds_are_never_replaced(tmp_path: Path) -> None:
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    (feeds / "fills_20250115.jsonl").write_text('{"schema":1}\n')
    with pytest.raises(UserError, match="no session of ours wrote"):
        run_session(SPEC, ALONE, feeds)
    assert (feeds / "fills_20250115.jsonl").read_text() == '{"schema":1}\n'
    spec = replace(SPEC, uri=f"feeds:{feeds}")
    assert obtain_feeds(spec, ALONE, tmp_path / "unused") == feeds
    assert not (tmp_path / "unused").exists()
    with pytest.raises(UserError, match="no such directory"):
        obtain_feeds(replace(SPEC, uri=f"feeds:{tmp_path / 'absent'}"), ALONE, tmp_path / "unused")


def test_a_measured_session_answers_its_gates(session: Path) -> None:
    book = load_gates(shipped_dir("params").parent)
    m = measure(session, planned_s=1200)
    assert m.grade is Grade.SIMULATED
    assert m.span_s == pytest.approx(1200, abs=2)
    results = {result.id: result for result in m.evaluate(book.step("shadow"))}
    ticks = m.ticks
    assert results["shadow.hit_ratio"].value == pytest.approx(ticks["cache_hit"].mean())
    assert results["shadow.deadline_miss"].value == pytest.approx(100 * ticks["deadline_miss"].mean())
    exact = np.quantile(ticks["tick_total_ms"], 0.95, method="inverted_cdf")
    assert results["shadow.tick_total_p95"].value == pytest.approx(exact, rel=1.1e-3)
    soak = {result.id: result.status for result in m.evaluate(book.step("soak"))}
    assert Status.PASS not in {status for gate, status in soak.items() if gate.startswith("soak.stop")}
    short = measure(session, planned_s=3600)
    assert short.evaluate(book.step("shadow"))[0].status is Status.INCONCLUSIVE, (
        "a run cut short never passes"
    )


def test_symbols_are_found_in_any_case_and_missing_ones_are_named(session: Path) -> None:
    assert set(measure(session, symbols=["btcusdt"]).ticks["symbol"]) == {"BTCUSDT"}
    with pytest.raises(UserError, match="holds BTCUSDT, ETHUSDT; expected one of SOLUSDT"):
        measure(session, symbols=["SOLUSDT"])


def test_no_feeds_pass_nothing(tmp_path: Path) -> None:
    book = load_gates(shipped_dir("params").parent)
    m = measure(tmp_path / "nothing", planned_s=300)
    for step in ("shadow", "soak"):
        assert {result.status for result in m.evaluate(book.step(step))} == {Status.NO_DATA}


def binance_lines(n: int) -> list[str]:
    """A tiny USD-M recording: 50 ms between updates, a book that stands, a trade a second."""
    lines = []
    for i in range(n):
        at = 1_736_985_000_000 + 50 * i
        update = {
            "e": "depthUpdate", "E": at, "T": at, "s": "BTCUSDT", "U": i * 2 + 1, "u": i * 2 + 2, "pu": i * 2,
            "b": [["60000.00", f"{1 + i % 3}.000"]], "a": [["60000.10", "1.000"]],
        }  # fmt: skip
        lines.append(
            f"{at * 1_000_000 + 3_000_000} " + json.dumps({"stream": "btcusdt@depth", "data": update})
        )
    return lines


def test_a_truncated_recording_with_rubbish_in_it_still_runs_and_counts(tmp_path: Path) -> None:
    lines = binance_lines(2400)
    lines[100] = "1736985005000000000 {not json"
    path = tmp_path / "recording.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode())[:-40])
    spec = SessionSpec(f"recording:{path}", ("BTCUSDT",), ("A",), 100.0)
    done = run_session(spec, ALONE, tmp_path / "feeds", quarantine=tmp_path / "quarantine")
    quality = done.runs[0].quality
    assert quality["bad_lines"] >= 1
    assert quality["truncated"] == 1
    assert done.runs[0].ticks > 50
    kept = list((tmp_path / "quarantine").rglob("*.jsonl"))
    assert kept
    assert "not json" in kept[0].read_text()


@pytest.mark.recording
def test_the_real_btc_recording_gives_sane_fills(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "binance_usdm_btcusdt_20240808.gz"
    spec = SessionSpec(f"recording:{path}", ("BTCUSDT",), ("A",), 300.0)
    done = run_session(spec, ALONE, tmp_path / "feeds")
    m = measure(done.feeds, planned_s=300)
    assert done.grade is Grade.RECORDING
    assert "recording's own" in done.runs[0].refresh_label
    maker = m.fills[m.fills["liquidity"] == "maker"]
    assert len(maker) > 10
    edge = (
        np.where(maker["side"] == "buy", 1, -1)
        * (maker["mid_at_quote"] - maker["price"])
        / maker["mid_at_quote"]
    )
    assert edge.median() * 1e4 == pytest.approx(2.0, abs=0.7), (
        "quotes stand half of 4 bps from the mid, less the skew"
    )
