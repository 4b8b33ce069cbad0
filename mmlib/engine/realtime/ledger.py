"""What a running session counts, once: the feeds, the telemetry, the status and the summary are all told from here."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from mmlib.dtypes import Liquidity
from mmlib.market.live import codes

_KEPT = 20  # errors with their detail, for whoever looks


@dataclass(frozen=True)
class Met:
    """Errors that one tick answers for.

    Attributes:
        counted: by code, those that are counted with this tick.
        elsewhere: errors of the connection that struck this symbol too, but are counted with another one.
    """

    counted: Counter[str]
    elsewhere: int

    @property
    def struck(self) -> int:
        """All that the symbol has met; its circuit breaker goes by them."""
        return self.counted.total() + self.elsewhere


@dataclass
class SymbolLedger:
    """Counts of one symbol. ``ticks`` are scheduled ticks (one for all arms), fills are those of every arm."""

    symbol: str
    arms: tuple[str, ...]
    ticks: int = 0
    skipped: int = 0
    hits: int = 0
    misses: int = 0
    deadline_misses: int = 0
    fills: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    pending: Counter[str] = field(default_factory=Counter)

    def tick(self, met: Counter[str], rows: Any, silent: bool) -> Counter[str]:
        """Count a tick of TICK[arms] that met some errors; all its errors by code, what only the tick itself found included."""
        row = rows[0]
        found = Counter(met)
        own = int(row["errors"]) - met.total()  # found by the tick itself
        if own > 0 and silent:
            found[codes.SILENT] += 1
            own -= 1
        if own > 0:
            found[codes.NO_BOOK] += own
        self.errors += found
        self.ticks += 1
        self.hits += int(row["cache_hit"])
        self.misses += 1 - int(row["cache_hit"])
        self.deadline_misses += int(row["deadline_miss"])
        return found

    def fill(self, arm: int, liquidity: int) -> None:
        """Count a fill."""
        self.fills[self.arms[arm], Liquidity(liquidity).name.lower()] += 1

    def counts(self) -> dict[str, int]:
        """For the sidecar: flat, whole numbers."""
        return {
            "ticks": self.ticks,
            "ticks_without_book": self.skipped,
            "cache_hits": self.hits,
            "cache_misses": self.misses,
            "deadline_misses": self.deadline_misses,
            **{f"fills_{arm}_{kind}": n for (arm, kind), n in sorted(self.fills.items())},
            **{code: n for code, n in sorted(self.errors.items()) if n},
            **{f"after_last_tick_{code}": n for code, n in sorted(self.pending.items()) if n},
        }

    def save(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "numbers": [self.ticks, self.skipped, self.hits, self.misses, self.deadline_misses],
            "fills": [[arm, kind, n] for (arm, kind), n in self.fills.items()],
            "errors": dict(self.errors),
            "pending": dict(self.pending),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Go on from `save`."""
        self.ticks, self.skipped, self.hits, self.misses, self.deadline_misses = saved["numbers"]
        self.fills = Counter({(arm, kind): n for arm, kind, n in saved["fills"]})
        self.errors, self.pending = Counter(saved["errors"]), Counter(saved["pending"])


class Ledger:
    """Counts of all symbols, the newest errors in words, and what the session's own evaluators say.

    Every error is counted once: one of a symbol (a gap, a refused request) with that symbol's next tick; one of the connection,
    which all symbols share (it was cut, a frame was none), with the next tick of the symbol that ticked first of all. So sums
    over symbols are numbers of events. In the feeds both arms of a tick carry what the tick met.

    Attributes:
        gate_values: (metric, symbol, arm) -> value in the last whole minute, of metrics that `metrics.exported.OWN_METRICS`
            names; NaN when that minute has none.
    """

    def __init__(self, symbols: tuple[str, ...], arms: tuple[str, ...]) -> None:
        self.symbols = {symbol: SymbolLedger(symbol, arms) for symbol in symbols}
        self.recent: deque[str] = deque(maxlen=_KEPT)
        self.gate_values: dict[tuple[str, str, str], float] = {}
        self._shared: Counter[str] = Counter()  # of the connection, not yet counted
        self._carrier = ""  # the symbol that ticked first
        self._struck = dict.fromkeys(symbols, 0)  # errors of the connection since each symbol's last tick

    def error(self, symbol: str, code: str, detail: str) -> None:
        """Take an error of a symbol, or of the whole connection (empty symbol)."""
        self.recent.append(f"{symbol or 'connection'}: {code}: {detail}")
        if symbol:
            self.symbols[symbol].pending[code] += 1
            return
        self._shared[code] += 1
        for name in self._struck:
            self._struck[name] += 1

    def take_errors(self, symbol: str) -> Met:
        """What the tick of a symbol answers for: everything since its last one."""
        mine = self.symbols[symbol]
        counted, mine.pending = mine.pending, Counter()
        elsewhere, self._struck[symbol] = self._struck[symbol], 0
        self._carrier = self._carrier or symbol
        if symbol == self._carrier:
            counted = counted + self._shared
            elsewhere -= self._shared.total()
            self._shared = Counter()
        return Met(counted, elsewhere)

    def save(self) -> dict[str, Any]:
        """What `SymbolLedger.save` does not hold, for a checkpoint."""
        return {"shared": dict(self._shared), "struck": dict(self._struck), "carrier": self._carrier}

    def load(self, saved: dict[str, Any]) -> None:
        """Go on from `save`."""
        self._shared, self._struck = Counter(saved["shared"]), dict(saved["struck"])
        self._carrier = saved["carrier"]

    def left(self) -> dict[str, int]:
        """Errors of the connection that no tick followed, by code."""
        return {code: n for code, n in sorted(self._shared.items()) if n}
