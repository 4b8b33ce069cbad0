"""``finishline sweep``: settings of the grid strategy over recordings or simulated hours, the best one judged honestly."""

from __future__ import annotations

import io
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmlib._io import UserError, sha256_file, sha256_json, write_atomic, write_json
from mmlib.core.queue import QUEUE_MODELS
from mmlib.dtypes import Grade
from mmlib.engine.sweep import HORIZONS_S, Market, mid_path, run_block, write_rows
from mmlib.inference.reality import RealityCheck, mean_interval, reality_check
from mmlib.intact import Damaged, read_arrays, write_arrays
from mmlib.market.opening import open_source
from mmlib.market.source import Source
from mmlib.metrics.farm import open_farm
from mmlib.workflow.sweepplan import KEYS, parse_axes, parse_fixed, plan
from mmlib.workflow.warming import ensure, of_market

_S = 1_000_000_000
_BUCKETS_S = (3600, 600, 60, 10, 1)
_WANTED_BUCKETS = 30
_NOTIONAL = 1000.0  # of a quote where nobody says, quote currency
_SHOWN_S = 2.0


@dataclass(frozen=True)
class SweepOptions:
    """What to sweep; see ``finishline sweep --help``."""

    recordings: tuple[Path, ...]
    symbol: str
    output: Path
    command: str
    grid: Sequence[str] = ()
    set: Sequence[str] = ()
    sample: int | None = None
    simulated_hours: int | None = None
    tick_size: float | None = None
    lot_size: float | None = None
    queue_model: str = "log"
    queue_exponent: float | None = None
    entry_latency_ms: float = 10.0
    response_latency_ms: float = 10.0
    maker_fee_bps: float = 0.0
    unseen_pct: float = 30.0
    partial_fills: bool = False
    accounts_per_pass: int = 100
    workers: int = 0
    scheduler: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Swept:
    """What came of it."""

    table: pd.DataFrame
    keys: list[str]
    best: dict[str, float]
    unseen: dict[str, float]
    check: RealityCheck
    bucket_s: float
    described: str
    output: Path
    reused: int

    def text(self) -> str:
        """For the terminal."""
        words = ", ".join(f"{key} {value:g}" for key, value in self.best.items())
        p = self.check.p_value
        judged = f"p = {p:.3f}" if math.isfinite(p) else f"not decided ({self.check.reason})"
        again = f", {self.reused} of them from before" if self.reused else ""
        return "\n".join(
            [
                f"{len(self.table)} settings{again}: {self.described}",
                f"best on what it was chosen on: {words}",
                f"  net {self.unseen['chosen_net_bps']:+.3f} bps there, {self.unseen['net_bps']:+.3f} bps on unseen "
                f"{self.unseen['hours']:.2f} h ({self.unseen['fills_note']})",
                f"White's reality check over all {self.check.settings} settings: {judged}",
                f"table: {self.output / 'sweep.parquet'}",
                f"report: {self.output / 'sweep.md'}, figures: {self.output / 'sweep.html'}",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """For a machine."""
        numbers = {name: _finite(value) for name, value in self.unseen.items() if not isinstance(value, str)}
        check = asdict(self.check)
        return {
            "settings": len(self.table),
            "reused": self.reused,
            "bucket_s": self.bucket_s,
            "best": self.best,
            "judged": numbers,
            "reality_check": check | {"p_value": _finite(self.check.p_value)},
            "output": str(self.output),
        }


def sweep(options: SweepOptions) -> Swept:
    """Try the settings, judge the best one, write table, report and figures.

    Raises:
        UserError: what cannot be used, with what was expected.
    """
    axes = parse_axes(options.grid, options.sample is not None)
    fixed = parse_fixed(options.set, axes)
    _check(options)
    options.output.mkdir(parents=True, exist_ok=True)
    if all(path.exists() for path in options.recordings):
        ensure(of_market("recording:" if options.recordings else "simulated", "sweep"))
    sources = _open(options)
    spooled = options.output / "rows.npy"
    try:
        market, described = _market(options, sources, spooled)
        path = mid_path(market.rows, market.tick_size)
        lots = max(round(_NOTIONAL / (float(np.median(path.mids)) * market.lot_size)), 1)
        settings = plan(axes, fixed, options.sample, options.seed, order_qty=lots * market.lot_size,
                        maker_bps=options.maker_fee_bps)  # fmt: skip
        read = [[source.sha256, source.description] for source in sources]
        identity = sha256_json([read, options.simulated_hours, options.seed, _code()])
        results, reused = _run(options, market, settings, identity)
    finally:
        spooled.unlink(missing_ok=True)
    done = _judge(
        options, settings, results, market.bucket_ns, [axis.key for axis in axes], described, reused
    )
    _write(options, sources, done)
    return done


def _check(options: SweepOptions) -> None:
    if bool(options.recordings) == (options.simulated_hours is not None):
        raise UserError("sweep: expected recordings, or --simulated-hours")
    if options.simulated_hours is not None and options.simulated_hours < 1:
        raise UserError(f"--simulated-hours {options.simulated_hours}: expected 1 or more")
    if options.queue_model not in QUEUE_MODELS:
        names = ", ".join(QUEUE_MODELS)
        raise UserError(f"--queue-model {options.queue_model}: unknown; expected one of {names}")
    if options.queue_model.startswith("power") != (options.queue_exponent is not None):
        raise UserError("--queue-exponent: expected with a power model, and with no other")
    if options.accounts_per_pass < 1:
        raise UserError(f"--accounts-per-pass {options.accounts_per_pass}: expected 1 or more")
    if not 5.0 <= options.unseen_pct <= 90.0:
        raise UserError(f"--unseen-pct {options.unseen_pct:g}: expected 5 to 90")
    for name, value in (("entry", options.entry_latency_ms), ("response", options.response_latency_ms)):
        if not 0.0 <= value <= 60_000.0:
            raise UserError(f"--{name}-latency-ms {value:g}: expected 0 to 60000")
    if (options.tick_size is None) != (options.lot_size is None):
        raise UserError("--tick-size and --lot-size: one of them is missing; expected both, or neither")


def _open(options: SweepOptions) -> list[Source]:
    declared = None
    if options.tick_size is not None and options.lot_size is not None:
        declared = {options.symbol.upper(): (options.tick_size, options.lot_size)}
    if options.simulated_hours is not None:
        return [open_source("simulated", options.symbol, seed=options.seed, instruments=declared)]
    sources: list[Source] = []
    for path in options.recordings:
        source = open_source(f"recording:{path}", options.symbol, instruments=declared)
        declared = {source.symbol: (source.instrument.tick_size, source.instrument.lot_size)}
        if sources and sources[-1].end_ns is not None and source.start_ns < sources[-1].end_ns:
            raise UserError(
                f"{path}: begins before the recording before it ends; expected them in order of time"
            )
        sources.append(source)
    return sources


def _chunks(options: SweepOptions, sources: Sequence[Source]) -> Iterator[np.ndarray]:
    for source in sources:
        if options.simulated_hours is None:
            yield from source.chunks()
        else:
            yield from source.chunks(source.start_ns, source.start_ns + options.simulated_hours * 3600 * _S)


def _market(options: SweepOptions, sources: Sequence[Source], spooled: Path) -> tuple[Market, str]:
    """The rows in a file that every worker maps, and what they are in words."""
    count = write_rows(_chunks(options, sources), spooled)
    if not count:
        raise UserError(f"{options.symbol}: no rows; expected a recording with a market")
    instrument = sources[0].instrument
    path = mid_path(str(spooled.resolve()), instrument.tick_size)
    if not np.isfinite(path.mids).any():
        raise UserError(
            f"{options.symbol}: never a bid and an ask at once; expected a market with both sides"
        )
    span_s = (path.end_ns - path.start_ns) / _S
    bucket_s = next((b for b in _BUCKETS_S if span_s / b >= _WANTED_BUCKETS), _BUCKETS_S[-1])
    market = Market(
        str(spooled.resolve()),
        instrument.tick_size,
        instrument.lot_size,
        bucket_s * _S,
        options.queue_model,
        options.queue_exponent or 1.0,
        round(options.entry_latency_ms * 1e6),
        round(options.response_latency_ms * 1e6),
        options.partial_fills,
    )
    return market, f"{count:,} rows, {span_s / 3600:.2f} h of {options.symbol}, {sources[0].grade.value}"


def _code() -> str:
    """Hash of the code that decides what a setting comes to: results of another version are not read back."""
    package = Path(__file__).parents[1]
    names = [*package.glob("exchange/*.py"), *package.glob("strategy/*.py"), *package.glob("engine/*.py")]
    names += [
        package / "core" / "queue.py",
        package / "core" / "book.py",
        package / "market" / "simulated.py",
    ]
    return sha256_json([sha256_file(name) for name in sorted(names)])


def _run(
    options: SweepOptions, market: Market, settings: np.ndarray, identity: str
) -> tuple[dict[str, np.ndarray], int]:
    """Results of all settings, in their order; blocks that were finished before are read back."""
    parts = options.output / "parts"
    parts.mkdir(exist_ok=True)
    size = options.accounts_per_pass
    if not options.scheduler:  # a block for everyone
        hands = options.workers or os.cpu_count() or 1
        size = max(min(size, -(-len(settings) // hands)), 1)
    blocks = [settings[k : k + size] for k in range(0, len(settings), size)]
    model = {name: value for name, value in asdict(market).items() if name != "rows"}
    files = [parts / f"{sha256_json([identity, model, block.tobytes().hex()])[:24]}.npz" for block in blocks]
    results = {k: found for k, file in enumerate(files) if (found := _finished(file)) is not None}
    waiting = [k for k in range(len(blocks)) if k not in results]
    reused = sum(len(blocks[k]) for k in results)
    progress = _Progress(len(settings), reused)
    if waiting:
        with open_farm(options.workers, options.scheduler) as farm:
            tasks = [(market, blocks[k]) for k in waiting]
            for number, result in farm.each(run_block, tasks):
                write_arrays(files[waiting[number]], result)
                results[waiting[number]] = result
                progress.done(len(tasks[number][1]))
    ordered = [results[k] for k in range(len(blocks))]
    return {name: np.concatenate([part[name] for part in ordered]) for name in ordered[0]}, reused


def _finished(file: Path) -> dict[str, np.ndarray] | None:
    """A block that was finished before; one that is damaged is worked out again."""
    try:
        return dict(read_arrays(file))
    except Damaged:
        return None


class _Progress:
    """Lines on standard error: how many settings are done, and about how long the rest takes."""

    def __init__(self, total: int, before: int) -> None:
        self._total, self._before, self._done = total, before, 0
        self._start = self._shown = time.monotonic()

    def done(self, settings: int) -> None:
        """So many more are done."""
        self._done += settings
        now = time.monotonic()
        if now - self._shown < _SHOWN_S:
            return
        self._shown = now
        left = self._total - self._before - self._done
        rest_s = (now - self._start) / self._done * left
        finished = self._before + self._done
        sys.stderr.write(f"sweep: {finished} of {self._total} settings, about {rest_s:.0f} s left\n")


def _judge(
    options: SweepOptions,
    settings: np.ndarray,
    results: dict[str, np.ndarray],
    bucket_ns: int,
    keys: list[str],
    described: str,
    reused: int,
) -> Swept:
    """Choose on the first part, judge on the last."""
    pnl, traded, position = results["pnl"], results["traded"], results["position"]
    buckets = pnl.shape[1]
    chosen_on = max(min(round(buckets * (1.0 - options.unseen_pct / 100.0)), buckets - 1), 1)
    table = pd.DataFrame({key: settings[key] for key in KEYS})
    with np.errstate(divide="ignore", invalid="ignore"):
        table["net"], table["traded"] = pnl.sum(axis=1), traded.sum(axis=1)
        table["net_bps"] = 1e4 * table["net"] / table["traded"]
        for name, part in (("chosen", slice(None, chosen_on)), ("unseen", slice(chosen_on, None))):
            table[f"{name}_net"] = pnl[:, part].sum(axis=1)
            table[f"{name}_net_bps"] = 1e4 * table[f"{name}_net"] / traded[:, part].sum(axis=1)
    table["fills"], table["requests"], table["fees"] = (
        results["fills"],
        results["requests"],
        0.0 - results["fees"],
    )
    for horizon in HORIZONS_S:
        table[f"markout_{horizon}s_bps"] = results[f"markout_{horizon}s_bps"]
    table["mean_abs_position"] = np.abs(position).mean(axis=1)
    table["max_abs_position"] = np.abs(position).max(axis=1)
    table = table.replace([np.inf, -np.inf], np.nan)
    best = int(np.argmax(table["chosen_net"].to_numpy()))
    unseen = pnl[best, chosen_on:]
    low, high = mean_interval(unseen, options.seed)
    judged: dict[str, Any] = {
        "chosen_net": float(table["chosen_net"][best]),
        "chosen_net_bps": float(table["chosen_net_bps"][best]),
        "net": float(table["unseen_net"][best]),
        "net_bps": float(table["unseen_net_bps"][best]),
        "net_low": low * len(unseen),
        "net_high": high * len(unseen),
        "hours": len(unseen) * bucket_ns / 3.6e12,
        "setting": best,
        "fills_note": f"net {table['unseen_net'][best]:+.2f}, 95 % {low * len(unseen):+.2f} to {high * len(unseen):+.2f}",
    }
    return Swept(
        table=table,
        keys=keys,
        best={key: float(settings[best][key]) for key in KEYS},
        unseen=judged,
        check=reality_check(pnl[:, :chosen_on], options.seed),
        bucket_s=bucket_ns / _S,
        described=described,
        output=options.output,
        reused=reused,
    )


def _write(options: SweepOptions, sources: Sequence[Source], done: Swept) -> None:
    from mmlib.figures.sweep import heat_map, response_curves
    from mmlib.reports.sweep import sweep_page, sweep_report

    buffer = io.BytesIO()
    done.table.to_parquet(buffer, index=False)
    write_atomic(options.output / "sweep.parquet", buffer.getvalue())
    write_json(options.output / "sweep.json", done.to_dict())
    figures = [response_curves(done.table, done.keys)]
    if len(done.keys) > 1:
        figures.append(heat_map(done.table, done.keys[0], done.keys[1]))
    drawn = [fig.to_html(full_html=False, include_plotlyjs=k == 0) for k, fig in enumerate(figures)]
    labels = [str(fig.layout.meta["alt"]) for fig in figures]
    write_atomic(options.output / "sweep.html", sweep_page(list(zip(labels, drawn, strict=True))))
    report = sweep_report(
        done.table,
        done.keys,
        done.best,
        done.unseen,
        done.check,
        done.bucket_s,
        done.described,
        _provenance(options, sources),
    )
    write_atomic(options.output / "sweep.md", report)


def _provenance(options: SweepOptions, sources: Sequence[Source]) -> Any:
    from mmlib.reports.render import Provenance

    latency = f"{options.entry_latency_ms:g} ms to the exchange, {options.response_latency_ms:g} ms back"
    fills = f"the exchange model with queue positions, queue model {options.queue_model}"
    shares = ", partial fills" if options.partial_fills else ""
    read = "; ".join(
        source.description + (f" (SHA-256 {source.sha256[:16]})" if source.sha256 else "")
        for source in sources
    )
    return Provenance(
        options.command,
        Grade.weakest([source.grade for source in sources]),
        read,
        modelled=(f"Fills: {fills}{shares}.", f"Order latency: {latency}."),
    )


def _finite(value: float) -> float | None:
    return value if isinstance(value, int) or math.isfinite(value) else None
