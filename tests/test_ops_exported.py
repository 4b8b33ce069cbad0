"""Every series that the alert rules and the dashboard read is exported by a running session, or recorded by a rule."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mmlib.config.flags import snapshot
from mmlib.config.load import ensure_params, load_config
from mmlib.engine.realtime.loop import LiveLoop, Observer
from mmlib.engine.realtime.options import LiveUri
from mmlib.engine.realtime.run import run_live
from mmlib.engine.realtime.watching import with_values
from mmlib.engine.session import SessionSpec
from mmlib.gates.spec import load_gates
from mmlib.metrics.exported import FAMILIES, OWN_METRICS
from mmlib.ops import promql, rules
from mmlib.ops.dashboards import dashboard_json
from mmlib.rollout.watchdog import StageWatch
from tests.live_fixtures import CONFIG, SYMBOLS, loopback

pytestmark = pytest.mark.usefixtures("live_kernels")

MINUTE_NS = 60_000_000_000
SELECTOR = re.compile(r"((?:mm|process|finishline)[a-zA-Z0-9_:]*)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|=)\s*"([^"]*)"')

Samples = dict[str, list[dict[str, str]]]


class Hurried(StageWatch):
    """The watch of a stage a minute ahead of its time, so that a minute is over within a second or two."""

    def on_second(self, session: LiveLoop, now_ns: int) -> None:
        super().on_second(session, now_ns)
        super().on_second(session, now_ns + MINUTE_NS)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """What a scrape of a running A/B session gets: name to the labels of its samples."""
    ws = tmp_path_factory.mktemp("ws")
    ensure_params(ws)
    snapshot(ws, load_config(ws, sets={}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = with_values(CONFIG, {"telemetry.port": port})
    found: Samples = {}
    failures: list[str] = []
    stage = Hurried(
        ws, load_gates(ws).step("ab_10"), stage="ab_10", config=config, planned_s=86400, evidence="live: test"
    )

    def watch(session: LiveLoop) -> list[Observer]:
        def scrape() -> None:
            for _ in range(1000):
                time.sleep(0.1)
                if session.ledger.gate_values:
                    break
            time.sleep(1.2)  # the telemetry's next second
            for family in text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{port}/metrics").text):
                for sample in family.samples:
                    found.setdefault(sample.name, []).append(sample.labels)
            failures.extend(told for told in session.ledger.recent if told.startswith("ab_10: "))
            session.stop("scraped")

        threading.Thread(target=scrape, daemon=True).start()
        return [stage]

    with loopback(rate_per_s=150.0) as host:
        uri = LiveUri("binanceusdm", host.url).text()
        run_live(
            SessionSpec(uri, SYMBOLS, ("A", "B"), 30.0, seed=3),
            config,
            ws / "artifacts" / "feeds",
            watch=watch,
        )
    assert failures == []
    return found


def read_series(ws: Path) -> Iterator[tuple[str, str]]:
    """(name, matchers) of every selector in the rule file and the dashboard, with where it stands."""
    book = load_gates(ws)
    groups = rules.rule_file(book)["groups"]
    exprs = [rule["expr"] for group in groups for rule in group["rules"]]
    text = json.loads(dashboard_json(book))
    panels = [inner for panel in text["panels"] for inner in [panel, *panel.get("panels", ())]]
    exprs += [target["expr"] for panel in panels for target in panel.get("targets", ())]
    for expr in exprs:
        for match in SELECTOR.finditer(expr):
            yield match[1], match[2] or ""


def holds(matchers: str, labels: dict[str, str]) -> bool:
    return all(
        (re.fullmatch(value, labels.get(name, "")) is not None) if op == "=~" else labels.get(name) == value
        for name, op, value in MATCHER.findall(matchers)
        if "$" not in value
    )


def test_what_rules_and_dashboard_read_is_exported_or_recorded(exported: Samples) -> None:
    ws = Path(__file__).resolve().parents[1]
    recorded = {
        rule["record"]
        for group in rules.rule_file(load_gates(ws))["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    series = set(read_series(ws))
    names = {name for name, _ in series}
    assert {"mm_gate_metric", "mm_tick_duration_seconds_bucket", "process_resident_memory_bytes"} <= names
    missing = [
        (name, matchers)
        for name, matchers in series
        if name not in recorded and not any(holds(matchers, labels) for labels in exported.get(name, ()))
    ]
    assert missing == []


def test_every_family_is_exported_and_nothing_else_of_ours(exported: Samples) -> None:
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in exported}
    assert families == set(FAMILIES)


def test_the_session_exports_just_the_gate_metrics_that_no_expression_gives(exported: Samples) -> None:
    book = load_gates(Path(__file__).resolve().parents[1])
    sustained = {gate.metric for gate in book if rules.sustained(gate)}
    assert sustained - set(promql.VALUES) == OWN_METRICS
    assert {labels["metric"] for labels in exported["mm_gate_metric"]} == OWN_METRICS
    assert {(labels["symbol"], labels["arm"]) for labels in exported["mm_gate_metric"]} == {
        (s, "B") for s in SYMBOLS
    }
