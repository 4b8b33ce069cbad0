"""The bot on one symbol in real time: rows in, ticks and fills out. It reads no market clock: a replay drives it alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmlib.core import live as kernel
from mmlib.core.replay import OUTPUT_FULL
from mmlib.core.state import Arms, Market, new_arms, new_market
from mmlib.dtypes import FILL, TICK
from mmlib.engine.params import arm_params
from mmlib.market.live.rowbuffer import RowBuffer

if TYPE_CHECKING:
    from mmlib.config.models import Config
    from mmlib.market.source import Instrument

_FILL_ROWS = 1024
_ROOM = 4  # the books reach from 0 to this multiple of the price, as in a replay
_NO_TABLE = np.zeros(1)  # nothing is drawn: a refresh takes what it takes

FillSink = Callable[[np.ndarray], None]
"""Takes FILL rows; a view, valid during the call only."""


@dataclass(frozen=True)
class Begun:
    """What the first half of a tick came to.

    Attributes:
        index: of the tick on the schedule.
        start_ns: when it began.
        quoting: False while there is no whole book yet; such a tick has no second half.
        miss: whether the book must be fetched.
    """

    index: int
    start_ns: int
    quoting: bool
    miss: bool


class SymbolBot:
    """State of one symbol, its rows not yet consumed, and the two halves of a tick.

    Args:
        arms: their names.
        seed: of the ticks traced.
        on_fills: is handed every fill.
    """

    def __init__(
        self, config: Config, instrument: Instrument, arms: Sequence[str], *, seed: int, on_fills: FillSink
    ) -> None:
        self.instrument = instrument
        self.arms_names = tuple(arms)
        self.config = config
        self._on_fills = on_fills
        self._seed = seed
        self._arms: Arms = new_arms(arm_params(config, instrument, arms))
        self._market: Market = new_market(1024, _NO_TABLE, seed)
        self._rows = RowBuffer()
        self._sized = False
        self._ticks = np.zeros(len(arms), TICK)
        self._fills = np.zeros(_FILL_ROWS, FILL)
        self.n_fills = 0
        self.n_rows = 0

    # --- schedule ---

    def schedule(self, t0_ns: int) -> None:
        """Fix the scheduled time of tick 0."""
        self._control["t0_ns"] = t0_ns

    @property
    def t0_ns(self) -> int:
        """Scheduled time of tick 0."""
        return int(self._control["t0_ns"])

    @property
    def interval_ns(self) -> int:
        """Time between two ticks."""
        return int(self._arms.params[0]["tick_interval_ns"])

    @property
    def deadline_ms(self) -> float:
        """A tick that takes longer misses its deadline."""
        return float(self._arms.params[0]["deadline_ms"])

    @property
    def next_index(self) -> int:
        """Number of the next tick."""
        return int(self._control["tick_index"])

    def scheduled_ns(self, index: int) -> int:
        """Scheduled time of a tick."""
        return self.t0_ns + index * self.interval_ns

    def skip_to(self, index: int) -> None:
        """Leave out the ticks before ``index``: their time has passed."""
        self._control["tick_index"] = max(index, self.next_index)

    # --- rows and ticks ---

    def feed(self, rows: np.ndarray) -> None:
        """Append EVENT rows; they are consumed by the ticks."""
        if not len(rows):
            return
        if not self._sized:
            self._size(rows)
        self._rows.room(len(rows))[:] = rows
        self.n_rows += len(rows)

    def begin(self, start_ns: int) -> Begun:
        """The tick that is next begins."""
        index = self.next_index
        code = kernel.FULL
        while code == kernel.FULL:
            code = kernel.begin(self._market, self._arms, self._rows.rows, start_ns, self._fills)
            self._hand_over()
        self._consume()
        return Begun(index, start_ns, code != kernel.NO_BOOK, code == kernel.MISS)

    def end(
        self, decide_ns: int, *, failed: bool = False, errors: int = 0, rss_mb: float = 0.0
    ) -> np.ndarray:
        """The tick has its book since ``decide_ns`` (or ``failed`` to get one), with the ``errors`` met since the one before.

        Returns TICK[arms], a view until the next tick.
        """
        code = OUTPUT_FULL
        while code == OUTPUT_FULL:
            code = kernel.end(
                self._market,
                self._arms,
                self._rows.rows,
                decide_ns,
                int(failed),
                errors,
                rss_mb,
                self._ticks,
                self._fills,
            )
            self._hand_over()
        self._control["n_ticks"] = 0
        self._consume()
        return self._ticks

    def restart(self) -> None:
        """The process was started anew: no order is at work, the books are empty, what arrived unseen is forgotten."""
        self._rows.drop(len(self._rows))
        kernel.restart(self._market, self._arms)

    def reconfigure(self, config: Config) -> None:
        """From the next tick on, quote as ``config`` says; its schedule and its latencies must be those of before."""
        self.config = config
        self._arms.params[:] = arm_params(config, self.instrument, self.arms_names)

    # --- state ---

    @property
    def book(self) -> dict[str, dict[int, float]]:
        """The local book: ``bids`` and ``asks``, price [ticks] to quantity [base units], what a tick would see."""
        local = self._market.local
        bid, ask = int(local.top[0]), int(local.top[1])
        bids = np.flatnonzero(local.bid_qty[: max(bid + 1, 0)])
        asks = (
            np.flatnonzero(local.ask_qty[ask:]) + ask if ask < len(local.ask_qty) else np.empty(0, np.int64)
        )
        return {
            "bids": {int(k): float(local.bid_qty[k]) for k in bids},
            "asks": {int(k): float(local.ask_qty[k]) for k in asks},
        }

    def inventory(self) -> list[float]:
        """Position of each arm [base units]."""
        return [float(value) for value in self._arms.state["position"]]

    def save(self) -> dict[str, np.ndarray]:
        """What a restart goes on with: everything but the books and the rows under way. Copies."""
        named = {f"arms_{name}": value for name, value in self._arms._asdict().items()}
        return {
            "stats": self._market.stats.copy(),
            "control": self._market.control.copy(),
            **{name: np.array(value) for name, value in named.items()},
        }

    def load(self, saved: dict[str, np.ndarray]) -> None:
        """Go on from ``save``, as after `restart`.

        Raises:
            ValueError: it was saved by another version, or with other arms.
        """
        for name, value in self._arms._asdict().items():
            _restore(value, saved[f"arms_{name}"])
        _restore(self._market.stats, saved["stats"])
        _restore(self._market.control, saved["control"])
        self.restart()

    # --- inside ---

    @property
    def _control(self) -> Any:
        return self._market.control[0]

    def _size(self, rows: np.ndarray) -> None:
        """Make room for the prices that the first rows name."""
        ticks = max(int(np.median(rows["price_ticks"])) * _ROOM, 1024)
        roomy = new_market(ticks, _NO_TABLE, self._seed)  # fresh: a grown one would touch all its memory
        self._market = roomy._replace(stats=self._market.stats, control=self._market.control)
        self._sized = True

    def _hand_over(self) -> None:
        n = int(self._control["n_fills"])
        if n:
            self.n_fills += n
            self._on_fills(self._fills[:n])
            self._control["n_fills"] = 0

    def _consume(self) -> None:
        used = int(min(self._control["exch_cursor"], self._control["local_cursor"]))
        if used:
            self._rows.drop(used)
            self._control["exch_cursor"] -= used
            self._control["local_cursor"] -= used


def _restore(target: np.ndarray, saved: np.ndarray) -> None:
    if target.dtype != saved.dtype or target.shape != saved.shape:
        raise ValueError("the state was saved by another version, or with other arms")
    target[...] = saved
