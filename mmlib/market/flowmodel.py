"""Parameters of one simulated market: what a preset file holds, and the arrays that the kernel takes."""

from __future__ import annotations

import hashlib
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmlib._io import UserError, shipped_dir
from mmlib.core import flow, flowclock
from mmlib.core.flowladder import DEPTH
from mmlib.yamlfile import parse_value

PRESETS = "params/market"
_MAX_BYTES = 1_000_000
_MAX_TABLE = 1025

Positive = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Rates = Annotated[tuple[Annotated[float, Field(ge=0.0)], ...], Field(min_length=1, max_length=64)]
Quantiles = Annotated[tuple[Positive, ...], Field(min_length=2, max_length=_MAX_TABLE)]


KernelArrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""``params``, ``rates``, ``edges``, ``leans`` and ``marks`` of `flow.simulate`."""


class FlowModel(BaseModel):
    """One market; the model itself is described in ``mmlib.core.flow``.

    Sizes are in quote currency and distances in bps of the price, so that a market can be laid over another
    symbol. A quantile list holds the values at even probabilities from 0 to 1. Intensities are messages a second
    at one touch when nothing else (season, bursts, lean) moves them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    price: Positive
    tick_size: Positive
    lot_size: Positive
    rate_per_s: Annotated[float, Field(gt=0.0, le=100_000.0)]

    vol_bps: Annotated[float, Field(gt=0.0, le=1000.0)]
    slow_sd: Annotated[float, Field(ge=0.0, le=3.0)]
    slow_tau_s: Positive
    fast_sd: Annotated[float, Field(ge=0.0, le=3.0)]
    fast_tau_s: Positive
    season_amp: Annotated[float, Field(ge=0.0, le=3.0)]
    season_peak_h: Annotated[float, Field(ge=0.0, lt=24.0)]
    burst_branching: Annotated[float, Field(ge=0.0, le=0.95)]
    burst_tau_s: Positive

    zone_bps: Positive
    move_bps: Quantiles
    informed_share: Share
    lean_market: Annotated[float, Field(ge=0.0, le=5.0)]
    lean_limit: Annotated[float, Field(ge=0.0, le=5.0)]
    sign_persistence: Annotated[float, Field(ge=0.0, lt=1.0)]
    sweep_share: Share
    wide_bps: Annotated[float, Field(ge=0.0)]

    refill_per_s: Positive
    queue_notional: Annotated[tuple[Positive, ...], Field(max_length=63)]
    limit_per_s: Rates
    cancel_per_s: Rates
    market_per_s: Rates
    limit_notional: Quantiles
    cancel_notional: Quantiles
    market_notional: Quantiles
    deep_per_s: Annotated[float, Field(ge=0.0)]
    deep_levels: Annotated[float, Field(gt=0.0, le=DEPTH)]
    deep_bps: Positive
    deep_notional: Quantiles

    latency_ms: Annotated[
        tuple[Annotated[float, Field(ge=0.0, le=60_000.0)], ...], Field(max_length=_MAX_TABLE)
    ] = ()
    """Quantiles of the feed latency; empty: that of the configuration."""

    @model_validator(mode="after")
    def _consistent(self) -> FlowModel:
        columns = len(self.queue_notional) + 1
        for name in ("limit_per_s", "cancel_per_s", "market_per_s"):
            if len(getattr(self, name)) != columns:
                raise ValueError(
                    f"{name}: expected {columns} intensities, one more than queue_notional has edges"
                )
        if sum(self.limit_per_s) <= 0.0 or sum(self.market_per_s) <= 0.0:
            raise ValueError("limit_per_s, market_per_s: expected an intensity above 0 somewhere")
        for name in ("queue_notional", "move_bps", "limit_notional", "cancel_notional", "market_notional",
                     "deep_notional", "latency_ms"):  # fmt: skip
            values = getattr(self, name)
            if any(b < a for a, b in pairwise(values)):
                raise ValueError(f"{name}: expected ascending values")
        if len(self.latency_ms) == 1:
            raise ValueError("latency_ms: expected at least two quantiles, or none")
        if self.price < 1000.0 * self.tick_size:
            raise ValueError("tick_size: expected at most a thousandth of the price")
        return self

    @property
    def sha256(self) -> str:
        """Of the values, whatever file they came from."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def load_preset(name: str) -> FlowModel:
    """Read a preset: a path that ends in ``.yaml``, or the name of a shipped one.

    Raises:
        UserError: no such file, not YAML, or a key that is unknown, missing or impossible, each by name.
    """
    path = Path(name).expanduser()
    if path.suffix != ".yaml":
        folder = shipped_dir("params") / "market"
        path = folder / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml"))) or "none"
            raise UserError(f"market.preset: {name!r}; expected one of {known}, or the path of a .yaml file")
    return parse_preset(path)


def parse_preset(path: Path) -> FlowModel:
    """Read one preset file; see `load_preset`."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise UserError(f"{path}: cannot be read ({exc.strerror}); expected a market preset") from exc
    if len(data) > _MAX_BYTES:
        raise UserError(f"{path}: expected a market preset of at most {_MAX_BYTES} bytes")
    try:
        tree = parse_value(data.decode("utf-8"), str(path))
    except UnicodeDecodeError as exc:
        raise UserError(f"{path}: not YAML (byte {exc.start} is not UTF-8)") from exc
    if not isinstance(tree, dict) or not isinstance(tree.get("market"), dict):
        raise UserError(f"{path}: expected a mapping with the key market")
    unknown = set(tree) - {"market", "calibration"}
    if unknown:
        raise UserError(f"{path}: {sorted(map(str, unknown))[0]}: unknown key; expected market, calibration")
    return checked(tree["market"], str(path))


