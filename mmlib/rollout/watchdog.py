"""The safety monitor on a session that runs now: minute by minute, in shadow as with orders, while the stage waits.

It keeps the ticks and fills of the last hour, and says of each minute that is over what the offline evaluation will say of
it, by the same functions on the same frames. A violation takes the treatment back: flags and ``ROLLBACK.json`` by
``respond``, and in the running session B quotes as the control does from its next tick on; A goes on beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from mmlib._io import sha256_json
from mmlib.config.models import Config
from mmlib.dtypes import ARMS, FILL, TICK, Grade
from mmlib.feeds.schema import LIQUIDITY
from mmlib.gates.spec import Gate
from mmlib.market.live.rowbuffer import RowBuffer
from mmlib.metrics.exported import OWN_METRICS
from mmlib.metrics.grid import utc
from mmlib.metrics.latency import account, minute_series
from mmlib.metrics.money import bucket_money
from mmlib.rollout.experiment import paired_experiment
from mmlib.rollout.monitor import SafetyMonitor, Violation, closing_sums
from mmlib.rollout.respond import respond
from mmlib.rollout.safety import BUCKET_S, timeline

if TYPE_CHECKING:
    from mmlib.engine.realtime.ledger import Ledger
    from mmlib.engine.realtime.loop import LiveLoop, Observer

_MINUTE_NS = 60_000_000_000
_KEPT_NS = 61 * _MINUTE_NS
_HELD_S = 64 * 60.0  # of ticks at most: the hour, the minute under way, and the lateness of a look
_HOUR_NS = BUCKET_S * 1_000_000_000
_LATE_NS = 2_000_000_000
"""A minute is looked at this long after its end: its last ticks and fills have arrived by then."""


class Session(Protocol):
    """What of a running session is needed."""

    ledger: Ledger

    def reconfigure(self, config: Config, reason: str) -> None:
        """Quote by another configuration from the next tick on."""


def control_for_both(config: Config) -> Config:
    """The configuration with a treatment that does nothing: B runs its stages, with weights and nudge of zero."""
    base = config.quoting.base_spread_bps
    weights = dict.fromkeys(("vol_weight", "liquidity_weight", "latency_weight", "pnl_weight"), 0.0)
    adaptive = config.adaptive_spread.model_copy(
        update=weights | {"min_spread_bps": base, "max_spread_bps": base}
    )
    aware = config.queue_aware.model_copy(update={"max_reprice_bps": 0.0})
    return config.model_copy(update={"adaptive_spread": adaptive, "queue_aware": aware})


class StageWatch:
    """Observer of a running session.

    Args:
        ws: workspace in which flags are switched.
        gates: of the stage.
        stage: such as ``ab_10``.
        config: that the session runs with.
        planned_s: length of the stage [s].
        evidence: one line naming the data.
    """

    def __init__(
        self, ws: Path, gates: Iterable[Gate], *, stage: str, config: Config, planned_s: float, evidence: str
    ) -> None:
        self.ws, self.stage, self.config, self.evidence = ws, stage, config, evidence
        gates = tuple(gates)
        digest = sha256_json(config.model_dump(mode="json"))
        self.monitor = SafetyMonitor(gates, round(planned_s / BUCKET_S), digest)
        self.taken_back: dict[str, Any] | None = None
        self._floor_ms = next((g.floor_ms for g in gates if g.id == "ab.safety.tick_p95"), 0.0)
        self._hour_of_ticks = round(min(planned_s, _HELD_S) * 1000 / config.pipeline.tick_interval_ms) + 1
        self._ticks: dict[str, RowBuffer] = {}
        self._fills: dict[str, RowBuffer] = {}
        self._minute: int | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="safety")
        self._due: Future[Violation | None] | None = None
        self._own: dict[tuple[str, str, str], float] = {}
        self._results: dict[Any, float] = {}

    # --- what the session calls ---

    def on_tick(self, symbol: str, rows: np.ndarray, errors: dict[str, int]) -> None:
        """Keep TICK[arms]."""
        kept = self._ticks.get(symbol)
        if kept is None:  # takes all its memory now: a session that grew for an hour would look like a leak
            kept = self._ticks[symbol] = RowBuffer(TICK, self._hour_of_ticks * len(rows))
        kept.room(len(rows))[:] = rows

    def on_fill(self, symbol: str, fills: np.ndarray) -> None:
        """Keep FILL[n]."""
        kept = self._fills.get(symbol)
        if kept is None:
            kept = self._fills[symbol] = RowBuffer(FILL)
        kept.room(len(fills))[:] = fills

    def on_second(self, session: LiveLoop | Session, now_ns: int) -> None:
        """Look at each minute once it is over, beside the session; act on what came of the one before."""
        if self._due is not None:
            if not self._due.done():
                return
            self._settle(session, self._due)
            self._due = None
        self._follow(session)
        over = (now_ns - _LATE_NS) // _MINUTE_NS - 1
        if self._minute is None:
            self._minute = over
        if over > self._minute:
            self._minute += 1  # one at a time: a minute is late rather than left out
            start = self._minute * _MINUTE_NS
            self._forget(start + _MINUTE_NS - _KEPT_NS)
            # views: what comes meanwhile is put behind them, and nothing is forgotten before this is done
            ticks, fills = (
                [(symbol, kept.rows) for symbol, kept in held.items()] for held in (self._ticks, self._fills)
            )
            self._due = self._pool.submit(self.look, start, ticks, fills)

    def _follow(self, session: LiveLoop | Session) -> None:
        """Another configuration, by whoever's hand, resets all counters."""
        plan = getattr(session, "plan", None)
        if plan is not None and plan.config is not self.config:
            self.config = plan.config
            self.monitor.configure(sha256_json(self.config.model_dump(mode="json")))

    def _settle(self, session: LiveLoop | Session, due: Future[Violation | None]) -> None:
        """Act on what came of a minute. What fails here must not end a session: the session tells it among its errors, and
        the stage is judged again from its feeds."""
        try:
            violation = due.result()
            session.ledger.gate_values |= self._own
            if violation is not None and self.taken_back is None:
                self._act(session, violation)
        except Exception as exc:
            session.ledger.recent.append(f"{self.stage}: {type(exc).__name__}: {exc}")

    # --- what it does ---

    def look(
        self,
        minute_ns: int,
        ticks: list[tuple[str, np.ndarray]],
        fills: list[tuple[str, np.ndarray]],
    ) -> Violation | None:
        """Say of the minute that begins at ``minute_ns`` what there is to say, from TICK and FILL rows of the last hour."""
        end = minute_ns + _MINUTE_NS
        frames = tick_frame(ticks), fill_frame(fills)
        t, f = (frame[frame["ts"] < utc(np.array([end]))[0]] for frame in frames)
        self._own = dict.fromkeys(self._own, float("nan"))
        if not len(t):
            return self.monitor.violation
        if minute_ns % _HOUR_NS == 0:
            self._close(minute_ns, t, f)
        at = utc(np.array([minute_ns]))[0]
        rows = timeline(self._since_start(minute_series(t, f), at), t, floor_ms=self._floor_ms)
        rows = rows[rows["ts"] == at]
        names = [name for name in rows.columns if name not in ("ts", "symbol")]
        symbols = rows["symbol"].astype(str)
        values = {name: dict(zip(symbols, rows[name], strict=True)) for name in names}
        self._own |= {
            (metric, symbol, "B"): float(value)
            for metric in OWN_METRICS
            for symbol, value in values[metric].items()
        }
        return self.monitor.update(minute_ns, values)

    def _since_start(self, minutes: pd.DataFrame, at: pd.Timestamp) -> pd.DataFrame:
        """The minutes of the last hour with ``pnl`` counted from the session's start: what each new minute adds is kept."""
        for arm, rows in minutes.groupby("arm", observed=True):
            known = account(rows, "pnl").dropna()
            now, before = known[known["ts"] == at]["pnl"], known[known["ts"] < at]["pnl"]
            if not len(now):
                continue
            reached = float(now.iloc[0])
            if arm in self._results and len(before):
                self._results[arm] += reached - float(before.iloc[-1])
            else:
                self._results[arm] = self._results.get(arm, 0.0) + reached
            minutes.loc[rows.index, "pnl"] += self._results[arm] - reached
        return minutes

    def _close(self, hour_ns: int, ticks: pd.DataFrame, fills: pd.DataFrame) -> None:
        """Close the hour that ended at ``hour_ns`` when it makes a pair."""
        start, end = utc(np.array([hour_ns - _HOUR_NS, hour_ns]))
        parts = [frame[(frame["ts"] >= start) & (frame["ts"] < end)] for frame in (ticks, fills)]
        if not len(parts[0]):
            return
        found = paired_experiment(bucket_money(parts[0], parts[1], BUCKET_S), planned_buckets=2)
        for metric, frame in closing_sums(found).items():
            for _, *sums in frame.itertuples(index=False, name=None):
                self.monitor.close_bucket({metric: sums})

    def _act(self, session: LiveLoop | Session, violation: Violation) -> None:
        session.reconfigure(control_for_both(self.config), f"{self.stage}: {violation.gate} violated")
        plan = getattr(session, "plan", None)  # a loopback exchange says that it is one
        grade = Grade(plan.header["grade"]) if plan is not None else Grade.LIVE
        self.taken_back = respond(self.ws, violation, stage=self.stage, grade=grade, evidence=self.evidence)

    def _forget(self, before_ns: int) -> None:
        for kept in (*self._ticks.values(), *self._fills.values()):
            recent = kept.rows["ts_ns"] >= before_ns
            kept.drop(int(recent.argmax()) if recent.any() else len(kept))


