"""The metrics endpoint of a running session on 127.0.0.1, from the one table of what is exported (metrics.exported)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

from mmlib._io import UserError
from mmlib.dtypes import STAGES, GuardLevel, Liquidity
from mmlib.engine.realtime.loop import LiveLoop
from mmlib.market.live import codes
from mmlib.metrics.exported import EXPORTED, LABEL_VALUES, SLIPPAGE_BUCKETS_BPS, Exported, duration_buckets
from mmlib.metrics.ledger import SLIPPAGE_S

HOST = "127.0.0.1"
_GUARD = {int(GuardLevel.SOFT): "soft", int(GuardLevel.HARD): "hard"}


_SLIPPAGE_NS = round(SLIPPAGE_S * 1e9)


class Telemetry:
    """Observer that exports a session.

    Args:
        port: 0 serves nothing, the registry is kept nevertheless.
        limits_ms: limits of the gates on durations; each is a bucket's bound.

    Raises:
        UserError: the port is taken.
    """

    def __init__(
        self, port: int, symbols: Sequence[str], arms: Sequence[str], limits_ms: Iterable[float] = ()
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call, unused-ignore]
        self.registry = CollectorRegistry()
        self._arms = tuple(arms)
        bounds = duration_buckets(limits_ms)
        self._families = {family.name: _made(family, self.registry, bounds) for family in EXPORTED}
        # by name and labels: finding a series among its family takes longer than adding to it
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._money = {
            (symbol, arm): [0.0, 0.0, 0.0] for symbol in symbols for arm in arms
        }  # position, cash, equity: a fill before the first tick counts as well
        self._waiting: dict[tuple[str, str], list[tuple[int, int, float, float]]] = {}
        self._last_mid: dict[tuple[str, str], tuple[int, float]] = {}
        self._open_since: dict[tuple[str, str], int] = {}
        for family in EXPORTED:
            self._preset(family, symbols)
        self._server: Any = None
        self._thread: threading.Thread | None = None
        if port:
            try:
                self._server, self._thread = start_http_server(port, addr=HOST, registry=self.registry)
            except OSError as exc:
                raise UserError(
                    f"telemetry.port: {port} on {HOST} cannot be listened on ({exc.strerror}); expected a free port, or 0"
                ) from exc

    def on_tick(self, symbol: str, rows: np.ndarray, errors: dict[str, int]) -> None:
        """See `loop.Observer`."""
        for row, arm in zip(rows, self._arms, strict=True):
            labels = (symbol, arm)
            self._one("mm_tick_total", labels).inc()
            self._one("mm_tick_duration_seconds", labels).observe(float(row["tick_total_ms"]) / 1e3)
            for stage in STAGES:
                taken_ms = float(row[f"{stage}_ms"])
                if not np.isnan(taken_ms):
                    self._one("mm_stage_duration_seconds", (*labels, stage)).observe(taken_ms / 1e3)
            self._one("mm_tick_deadline_miss_total", labels).inc(int(row["deadline_miss"]))
            self._one("mm_md_cache_hit_total", labels).inc(int(row["cache_hit"]))
            self._one("mm_md_cache_miss_total", labels).inc(1 - int(row["cache_hit"]))
            if level := _GUARD.get(int(row["guard_level"])):
                self._one("mm_guard_tick_total", (*labels, level)).inc()
            for code, n in errors.items():
                self._one("mm_error_total", (*labels, code)).inc(n)
            self._breaker(labels, int(row["ts_ns"]), bool(row["breaker_open"]))
            self._slip(labels, int(row["ts_ns"]), float(row["mid"]))
            self._mark(labels, float(row["mid"]))

    def on_fill(self, symbol: str, fills: np.ndarray) -> None:
        """See `loop.Observer`."""
        for fill in fills:
            labels = (symbol, self._arms[int(fill["arm"])])
            kind = Liquidity(int(fill["liquidity"])).name.lower()
            side, price, qty = int(fill["side"]), float(fill["price"]), float(fill["qty"])
            self._one("mm_fills_total", (*labels, kind)).inc()
            self._one("mm_fill_notional_total", (*labels, kind)).inc(price * qty)
            money = self._money[labels]
            money[0] += side * qty
            money[1] -= side * price * qty + float(fill["fee"])
            self._waiting.setdefault(labels, []).append((int(fill["ts_ns"]), side, price, qty))

    def on_second(self, session: LiveLoop, now_ns: int) -> None:
        """See `loop.Observer`."""
        self._families["process_resident_memory_bytes"].set(session.rss_mb * 1e6)
        for labels, value in session.ledger.gate_values.items():
            self._one("mm_gate_metric", labels).set(value)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def _one(self, name: str, labels: tuple[str, ...]) -> Any:
        child = self._children.get((name, labels))
        if child is None:
            child = self._children[name, labels] = self._families[name].labels(*labels)
        return child

    def _signed(self, name: str, labels: tuple[str, str], amount: float) -> None:
        self._one(name, (*labels, "plus" if amount >= 0.0 else "minus")).inc(abs(amount))

    def _slip(self, labels: tuple[str, str], ts_ns: int, mid: float) -> None:
        """Count the slippage of the fills whose second is over; one without a tick in its second is not known."""
        waiting = self._waiting.get(labels)
        if waiting:
            before = self._last_mid.get(labels, (-1, np.nan))
            for fill_ns, side, price, qty in waiting:
                due = fill_ns + _SLIPPAGE_NS
                at, later = (ts_ns, mid) if due == ts_ns and not np.isnan(mid) else before
                if due <= ts_ns and at >= fill_ns and not np.isnan(later):
                    cost = side * (price - later)
                    self._one("mm_fill_slippage_bps", labels).observe(cost / price * 1e4)
                    self._signed("mm_fill_slippage_cost_total", labels, cost * qty)
                    self._one("mm_fill_slippage_notional_total", labels).inc(price * qty)
            self._waiting[labels] = [fill for fill in waiting if fill[0] + _SLIPPAGE_NS > ts_ns]
        if not np.isnan(mid):
            self._last_mid[labels] = ts_ns, mid

    def _mark(self, labels: tuple[str, str], mid: float) -> None:
        """Count the change of equity since the last tick that had a mid."""
        money = self._money[labels]
        if np.isnan(mid):
            return
        equity = money[1] + money[0] * mid
        self._signed("mm_pnl_total", labels, equity - money[2])
        money[2] = equity

    def _breaker(self, labels: tuple[str, str], ts_ns: int, is_open: bool) -> None:
        if not is_open:
            self._open_since.pop(labels, None)
        since = self._open_since.setdefault(labels, ts_ns) if is_open else ts_ns
        self._one("mm_circuit_breaker_open_duration_seconds", labels).set((ts_ns - since) / 1e9)

    def _preset(self, family: Exported, symbols: Sequence[str]) -> None:
        """Let every series exist from the first moment on."""
        if family.labels[:2] != ("symbol", "arm"):
            return
        extra = LABEL_VALUES[family.labels[2]] if len(family.labels) > 2 else None
        if family.name == "mm_error_total":
            extra = tuple({**dict.fromkeys(extra or ()), **codes.CODES})
        for symbol in symbols:
            for arm in self._arms:
                for value in extra or ("",):
                    self._one(family.name, (symbol, arm, value) if extra else (symbol, arm))


def _made(family: Exported, registry: CollectorRegistry, bounds: tuple[float, ...]) -> Any:
    name, labels = family.name, family.labels
    if family.type == "counter":
        return Counter(name, family.help, labels, registry=registry)
    if family.type == "gauge":
        return Gauge(name, family.help, labels, registry=registry)
    buckets = SLIPPAGE_BUCKETS_BPS if name.endswith("_bps") else bounds
    return Histogram(name, family.help, labels, registry=registry, buckets=buckets)
