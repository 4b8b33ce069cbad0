"""Stage budgets: the latency histograms of a shadow run, with all that a later comparison needs to be fair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError, read_json, write_json
from mmlib.dtypes import STAGES, Grade, Status

if TYPE_CHECKING:
    import pandas as pd

    from mmlib.core.histogram import Histogram

BUDGETS_FILE = Path("artifacts") / "baseline" / "stage_budgets.json"
SCHEMA = 1
TOTAL = "tick_total"
NAMES = (*STAGES, TOTAL)
PERCENTILES = (50, 95, 99)

BLOCKS = 24
MIN_BLOCK_TICKS = 100

_TEXTS = ("created", "source", "config_sha256", "latency_note")


@dataclass(frozen=True)
class Block:
    """A stretch of a run: counts, and stage -> p95 [ms] (None without values). Shows how much a run differs within itself."""

    n_ticks: int
    n_hits: int
    n_misses: int
    p95_ms: Mapping[str, float | None]


@dataclass(frozen=True)
class Budgets:
    """Latencies and counts of one run.

    ``histograms`` has one a stage and ``tick_total``, milliseconds. ``status`` is the shadow step's own result;
    ``latency_note`` says which share of the latencies was modelled, and by what. ``blocks`` are
    equal stretches of time, in order.
    """

    histograms: Mapping[str, Histogram]
    n_ticks: int
    n_hits: int
    n_misses: int
    span_s: float
    fingerprint: Mapping[str, str]
    status: Status
    grade: Grade
    source: str
    symbols: tuple[str, ...]
    created: str
    config_sha256: str = ""
    latency_note: str = ""
    blocks: tuple[Block, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hit_ratio(self) -> float:
        """Cache hits over ticks; NaN without ticks."""
        return self.n_hits / self.n_ticks if self.n_ticks else math.nan

    @property
    def deadline_miss_pct(self) -> float:
        """Deadline misses in percent of ticks; NaN without ticks."""
        return 100.0 * self.n_misses / self.n_ticks if self.n_ticks else math.nan

    def to_dict(self) -> dict[str, Any]:
        """JSON form; percentiles are there for readers, comparisons use the histograms."""
        return {
            "schema": SCHEMA,
            "stages": {name: _stage(self.histograms[name]) for name in NAMES},
            "n_ticks": self.n_ticks,
            "n_hits": self.n_hits,
            "n_deadline_misses": self.n_misses,
            "hit_ratio": _finite(self.hit_ratio),
            "deadline_miss_pct": _finite(self.deadline_miss_pct),
            "span_s": self.span_s,
            "fingerprint": dict(self.fingerprint),
            "status": self.status.value,
            "grade": self.grade.value,
            "source": self.source,
            "symbols": list(self.symbols),
            "created": self.created,
            "config_sha256": self.config_sha256,
            "latency_note": self.latency_note,
            "blocks": [{**vars(block), "p95_ms": dict(block.p95_ms)} for block in self.blocks],
            "extra": dict(self.extra),
        }

    @classmethod
    def from_dict(cls, payload: Any, where: Path) -> Budgets:
        """Read what ``to_dict`` wrote.

        Raises:
            UserError: anything missing, of another type, or counts that contradict each other; names file and key.
        """
        if not isinstance(payload, dict):
            raise UserError(f"{where}: expected a mapping, found {type(payload).__name__}")
        if payload.get("schema") != SCHEMA:
            raise UserError(f"{where}: schema: expected {SCHEMA}, found {payload.get('schema')!r}")
        counts = {k: _whole(payload, k, where) for k in ("n_ticks", "n_hits", "n_deadline_misses")}
        if max(counts.values()) > counts["n_ticks"]:
            raise UserError(
                f"{where}: n_hits, n_deadline_misses: expected at most n_ticks {counts['n_ticks']}"
            )
        texts = {k: _text(payload, k, where) for k in _TEXTS}
        symbols = payload.get("symbols")
        if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
            raise UserError(f"{where}: symbols: expected a list of names")
        span = payload.get("span_s")
        if isinstance(span, bool) or not isinstance(span, int | float) or not 0 <= span < math.inf:
            raise UserError(f"{where}: span_s: expected seconds, found {span!r}")
        prints, extra = _mapping(payload, "fingerprint", where), _mapping(payload, "extra", where)
        return cls(
            histograms=_histograms(payload, where),
            n_ticks=counts["n_ticks"],
            n_hits=counts["n_hits"],
            n_misses=counts["n_deadline_misses"],
            span_s=float(span),
            fingerprint={str(k): str(v) for k, v in prints.items()},
            status=_member(Status, payload, "status", where),
            grade=_member(Grade, payload, "grade", where),
            symbols=tuple(symbols),
            blocks=_blocks_read(payload.get("blocks", []), where),
            extra=extra,
            **texts,
        )


def stage_budgets(
    ticks: pd.DataFrame,
    *,
    fingerprint: Mapping[str, str],
    status: Status,
    grade: Grade,
    source: str,
    created: str,
    config_sha256: str = "",
    latency_note: str = "",
    tick_interval_s: float = 0.0,
    extra: Mapping[str, Any] | None = None,
) -> Budgets:
    """Budgets of a frame of ticks, as the feed reader returns it (all symbols and arms in it count).

    Args:
        ticks: columns ts, symbol, one ``*_ms`` a stage, tick_total_ms, cache_hit, deadline_miss; may be empty.
        fingerprint: of the host that made the ticks (``fingerprint.fingerprint``).
        status: aggregate result of the shadow gates on the same ticks.
        tick_interval_s: added to the covered time, since the last tick stands for an interval as well.
    """
    from mmlib.core.histogram import Histogram

    histograms = {name: Histogram(ticks[f"{name}_ms"].to_numpy(dtype=float)) for name in NAMES}
    span_s = 0.0
    if len(ticks):
        span_s = float((ticks["ts"].max() - ticks["ts"].min()).total_seconds()) + tick_interval_s
    return Budgets(
        histograms=histograms,
        n_ticks=len(ticks),
        n_hits=int(ticks["cache_hit"].sum()),
        n_misses=int(ticks["deadline_miss"].sum()),
        span_s=span_s,
        fingerprint=dict(fingerprint),
        status=Status(status),
        grade=Grade(grade),
        source=source,
        symbols=tuple(sorted({str(s) for s in ticks["symbol"].unique()})),
        created=created,
        config_sha256=config_sha256,
        latency_note=latency_note,
        blocks=_blocks(ticks),
        extra=dict(extra or {}),
    )


def write_budgets(workspace: Path, budgets: Budgets) -> Path:
    """Write ``artifacts/baseline/stage_budgets.json``."""
    return write_json(workspace / BUDGETS_FILE, budgets.to_dict())


def read_budgets(path: Path) -> Budgets:
    """Read a budgets file.

    Raises:
        UserError: missing or wrong in any part.
    """
    return Budgets.from_dict(read_json(path), path)


def _blocks(ticks: pd.DataFrame) -> tuple[Block, ...]:
    """Equal stretches of a frame's time, at most ``BLOCKS``, none with fewer than ``MIN_BLOCK_TICKS`` ticks on average."""
    from mmlib.core.histogram import Histogram

    count = min(BLOCKS, len(ticks) // MIN_BLOCK_TICKS)
    if count < 2:
        return ()
    seconds = (ticks["ts"] - ticks["ts"].min()).dt.total_seconds()
    number = (seconds / max(float(seconds.max()), 1e-9) * count).astype(int).clip(upper=count - 1)
    found = []
    for _, part in ticks.groupby(number, sort=True):
        parts = {name: Histogram(part[f"{name}_ms"].to_numpy(dtype=float)) for name in NAMES}
        p95 = {name: _finite(one.p(95)) for name, one in parts.items()}
        hits, misses = int(part["cache_hit"].sum()), int(part["deadline_miss"].sum())
        found.append(Block(len(part), hits, misses, p95))
    return tuple(found)


def _blocks_read(payload: Any, where: Path) -> tuple[Block, ...]:
    """What ``to_dict`` wrote of the blocks; files of before blocks have none."""
    try:
        return tuple(
            Block(
                int(one["n_ticks"]),
                int(one["n_hits"]),
                int(one["n_misses"]),
                {name: None if one["p95_ms"][name] is None else float(one["p95_ms"][name]) for name in NAMES},
            )
            for one in payload
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise UserError(
            f"{where}: blocks: expected counts and p95_ms by stage, as they were written"
        ) from exc


def _stage(histogram: Histogram) -> dict[str, Any]:
    percentiles = {f"p{p}_ms": _finite(histogram.p(p)) for p in PERCENTILES}
    return {"n": histogram.n, **percentiles, "histogram": histogram.to_dict()}


def _histograms(payload: dict[str, Any], where: Path) -> dict[str, Histogram]:
    from mmlib.core.histogram import Histogram

    stages = _mapping(payload, "stages", where)
    if set(stages) != set(NAMES):
        raise UserError(f"{where}: stages: expected exactly {', '.join(NAMES)}")
    found = {}
    for name in NAMES:
        entry = stages[name]
        try:
            found[name] = Histogram.from_dict(entry.get("histogram") if isinstance(entry, dict) else entry)
        except ValueError as exc:
            raise UserError(f"{where}: stages.{name}: {exc}") from exc
    return found


def _mapping(payload: dict[str, Any], key: str, where: Path) -> dict[str, Any]:
    value = payload.get(key)
    if not isinstance(value, dict):
        raise UserError(f"{where}: {key}: expected a mapping")
    return value


def _text(payload: dict[str, Any], key: str, where: Path) -> str:
    value = payload.get(key)
    if not isinstance(value, str):
        raise UserError(f"{where}: {key}: expected text, found {value!r}")
    return value


def _whole(payload: dict[str, Any], key: str, where: Path) -> int:
    value = payload.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{where}: {key}: expected a whole number of at least 0, found {value!r}")
    return value


def _member(kind: Any, payload: dict[str, Any], key: str, where: Path) -> Any:
    try:
        return kind(payload.get(key))
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise UserError(f"{where}: {key}: expected one of {known}, found {payload.get(key)!r}") from None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
