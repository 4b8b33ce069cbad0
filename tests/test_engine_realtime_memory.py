"""A session of days holds what one of minutes holds: whatever it keeps by time has a window, and is as large from the start."""

from __future__ import annotations

import asyncio
import gc
import os
import types
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmlib.config.load import ensure_params, load_config
from mmlib.config.models import Config
from mmlib.dtypes import FILL, TICK
from mmlib.engine.realtime.ledger import Ledger
from mmlib.engine.realtime.loop import LiveLoop
from mmlib.engine.realtime.options import LiveUri
from mmlib.engine.realtime.phases import PHASES, PhaseTimes
from mmlib.engine.realtime.run import run_live
from mmlib.engine.realtime.status import StatusFile
from mmlib.engine.realtime.steady import tidy
from mmlib.engine.realtime.stops import StopCriteria
from mmlib.engine.realtime.telemetry import Telemetry
from mmlib.engine.session import SessionSpec
from mmlib.gates.spec import load_gates
from mmlib.market.live import codes
from mmlib.market.live.rawlog import RawLog
from mmlib.rollout.watchdog import StageWatch
from tests.fast_time import fast_time
from tests.live_fixtures import SYMBOLS, loopback

pytestmark = pytest.mark.usefixtures("live_kernels")

S = 1_000_000_000
START_NS = 1_736_899_200 * S
ARMS = ("A", "B")
PAGE = 4096

_ELSEWHERE = (
    *(types.ModuleType, type, types.FunctionType, types.MethodType, types.BuiltinFunctionType),
    *(types.FrameType, types.CoroutineType, types.GeneratorType, asyncio.AbstractEventLoop, asyncio.Future),
)


def reachable(*roots: Any) -> Iterator[Any]:
    """Every object that the roots hold, themselves included; code, classes and the event loop are not theirs."""
    seen, waiting = {id(root) for root in roots}, list(roots)
    while waiting:
        one = waiting.pop()
        yield one
        for held in gc.get_referents(one):
            if id(held) not in seen and not isinstance(held, _ELSEWHERE):
                seen.add(id(held))
                waiting.append(held)


def size(*roots: Any) -> tuple[int, int]:
    """Entries of every container that can grow, and bytes of every array, among what the roots hold."""
    entries = array_bytes = 0
    for one in reachable(*roots):
        if isinstance(one, list | dict | set | deque | bytearray):
            entries += len(one)
        elif isinstance(one, np.ndarray) and one.base is None:
            array_bytes += one.nbytes
    return entries, array_bytes


def tick_rows(k: int) -> np.ndarray:
    rows = np.zeros(2, TICK)
    rows["ts_ns"] = rows["scheduled_ns"] = START_NS + k * 10 * S
    rows["arm"], rows["mid"], rows["tick_total_ms"], rows["fetch_md_ms"] = [0, 1], 100.0, 1.0 + k % 7, 0.1
    rows["rss_mb"], rows["spread_bps"], rows["cache_hit"], rows["breaker_open"] = 100.0, 1.0, 1, k % 50 < 5
    rows["errors"], rows["guard_level"] = k % 11 == 0, k % 3
    return rows


def fill_rows(k: int) -> np.ndarray:
    fills = np.zeros(2, FILL)
    fills["ts_ns"], fills["arm"], fills["side"], fills["order_id"] = START_NS + k * 10 * S, [0, 1], 1, k
    for name in ("price", "quote_price", "mid_at_quote", "mid_at_fill", "qty"):
        fills[name] = 100.0
    fills["liquidity"], fills["fill_id"] = k % 2, k
    return fills


