"""What watches a live session: minute figures against the offline ones, telemetry against the feeds, halts and rollbacks."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from mmlib._io import UserError
from mmlib.config.load import ensure_params
from mmlib.config.models import Config
from mmlib.config.rollback import rollback
from mmlib.dtypes import FILL, TICK
from mmlib.engine.realtime.options import LiveUri
from mmlib.engine.realtime.run import run_live
from mmlib.engine.realtime.stops import MINUTE_NS, StopCriteria
from mmlib.engine.realtime.telemetry import Telemetry
from mmlib.engine.realtime.watching import with_values
from mmlib.engine.session import SessionSpec, run_session
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.sidecar import read_sidecar
from mmlib.feeds.writer import FeedWriter
from mmlib.gates.spec import load_gates
from mmlib.metrics.latency import minute_series
from mmlib.workflow.watch import running, view
from tests.live_fixtures import CONFIG, SYMBOLS, loopback

pytestmark = pytest.mark.usefixtures("live_kernels")

START = 1_736_899_200_000_000_000
METRICS = (
    *("hit_ratio", "deadline_miss_pct", "tick_total_p95_ms", "fetch_md_p95_ms", "errors_per_min"),
    *("breaker_open_s", "rss_slope_mb_per_h", "taker_share_pct"),
)


def test_minute_figures_are_those_of_the_offline_evaluator(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    n = 95 * 12
    ticks = np.zeros(n, TICK)
    ticks["ts_ns"] = ticks["scheduled_ns"] = START + np.arange(n) * 5_000_000_000
    ticks["tick_total_ms"], ticks["fetch_md_ms"] = rng.gamma(2, 20, n).round(6), rng.gamma(2, 5, n).round(6)
    ticks["rss_mb"] = 200 + np.arange(n) * 0.01 + rng.random(n)
    ticks["mid"], ticks["spread_bps"] = 100.0, 1.0
    ticks["errors"] = rng.random(n) < 0.1
    for name, share in (("cache_hit", 0.7), ("deadline_miss", 0.05), ("breaker_open", 0.4)):
        ticks[name] = rng.random(n) < share
    ticks["breaker_open"][300:500] = 1
    ticks = np.delete(ticks, slice(200, 250))  # a hole of minutes
    fills = np.zeros(200, FILL)
    fills["ts_ns"] = np.sort(rng.choice(ticks["ts_ns"], 200))
    for name in ("price", "quote_price", "mid_at_fill", "mid_at_quote"):
        fills[name] = 100.0
    fills["qty"], fills["side"] = rng.random(200) + 0.1, 1
    fills["liquidity"] = rng.random(200) < 0.2
    fills["fill_id"] = fills["order_id"] = 1 + np.arange(200)
    with FeedWriter(tmp_path, "BTCUSDT", ("A",)) as writer:
        writer.ticks(ticks)
        writer.fills(fills)
    frames = [read_feeds(tmp_path, kind).frame for kind in ("ticks", "fills")]
    expected = minute_series(*frames)
    got: dict[int, dict[str, float]] = {}

    class Spy(StopCriteria):
        def _watch(self, symbol, arm, minute_ns, values):
            got.setdefault(minute_ns, {}).update(values)

    spy = Spy([], ("A",))
    at = 0
    for k in range(len(ticks)):
        spy.on_tick("BTCUSDT", ticks[k : k + 1], {})
        due = int(np.searchsorted(fills["ts_ns"], ticks["ts_ns"][k], side="right"))
        spy.on_fill("BTCUSDT", fills[at:due])
        at = due
    assert len(got) == len(expected) - 1  # the last minute is still under way
    for row in expected.iloc[:-1].itertuples(index=False):
        mine = got[row.ts.value]
        for metric in METRICS:
            assert mine.get(metric, np.nan) == pytest.approx(
                getattr(row, metric), rel=1e-9, abs=1e-9, nan_ok=True
            ), (
                row.ts,
                metric,
            )


def test_a_critical_stop_criterion_ends_the_session_by_its_name(tmp_path: Path) -> None:
    ensure_params(tmp_path)
    criteria = StopCriteria(list(load_gates(tmp_path).step("soak")), ("A",))
    stopped: list[str] = []

    class Session:
        def stop(self, reason: str) -> None:
            stopped.append(reason)

    row = np.zeros(1, TICK)
    row["deadline_miss"], row["cache_hit"], row["rss_mb"] = 1, 1, 100.0
    for second in range(0, 13 * 60, 5):
        row["ts_ns"] = START + second * 10**9
        criteria.on_tick("BTCUSDT", row, {})
        criteria.on_second(Session(), int(row["ts_ns"][0]))
        if stopped:
            break
    assert stopped[0].startswith("soak.stop.deadline_miss: deadline_miss_pct 100 > 5 %, BTCUSDT, arm A")
    assert second == 11 * 60  # violating minutes 0 to 10 cover ten minutes once minute 10 is whole
    worst = {shown["gate"]: shown for shown in criteria.rows()}
    assert (
        worst["soak.stop.deadline_miss"]["violated_s"] >= 600
        and worst["soak.stop.hit_ratio"]["margin"] == 0.5
    )


def scraped(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = httpx.get(url).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_telemetry_feeds_and_statement_agree_and_a_rollback_reaches_the_session(tmp_path: Path) -> None:
    ensure_params(tmp_path)
    feeds, port = tmp_path / "artifacts" / "feeds", free_port()
    config = with_values(CONFIG, {"telemetry.port": port})
    final: dict = {}
    seen: list = []

    def watch(loop):
        final["loop"] = loop
        return []

    with loopback(rate_per_s=150.0) as host:
        spec = SessionSpec(
            LiveUri("binanceusdm", host.url, tmp_path / "raw.gz").text(), SYMBOLS, ("A", "B"), 4.0, seed=3
        )

        def meanwhile() -> None:
            while "loop" not in final or not final["loop"].last_ns:
                time.sleep(0.05)
            host.hurt("gap")
            host.hurt("5xx")
            seen.append(view(running(tmp_path)) if running(tmp_path) else None)
            rollback(tmp_path, flags=["md_cache.enabled"], reason="hit ratio fell")
            time.sleep(1.5)
            seen.append(scraped(f"http://127.0.0.1:{port}/metrics"))

        helper = threading.Thread(target=meanwhile)
        helper.start()
        from mmlib.engine.realtime import watching as module

        kept: list[Telemetry] = []
        original = module.Telemetry

        def keeping(*arguments, **named):
            kept.append(original(*arguments, **named))
            return kept[-1]

        module.Telemetry = keeping
        try:
            run_live(spec, config, feeds, watch=watch)
        finally:
            module.Telemetry = original
            helper.join()
    assert seen[1]["process_resident_memory_bytes", ()] > 1e7
    assert final["loop"].plan.config.md_cache.enabled is False
    ticks, fills = read_feeds(feeds, "ticks").frame, read_feeds(feeds, "fills").frame
    stated = read_sidecar(feeds)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in kept[0].registry.collect()
        for sample in family.samples
    }
    for (symbol, arm), rows in ticks.groupby(["symbol", "arm"], observed=True):
        labels = (("arm", arm), ("symbol", symbol))
        own = fills[(fills["symbol"] == symbol) & (fills["arm"] == arm)]
        assert samples["mm_tick_total", labels] == len(rows)
        assert samples["mm_tick_duration_seconds_count", labels] == len(rows)
        assert samples["mm_tick_duration_seconds_sum", labels] == pytest.approx(
            rows["tick_total_ms"].sum() / 1e3, abs=1e-4
        )
        assert samples["mm_md_cache_hit_total", labels] == rows["cache_hit"].sum()
        assert samples["mm_md_cache_miss_total", labels] == (~rows["cache_hit"]).sum()
        assert samples["mm_tick_deadline_miss_total", labels] == rows["deadline_miss"].sum()
        by_code = {
            dict(key)["code"]: value
            for (name, key), value in samples.items()
            if name == "mm_error_total" and value and ("arm", arm) in key and ("symbol", symbol) in key
        }
        assert by_code == stated["errors"][symbol]
        assert sum(by_code.values()) == rows["errors"].sum()
        for kind in ("maker", "taker"):
            key = ("mm_fills_total", (("arm", arm), ("symbol", symbol), ("type", kind)))
            assert samples[key] == (own["liquidity"] == kind).sum()
    told: dict[str, Counter[str]] = {symbol: Counter() for symbol in SYMBOLS}
    for path in feeds.glob("pipeline_ticks_*"):
        for line in map(orjson.loads, path.read_bytes().splitlines()):
            if line["arm"] == "A":
                told[line["symbol"]].update(line.get("error_codes", {}))
    assert told == stated["errors"]
    assert sum(stated["errors"][symbol].get("ERR_SEQUENCE_GAP", 0) for symbol in SYMBOLS) == 1
    assert running(tmp_path) is None
    again = run_session(
        SessionSpec(f"recording:{tmp_path / 'raw.gz'}", SYMBOLS, ("A", "B"), 4.0, seed=3),
        config,
        tmp_path / "again",
    )
    key = ["symbol", "arm", "fill_id"]
    other = read_feeds(again.feeds, "fills").frame.sort_values(key).astype(str).to_numpy()
    assert np.array_equal(other, fills.sort_values(key).astype(str).to_numpy())


def test_a_taken_port_is_named() -> None:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with pytest.raises(UserError, match="expected a free port, or 0"):
            Telemetry(sock.getsockname()[1], SYMBOLS, ("A",))


def test_with_values_takes_only_what_the_configuration_has() -> None:
    assert with_values(Config(), {"md_cache.enabled": False}).md_cache.enabled is False
    for key in ("md_cache.enabld", "nothing", "a.b.c"):
        with pytest.raises(ValueError, match="no key"):
            with_values(Config(), {key: 1})
    assert MINUTE_NS == 60 * 10**9


def test_eighty_columns_cut_no_number() -> None:
    row = {
        "synced": True, "mid": 60_021.35, "ticks": 123_456, "tick_p95_ms": 2.694, "hit_ratio": 0.98765, "deadline_misses": 12,
        "fills": 1234, "errors": 0, "inventory": [0.016, -0.0312], "guard_level": 1, "breaker_open": False,
    }  # fmt: skip
    status = {
        "exchange": "binanceusdm", "address": "here", "connected": True, "frames": 1, "rss_mb": 300.0, "share": 0.5,
        "symbols": {"BTCUSDT": row, "1000PEPEUSDT": row | {"mid": 0.01234567}}, "gates": [], "recent_errors": [],
    }  # fmt: skip
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(view(status))
    text = console.export_text()
    for whole in ("60,021.35", "0.01234567", "123,456", "2.69", "0.988", "-0.0312", "1000PEPEUSDT", "1234"):
        assert whole in text
