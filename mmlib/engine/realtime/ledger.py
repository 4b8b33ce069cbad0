"""What a running session counts, once: the feeds, the telemetry, the status and the summary are all told from here."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from mmlib.dtypes import STAGES, Liquidity
from mmlib.market.live import codes

_KEPT = 20  # errors with their detail, for whoever looks


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

    def take_errors(self) -> Counter[str]:
        """Errors since the last tick, which belong to this one."""
        taken = self.pending
        self.pending = Counter()
        return taken

    def tick(self, met: Counter[str], rows: Any, silent: bool) -> Counter[str]:
        """Count a tick of TICK[arms] that met some errors; all its errors by code, what only the tick itself found included."""
        row = rows[0]
        found = Counter(met)
        own = int(row["errors"]) - met.total()
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

    Attributes:
        gate_values: (metric, symbol, arm) -> value in the last whole minute, of metrics that `metrics.exported.OWN_METRICS`
            names; NaN when that minute has none.
    """

    def __init__(self, symbols: tuple[str, ...], arms: tuple[str, ...]) -> None:
        self.symbols = {symbol: SymbolLedger(symbol, arms) for symbol in symbols}
        self.recent: deque[str] = deque(maxlen=_KEPT)
        self.gate_values: dict[tuple[str, str, str], float] = {}

    def error(self, symbol: str, code: str, detail: str) -> None:
        """Count an error; one of the whole connection (empty symbol) counts for each symbol, since each lost its stream."""
        self.recent.append(f"{symbol or 'all symbols'}: {code}: {detail}")
        for name in [symbol] if symbol else self.symbols:
            self.symbols[name].pending[code] += 1


STAGE_FIELDS = tuple(f"{stage}_ms" for stage in STAGES)