def test_what_watches_a_session_is_as_large_after_hours_as_after_minutes(tmp_path: Path) -> None:
    ensure_params(tmp_path)
    config = load_config(tmp_path, sets={"pipeline.tick_interval_ms": 10_000}).config
    book = load_gates(tmp_path)
    ledger, phases = Ledger(SYMBOLS, ARMS), PhaseTimes()
    stage = StageWatch(
        tmp_path, book.step("ab_10"), stage="ab_10", config=config, planned_s=86_400, evidence=""
    )
    observers = [
        Telemetry(0, SYMBOLS, ARMS),
        StopCriteria(book.step("soak"), ARMS),
        StatusFile(tmp_path / "status.json"),
        stage,
    ]
    sizes = []
    for k in range(4 * 360):
        for symbol in SYMBOLS:
            if k % 11 == 0:
                ledger.error(symbol, list(codes.CODES)[k % len(codes.CODES)], f"the {k}th")
                ledger.error("", codes.DISCONNECT, f"at {k}")
            met = ledger.take_errors(symbol)
            rows, fills = tick_rows(k), fill_rows(k)
            errors = ledger.symbols[symbol].tick(met.counted, rows, False)
            phases.tick((*range(k, k + len(PHASES) + 1),), 0)
            for observer in observers:
                observer.on_tick(symbol, rows, errors)
                observer.on_fill(symbol, fills)
        if k % 6 == 5:
            stage._forget(START_NS + k * 10 * S - 61 * 60 * S)
        if k >= 60 and k % 64 == 0:  # after ten minutes; the phases are counted 64 at a time
            sizes.append(size(ledger, phases, *observers))
    entries, array_bytes = zip(*sizes, strict=True)
    assert max(entries) <= 1.05 * entries[0]  # a code, or a kind of fill, may still be met for the first time
    assert set(array_bytes) == {array_bytes[0]}


class Weighed:
    """Observer that weighs the session which it watches."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []
        self._due_ns = 0

    def on_tick(self, symbol: str, rows: np.ndarray, errors: dict[str, int]) -> None: ...

    def on_fill(self, symbol: str, fills: np.ndarray) -> None: ...

    def on_second(self, session: LiveLoop, now_ns: int) -> None:
        if now_ns > self._due_ns:
            self.sizes.append(size(session))
            self._due_ns = now_ns + 60 * S


def test_a_session_is_as_large_in_its_last_minutes_as_in_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate({"pipeline": {"deadline_ms": 900_000}, "md_cache": {"ttl_ms": 60_000}})
    weighed = Weighed()
    with fast_time(monkeypatch, 60.0, START_NS), loopback(rate_per_s=10.0) as host:
        uri = LiveUri("binanceusdm", host.url, tmp_path / "raw.gz").text()
        spec = SessionSpec(uri, SYMBOLS, ARMS, 300.0, seed=3)
        run_live(spec, config, tmp_path / "feeds", watch=lambda _loop: [weighed])
    first, *_, last = weighed.sizes[1:]
    assert last[0] < 1.2 * first[0]  # the books breathe,
    assert last[1] < 1.01 * first[1]  # and some rows are on their way to the disk


def test_lines_handed_out_stay_as_they_are_while_others_come(tmp_path: Path) -> None:
    rng, log = np.random.default_rng(2), RawLog(tmp_path / "raw")
    naive, handed = [], b""
    for k in range(60):
        for _ in range(rng.integers(0, 40)):
            frame = rng.bytes(int(rng.choice([10, 300, 200_000]))).replace(b"\n", b" ")
            log.write(START_NS + k, frame)
            naive.append(b"%d %b\n" % (START_NS + k, frame))
        if k % 7 == 3:
            data = log.cut()
            assert bytes(data) == b"".join(naive)
            handed, naive = data, []
            before = bytes(handed)
        if k % 7 == 5:
            assert bytes(handed) == before
    log.close()
    assert (tmp_path / "raw").read_bytes() == b"".join(naive)


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="only Linux tells which pages are there")
def test_memory_that_was_freed_in_pieces_is_given_back() -> None:
    def resident(address: int, n_bytes: int) -> int:
        first, last = -(-address // PAGE), (address + n_bytes) // PAGE
        with Path("/proc/self/pagemap").open("rb", buffering=0) as pages:
            raw = os.pread(pages.fileno(), 8 * (last - first), 8 * first)
        return int(np.count_nonzero(np.frombuffer(raw, np.uint64) >> np.uint64(63)))

    large, small = [], []
    for _ in range(200):  # what is small lies between what is large, and is kept
        large.append(np.ones(100_000, np.uint8))
        small.append(np.ones(2_000, np.uint8))
    places = [(one.__array_interface__["data"][0], one.nbytes) for one in large]
    assert sum(resident(*place) for place in places) > 200 * 20
    large.clear()
    tidy()
    assert sum(resident(*place) for place in places) < 200
    assert all(one.all() for one in small)
