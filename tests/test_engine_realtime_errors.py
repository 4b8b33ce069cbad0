"""Each fault of the loopback exchange, alone and all together, on a whole session: one number of errors wherever one looks."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest

from mmlib.config.load import ensure_params
from mmlib.engine.realtime.options import LiveUri
from mmlib.engine.realtime.run import run_live
from mmlib.engine.realtime.telemetry import Telemetry
from mmlib.engine.session import SessionSpec
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.sidecar import read_sidecar
from mmlib.gates.spec import load_gates
from mmlib.market.live import codes
from mmlib.market.loopback.faults import NAMES
from mmlib.metrics.latency import error_events
from mmlib.ops import daily
from mmlib.ops.day import load_day
from mmlib.ops.days import days_with_feeds
from tests.live_fixtures import CONFIG, SYMBOLS, loopback

pytestmark = pytest.mark.usefixtures("live_kernels")

ARMS = ("A", "B")
BRIEF = {"slow": 0.3, "silence": 0.3, "mute": 0.3, "refuse": 0.3, "skew": 5.0}
EXACT = {
    "drop": {codes.DISCONNECT: 1},  # one socket, whatever it carries
    "garbage": {codes.BAD_FRAME: 4},
    "5xx": {codes.SERVER: 1, codes.GAP: 1},
    "gap": {codes.GAP: 1},
    "duplicate": {},
    "skew": {},
    "silence": {},
}
"""What a fault leads to, where that is certain."""

Counts = dict[str, Counter[str]]


def hurt(host, fault: str) -> None:
    if fault == "5xx":
        host.hurt("gap", 1)  # a reason to ask
        host.hurt(fault, 1)
    elif fault == "gap":
        host.hurt(fault, 1)
    else:
        host.hurt(fault, BRIEF.get(fault, 4))


def in_feeds(feeds: Path) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for path in feeds.glob("pipeline_ticks_*"):
        for row in map(orjson.loads, path.read_bytes().splitlines()):
            told = row.get("error_codes", {})
            assert sum(told.values()) == row["errors"]
            for code, n in told.items():
                found[row["symbol"], row["arm"], code] += n
    return found


def in_telemetry(telemetry: Telemetry) -> Counter[tuple[str, str, str]]:
    return Counter(
        {
            tuple(sample.labels[name] for name in ("symbol", "arm", "code")): int(sample.value)
            for family in telemetry.registry.collect()
            for sample in family.samples
            if sample.name == "mm_error_total" and sample.value
        }
    )


def in_report(ws: Path, feeds: Path) -> tuple[Counter[tuple[str, str, str]], float]:
    found: Counter[tuple[str, str, str]] = Counter()
    total = 0.0
    for day in days_with_feeds(feeds):  # two of them at midnight
        summary = daily.daily_summary(load_day(feeds, day), load_gates(ws))
        total += summary.figures.sums["errors"]
        for row in summary.codes.to_dict("records"):
            found[row["symbol"], row["arm"], row["code"]] += row["n"]
    return found, total


@pytest.mark.parametrize("faults", [*([name] for name in sorted(NAMES)), sorted(NAMES)], ids="+".join)
def test_errors_are_the_same_number_in_feeds_telemetry_sidecar_and_report(
    faults: list[str], tmp_path: Path
) -> None:
    ensure_params(tmp_path)
    feeds, telemetry = tmp_path / "feeds", Telemetry(0, SYMBOLS, ARMS)
    met: Counter[str] = Counter()
    loops: list = []

    def watch(loop):
        loops.append(loop)
        count = loop.ledger.error

        def error(symbol: str, code: str, detail: str) -> None:
            met[code] += 1
            count(symbol, code, detail)

        loop.ledger.error = error
        return [telemetry]

    with loopback(rate_per_s=150.0) as host:

        def trouble() -> None:
            while not loops or len(loops[0].last_ns) < len(SYMBOLS):
                time.sleep(0.02)
            for fault in faults:
                hurt(host, fault)
                time.sleep(0.2)

        helper = threading.Thread(target=trouble)
        helper.start()
        seconds = 0.9 if len(faults) == 1 else 5.0
        spec = SessionSpec(LiveUri("binanceusdm", host.url).text(), SYMBOLS, ARMS, seconds, seed=3)
        run_live(spec, CONFIG, feeds, watch=watch)
        helper.join()
    stated = read_sidecar(feeds)
    assert stated is not None
    told = in_feeds(feeds)
    assert in_telemetry(telemetry) == told
    reported, total = in_report(tmp_path, feeds)
    assert reported == told
    for arm in ARMS:
        by_symbol = {
            symbol: {code: n for (s, a, code), n in told.items() if (s, a) == (symbol, arm)}
            for symbol in SYMBOLS
        }
        assert by_symbol == {
            symbol: {code: n for code, n in of.items() if n} for symbol, of in stated["errors"].items()
        }
    events = sum((Counter(of) for of in stated["errors"].values()), Counter())
    assert error_events(read_feeds(feeds, "ticks").frame) == total == events.total()
    later = sum((one.pending for one in loops[0].ledger.symbols.values()), Counter(loops[0].ledger.left()))
    found_by_ticks = {codes.SILENT, codes.NO_BOOK}
    assert {code: n for code, n in (events + later).items() if code not in found_by_ticks} == met
    if len(faults) == 1 and faults[0] in EXACT:
        assert met == EXACT[faults[0]]