def tick_frame(rows: list[tuple[str, np.ndarray]]) -> pd.DataFrame:
    """TICK rows by symbol as the feed frame that reading them back would give, in time order."""
    whole, symbols = _stacked(rows, TICK)
    frame = pd.DataFrame({name: whole[name] for name in TICK.names or () if name not in _NOT_FEED})
    flags = {
        name: whole[name].astype(bool)
        for name in ("cache_hit", "used_stale", "deadline_miss", "breaker_open")
    }
    times = {"ts": utc(whole["ts_ns"]), "scheduled_ts": utc(whole["scheduled_ns"])}
    return frame.assign(**flags, **times, symbol=symbols, arm=np.array(ARMS)[whole["arm"]])


def fill_frame(rows: list[tuple[str, np.ndarray]]) -> pd.DataFrame:
    """FILL rows by symbol as the feed frame that reading them back would give, in time order."""
    whole, symbols = _stacked(rows, FILL)
    frame = pd.DataFrame({name: whole[name] for name in FILL.names or () if name not in _NOT_FEED})
    side = np.where(whole["side"] > 0, "buy", "sell")
    liquidity = np.array(LIQUIDITY)[whole["liquidity"]]
    return frame.assign(
        side=side,
        liquidity=liquidity,
        ts=utc(whole["ts_ns"]),
        symbol=symbols,
        arm=np.array(ARMS)[whole["arm"]],
    )


_NOT_FEED = frozenset({"_pad", "ts_ns", "scheduled_ns", "arm"})


def _stacked(rows: list[tuple[str, np.ndarray]], dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    """All rows in time order, and the symbol of each."""
    whole = np.concatenate([np.zeros(0, dtype), *(r for _, r in rows)])
    symbols = np.repeat(np.array([name for name, _ in rows], object), [len(r) for _, r in rows])
    order = np.argsort(whole["ts_ns"], kind="stable")
    return whole[order], symbols[order]


def watching(watch: StageWatch) -> Callable[[LiveLoop], list[Observer]]:
    """What a session takes to be watched by it; only a live one asks."""
    return lambda _session: [watch]
