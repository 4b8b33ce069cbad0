"""The verb calibrate-market: fit the simulated market to a recording, write the preset, say how alike they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mmlib._io import UserError, write_atomic
from mmlib.engine.marketstudy import Study, study
from mmlib.market.calibrate import fit
from mmlib.market.flowmodel import FlowModel, load_preset
from mmlib.market.observe import Observed, observe_recording
from mmlib.market.opening import open_source
from mmlib.market.source import Source
from mmlib.workflow.warming import ensure, of_market

_HEAD = """# A market for the order-flow simulator, fitted to a recording by `finishline calibrate-market`.
# Used with market.preset: {name}. What each key means: mmlib/market/flowmodel.py and mmlib/core/flow.py.
"""


@dataclass(frozen=True)
class MarketOptions:
    """What to fit.

    Attributes:
        recording: file or directory; symbol: in it.
        output: preset to write, None to write none.
        tick_size, lot_size: of the instrument; None infers them.
        hours: length of the simulation that the recording is compared with; seed: of the pilots.
    """

    recording: Path
    symbol: str
    output: Path | None = None
    tick_size: float | None = None
    lot_size: float | None = None
    hours: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class Market:
    """A recording, opened and looked at."""

    source: Source
    rows: np.ndarray
    seen: Observed


@dataclass(frozen=True)
class Calibrated:
    """A fitted market beside its recording."""

    model: FlowModel
    assumed: Mapping[str, float]
    study: Study
    output: Path | None

    def text(self) -> str:
        """For the terminal."""
        table = self.study.table
        missed = table[~table["met"]]
        lines = [
            f"recording {self.study.span_s / 60.0:.1f} min, simulation {self.study.simulated_s / 60.0:.0f} min; "
            f"{len(table) - len(missed)} of {len(table)} facts within tolerance (* calibration fits it)",
            "",
            *text_table(table),
        ]
        if self.assumed:
            shown = ", ".join(f"{name} {value:g}" for name, value in self.assumed.items())
            lines += ["", f"assumed, since the recording cannot tell: {shown}"]
        if self.output is not None:
            lines += ["", f"preset: {self.output}"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """For a machine."""
        return {
            "preset": None if self.output is None else str(self.output),
            "recorded_s": self.study.span_s,
            "simulated_s": self.study.simulated_s,
            "assumed": dict(self.assumed),
            "facts": [
                {
                    key: None if isinstance(value, float) and not math.isfinite(value) else value
                    for key, value in row.items()
                }
                for row in self.study.table.to_dict("records")
            ],
        }


def text_table(table: pd.DataFrame) -> list[str]:
    """The comparison as lines of even columns."""
    head = f"{'':<66}{'recorded':>12}{'(halves)':>22}{'simulated':>12}  {'tolerance':<12}"
    lines = [head]
    for row in table.to_dict("records"):
        name = f"{row['group']}: {row['fact']}{' *' if row['fitted'] else ''}" + (
            f" [{row['unit']}]" if row["unit"] else ""
        )
        parts = f"{_short(row['lowest'])} .. {_short(row['highest'])}" if math.isfinite(row["lowest"]) else ""
        lines.append(
            f"{name[:65]:<66}{_short(row['recorded']):>12}{parts:>22}{_short(row['simulated']):>12}  "
            f"{row['tolerance']:<12}{'met' if row['met'] else 'MISSED'}"
        )
    return lines


def open_market(options: MarketOptions) -> Market:
    """Open a recording and look at it.

    Raises:
        UserError: it cannot be read, or only one of tick and lot size is given.
    """
    sizes = (options.tick_size, options.lot_size)
    if (sizes[0] is None) != (sizes[1] is None):
        raise UserError("--tick-size, --lot-size: expected both or neither")
    declared = {} if sizes[0] is None or sizes[1] is None else {options.symbol: (sizes[0], sizes[1])}
    if options.recording.exists():
        ensure(of_market("recording:", "market"))
    source = open_source(f"recording:{options.recording}", options.symbol, instruments=declared)
    return Market(source, np.concatenate(list(source.chunks())), observe_recording(source, options.recording))


def calibrate_market(
    options: MarketOptions, progress: Callable[[int, int], None] | None = None
) -> Calibrated:
    """Fit a market, compare it with the recording, write the preset.

    Raises:
        UserError: the recording cannot be read or holds too little; the preset cannot be written.
    """
    if options.output is not None and options.output.suffix != ".yaml":
        raise UserError(f"{options.output}: expected a file that ends in .yaml")
    market = open_market(options)
    found = fit(market.seen, str(options.recording), seed=options.seed, progress=progress)
    held = study(market.rows, market.seen, found.model, hours=options.hours)
    if options.output is not None:
        write_atomic(options.output, preset_text(options, market, found.model, found.assumed, held))
    return Calibrated(found.model, found.assumed, held, options.output)


def compare_market(options: MarketOptions, preset: str) -> Calibrated:
    """Hold a preset that is there already against a recording, without fitting anew."""
    market = open_market(options)
    model = load_preset(preset)
    return Calibrated(model, {}, study(market.rows, market.seen, model, hours=options.hours), None)


def preset_text(
    options: MarketOptions, market: Market, model: FlowModel, assumed: Mapping[str, float], held: Study
) -> str:
    """The preset as YAML: the market, and how it was found."""
    values = {
        name: [_rounded(v) for v in value] if isinstance(value, tuple) else _rounded(value)
        for name, value in model.model_dump().items()
    }
    found = {
        "recording": options.recording.name,
        "sha256": market.source.sha256,
        "symbol": options.symbol.upper(),
        "span_s": round(held.span_s, 1),
        "touch_from": market.seen.touch_from,
        "seed": options.seed,
        "assumed": sorted(assumed),
        "missed": held.table.loc[~held.table["met"], "key"].tolist(),
    }
    name = options.output.stem if options.output else "NAME"
    body = yaml.safe_dump(
        {"calibration": found, "market": values}, sort_keys=False, width=120, default_flow_style=None
    )
    return _HEAD.format(name=name) + body


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _short(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:.3g}"
