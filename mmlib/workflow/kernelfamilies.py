"""What there is to compile, as small work that does it: each family runs the real code on a few rows of its own.

So nothing here lists kernels or their types: what a verb calls is compiled because the same functions are called with the same
types of arguments. A test runs every verb after all families and counts no compilation.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

START_NS = 1_736_899_200_000_000_000  # 2025-01-15T00:00:00Z
_ARMS = ("A", "B")
_STAMP = "2025-01-15T00:00:%02d.%03dZ"


def session(place: Path) -> None:
    """A minute of the bot on the simulated market, with both arms and what is measured of its feeds."""
    from mmlib.config.models import Config
    from mmlib.engine.session import run_session
    from mmlib.engine.spec import SessionSpec

    spec = SessionSpec("simulated", ("WARMUP",), _ARMS, 60.0, start_ns=START_NS)
    run_session(spec, Config.model_validate({}), place / "feeds")


def feeds(place: Path) -> None:
    """Feeds of a few lines read, and made into a dataset."""
    import numpy as np

    from mmlib._io import shipped_dir
    from mmlib.core.histogram import Histogram, bucket_index
    from mmlib.feeds.reader import read_feeds
    from mmlib.feeds.schema import KINDS
    from mmlib.gates.spec import read_gates
    from mmlib.gates.sustained import Monitor, find_runs
    from mmlib.metrics.dataset import build_dataset

    directory = place / "desk"
    directory.mkdir()
    tick, fill = _feed_lines()
    (directory / "pipeline_ticks_20250115.jsonl").write_bytes(tick)
    (directory / "fills_20250115.jsonl").write_bytes(fill)
    for kind in KINDS:
        assert len(read_feeds(directory, kind).frame), f"{kind}: expected lines that are read"
    build_dataset(directory)
    Histogram([1.0])
    bucket_index(1.0)
    times = np.arange(3) * 1_000_000_000
    gate = next(gate for gate in read_gates(shipped_dir("params") / "gates.yaml") if gate.kind == "sustained")
    find_runs(gate, times, np.zeros(3))
    Monitor(gate).update(0, 0.0)


def _feed_lines() -> tuple[bytes, bytes]:
    same = {"schema": 1, "symbol": "WARMUP", "arm": "A"}
    ticks, fills = [], []
    for k in range(40):
        now = _STAMP % (k, k)
        stages = {
            f"{name}_ms": 1.5 for name in ("fetch_md", "spread", "guards", "inventory", "queue_aware", "emit")
        }
        flags = {"cache_hit": True, "used_stale": False, "deadline_miss": False, "breaker_open": False}
        more = {"cache_age_ms": 2.0, "guard_level": 0, "rss_mb": 1.0, "mid": 100.25, "spread_bps": 2.0}
        ticks.append(
            {**same, "ts": now, **stages, "tick_total_ms": 9.0, "scheduled_ts": now, **flags, **more}
        )
        ticks[-1] |= {"inventory": 0.0, "errors": 0}
        money = {"side": "buy", "price": 100.1, "qty": 0.01, "liquidity": "maker", "fee": 0.0}
        more = {"quote_price": 100.1, "mid_at_quote": 100.2, "mid_at_fill": 100.3, "queue_ahead_qty": 0.0}
        fills.append({**same, "ts": now, **money, **more, "latency_ms": 1.0, "order_id": k, "fill_id": k})
    lines = (
        "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows) for rows in (ticks, fills)
    )
    first, second = lines
    return first.encode(), second.encode()


def recording(place: Path) -> None:
    """A recording of a few messages decoded, and what is observed of it."""
    from mmlib.market.binance import read_binance
    from mmlib.market.observe import observe
    from mmlib.market.recorded import ReaderOptions
    from mmlib.market.source import FeedLatency, Instrument

    path = place / "recording.txt"
    path.write_text("".join(_messages()))
    instrument = Instrument("WARMUP", 0.1, 0.001)
    observe(
        read_binance(path, ReaderOptions("WARMUP", 0, instrument, FeedLatency(1.0, 0.5, 0.0), None)).events,
        instrument,
    )


def _messages() -> list[str]:
    lines = []
    for k in range(40):
        ms = START_NS // 1_000_000 + 100 * k
        head = {"E": ms, "T": ms, "s": "WARMUP"}
        levels = {"b": [[f"{99.9 - k % 3 / 10:.1f}", "1.5"]], "a": [[f"{100.1 + k % 3 / 10:.1f}", "1.5"]]}
        depth = {"e": "depthUpdate", **head, "U": k + 1, "u": k + 1, "pu": k, **levels}
        trade = {"e": "trade", **head, "t": k, "p": "100.1", "q": "0.01", "X": "MARKET", "m": False}
        for data in (depth, trade):
            text = json.dumps({"stream": "warmup", "data": data}, separators=(",", ":"))
            lines.append(f"{ms * 1_000_000 + 500_000} {text}\n")
    return lines


def orders(place: Path) -> None:
    """A desk's own orders and the bench's strategy held against a few rows."""
    import numpy as np

    from mmlib.engine.bench import run_grid
    from mmlib.engine.orders import replay_orders
    from mmlib.feeds.orders import ORDER_ROW

    rows = _rows()
    common = {"tick_size": 0.1, "lot_size": 0.001, "queue_model": "log", "queue_exponent": 1.0}
    sizes = {"order_qty": 0.01, "max_position": 0.5}
    times = {"entry_ns": 1_000_000, "response_ns": 1_000_000}
    run_grid(rows, "grid", **common, **sizes)  # type: ignore[arg-type]
    sent = np.zeros(0, ORDER_ROW)
    fees = {"maker_bps": 0.0, "taker_bps": 0.0}
    replay_orders([rows], sent, **common, **times, **fees)  # type: ignore[arg-type]


def sweep(place: Path) -> None:
    """A setting of the grid strategy over a few rows."""
    from mmlib.engine.grids import settings_of
    from mmlib.engine.sweep import Market, run_block, write_rows

    path = place / "rows.npy"
    write_rows([_rows()], path)
    setting = {"levels": 1, "interval_ticks": 1, "order_qty": 0.01, "max_position": 0.5}
    run_block((Market(str(path), 0.1, 0.001, 1_000_000_000), settings_of([setting])))


def _rows() -> np.ndarray:
    """EVENT[40]: a book of two levels that does not move."""
    import numpy as np

    from mmlib.dtypes import EVENT, FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, FLAG_SELL, KIND_DEPTH

    rows = np.zeros(40, EVENT)
    rows["exch_ts_ns"] = START_NS + np.arange(40) * 50_000_000
    rows["local_ts_ns"] = rows["exch_ts_ns"] + 1_000_000
    rows["price_ticks"], rows["qty"] = np.where(np.arange(40) % 2, 1001, 1000), 1.0
    rows["flags"] = KIND_DEPTH | FLAG_EXCH | FLAG_LOCAL
    rows["flags"] |= np.where(np.arange(40) % 2, FLAG_SELL, FLAG_BUY).astype(np.uint8)
    return rows


def market(place: Path) -> None:
    """The simulated market by itself, as it is served, swept and fitted."""
    from mmlib.market.opening import open_source

    source = open_source("simulated", "WARMUP", seed=1, market={"rate_per_s": 20.0})
    next(iter(source.chunks(source.start_ns, source.start_ns + 1_000_000_000)))


def exchange(place: Path) -> None:
    """The matching of a paper exchange."""
    from mmlib.paper.matching import warm_up

    warm_up()


def live(place: Path) -> None:
    """What a live session compiles before it connects."""
    from mmlib.config.models import Config
    from mmlib.engine.realtime.run import warm_up

    for arms in (("A",), _ARMS):
        warm_up(Config.model_validate({}), arms)


FAMILIES: Mapping[str, Callable[[Path], None]] = {
    "feeds": feeds,
    "session": session,
    "recording": recording,
    "orders": orders,
    "live": live,
    "sweep": sweep,
    "exchange": exchange,
    "market": market,
}


def build(family: str) -> None:
    """Compile or load all kernels of a family."""
    with tempfile.TemporaryDirectory(prefix="finishline-") as place:
        FAMILIES[family](Path(place))