def checked(values: dict[str, Any], place: str) -> FlowModel:
    """Validate parameters; the first impossible one is refused by name.

    Raises:
        UserError: as said.
    """
    try:
        return FlowModel.model_validate(values)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        first = errors[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        got = f", got {str(first['input'])[:60]}" if where and first["type"] != "missing" else ""
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        text = f"market.{where}: {what}{got}" if where else f"market.{what}"
        raise UserError(f"{place}: {text}{more}") from exc


def kernel_arrays(
    model: FlowModel, *, price: float, tick_size: float, lot_size: float, rate_per_s: float
) -> KernelArrays:
    """``params``, ``rates``, ``edges``, ``leans`` and ``marks`` of `flow.simulate` for a symbol at a price."""
    p = np.zeros(1, flowclock.FLOW_PARAMS)
    for name in ("slow_sd", "slow_tau_s", "fast_sd", "fast_tau_s", "season_amp", "season_peak_h",
                 "burst_branching", "burst_tau_s", "zone_bps", "informed_share",
                 "sign_persistence", "sweep_share", "wide_bps", "deep_levels", "deep_bps"):  # fmt: skip
        p[name] = getattr(model, name)
    p["rate_per_s"] = rate_per_s
    p["vol_per_sqrt_s"] = p["ref_vol_per_sqrt_s"] = model.vol_bps * 1e-4
    p["season_norm"] = np.i0(model.season_amp)
    p["refill_share"] = model.refill_per_s / model.rate_per_s
    p["deep_share"] = model.deep_per_s / model.rate_per_s
    p["lot_size"] = lot_size
    ticks = price / tick_size
    p["min_ticks"], p["max_ticks"] = ticks / 5.0, min(5.0 * ticks, 1e9)
    rates = np.array([model.limit_per_s, model.cancel_per_s, model.market_per_s]) / model.rate_per_s
    lot_value = price * lot_size
    lists = (model.limit_notional, model.cancel_notional, model.market_notional, model.deep_notional)
    columns = max(len(model.move_bps), *map(len, lists))
    marks = np.stack(
        [
            *(even_quantiles(values, columns) / lot_value for values in lists),
            even_quantiles(model.move_bps, columns),
        ]
    )
    edges = np.array(model.queue_notional) / lot_value
    return p, rates, edges, _leans(model.lean_market, model.lean_limit), marks


def _leans(market: float, limit: float) -> np.ndarray:
    """``leans`` of `flow.simulate`: exp(lean z) and exp(-lean z), over their mean for z even over (-1, 1)."""
    z = np.arange(-flow.LEAN_STEPS, flow.LEAN_STEPS + 1) / flow.LEAN_STEPS
    columns = [np.exp(sign * lean * z) for lean in (market, limit) for sign in (1.0, -1.0)]
    means = [math.sinh(lean) / lean if lean > 1e-9 else 1.0 for lean in (market, market, limit, limit)]
    return np.ascontiguousarray(np.stack(columns, axis=1) / means)


def even_quantiles(values: tuple[float, ...], columns: int) -> np.ndarray:
    """A quantile list with another number of even probabilities."""
    return np.interp(np.linspace(0.0, 1.0, columns), np.linspace(0.0, 1.0, len(values)), values)


def lognormal_quantiles(median: float, sigma: float, columns: int = 129) -> tuple[float, ...]:
    """Quantiles of a lognormal distribution; the two ends are those a quarter of a step inside."""
    from mmlib.market.latency import lognormal_at

    inside = 0.25 / (columns - 1)
    at = np.clip(np.linspace(0.0, 1.0, columns), inside, 1.0 - inside)
    return tuple(float(v) for v in lognormal_at(median, sigma, at))


def _built_in() -> FlowModel:
    """The market without a preset: round numbers in the range of the recordings, at a slower pace.

    A tenth of a BTC perpetual's message rate, so that a rehearsal of days stays short; quotes of a few bps, so that
    makers on either side of the touch are told apart within an hour.
    """
    edges = tuple(1000.0 * 2.0**k for k in range(8))
    queue = np.array([500.0, *(edges[k] * math.sqrt(2.0) for k in range(8))])
    scale = queue / 20_000.0
    return FlowModel(
        price=60_000.0,
        tick_size=0.1,
        lot_size=0.001,
        rate_per_s=20.0,
        vol_bps=1.0,
        slow_sd=0.5,
        slow_tau_s=1800.0,
        fast_sd=0.35,
        fast_tau_s=60.0,
        season_amp=0.35,
        season_peak_h=15.0,
        burst_branching=0.4,
        burst_tau_s=1.0,
        zone_bps=1.2,
        move_bps=tuple(float(v) for v in -0.35 * np.log(1.0 - np.clip(np.linspace(0, 1, 65), 0.002, 0.996))),
        informed_share=0.55,
        lean_market=0.8,
        lean_limit=0.4,
        sign_persistence=0.15,
        sweep_share=0.3,
        wide_bps=0.3,
        refill_per_s=20.0,
        queue_notional=edges,
        limit_per_s=tuple(float(v) for v in 3.0 + 2.0 * np.exp(-scale)),
        cancel_per_s=tuple(float(v) for v in 2.0 + 2.0 * scale / (1.0 + 0.2 * scale)),
        market_per_s=tuple(float(v) for v in 0.8 + 0.8 * np.exp(-scale)),
        limit_notional=lognormal_quantiles(4000.0, 1.0),
        cancel_notional=lognormal_quantiles(3000.0, 1.0),
        market_notional=lognormal_quantiles(800.0, 1.5),
        deep_per_s=4.0,
        deep_levels=16.0,
        deep_bps=2.0,
        deep_notional=lognormal_quantiles(5000.0, 1.0),
    )


BUILT_IN = _built_in()
