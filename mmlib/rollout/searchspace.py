"""What a calibration may turn: ranges of the treatment's keys, a space-filling design, and points near a good one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import qmc

from mmlib._io import UserError
from mmlib._numbers import number
from mmlib.config.models import Config, flatten, walk
from mmlib.config.treatment import SECTIONS
from mmlib.yamlfile import suggest

_SHARED = ("adaptive_spread.fast_halflife_s", "adaptive_spread.slow_halflife_s")
"""Half-lives belong to the market statistics, which both arms share."""

Point = dict[str, float | int]
"""Dotted key -> value."""


@dataclass(frozen=True)
class Range:
    """Values of one key from ``low`` to ``high``; ``log`` spaces them by ratio, ``whole`` rounds them."""

    key: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def value(self, unit: float) -> float | int:
        """The value at ``unit`` in 0..1, four significant digits."""
        if self.log:
            raw = math.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low)))
        else:
            raw = self.low + unit * (self.high - self.low)
        found = float(f"{raw:.4g}")
        found = min(max(found, self.low), self.high)
        return round(found) if self.whole else found

    def unit(self, value: float) -> float:
        """Where a value lies, 0..1."""
        if self.high == self.low:
            return 0.0
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def default_ranges(base_spread_bps: float) -> tuple[Range, ...]:
    """Where a search looks unless it is told otherwise; spreads relative to the control's."""
    return (
        Range("adaptive_spread.vol_weight", 0.0, 5.0),
        Range("adaptive_spread.liquidity_weight", 0.0, 2.0),
        Range("adaptive_spread.latency_weight", 0.0, 1.0),
        Range("adaptive_spread.pnl_weight", 0.0, 1.0),
        Range("adaptive_spread.min_spread_bps", 0.25 * base_spread_bps, base_spread_bps),
        Range("adaptive_spread.max_spread_bps", base_spread_bps, 10.0 * base_spread_bps, log=True),
        Range("queue_aware.max_reprice_bps", 0.0, 0.5 * base_spread_bps),
        Range("queue_aware.eta_target_s", 2.0, 600.0, log=True),
        Range("queue_aware.headroom_ms", 500.0, 30_000.0, log=True, whole=True),
    )


def parse_ranges(texts: Sequence[str], base: Sequence[Range]) -> tuple[Range, ...]:
    """``KEY=LOW:HIGH`` or ``KEY=VALUE`` (held) over the default ranges.

    Raises:
        UserError: not of that form, a key that is not the treatment's, bounds the wrong way round or outside what the
            configuration takes.
    """
    found = {one.key: one for one in base}
    for text in texts:
        key, equals, bounds = text.partition("=")
        low, colon, high = bounds.partition(":")
        key = key.strip()
        if not equals or key not in found:
            raise UserError(
                f"--range {text}: expected KEY=LOW:HIGH with KEY one of {', '.join(found)}{suggest(key, found)}"
            )
        try:
            ends = float(number(low)), float(number(high if colon else low))
        except ValueError:
            raise UserError(f"--range {text}: expected finite numbers, such as {key}=0:2") from None
        old = found[key]
        found[key] = Range(key, *ends, log=old.log and ends[0] > 0, whole=old.whole)
    return check_ranges(tuple(found.values()))


def check_ranges(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """Refuse what no configuration takes, before anything is run.

    Raises:
        UserError: the key, and what was expected of it.
    """
    fields = {name: field for name, field in walk() if name.split(".")[0] in SECTIONS}
    for one in ranges:
        if one.key not in fields or one.key in _SHARED or one.key.endswith(".enabled"):
            raise UserError(f"range {one.key}: is no number of the treatment{suggest(one.key, fields)}")
        if not (math.isfinite(one.low) and math.isfinite(one.high) and one.low <= one.high):
            raise UserError(
                f"range {one.key}: {one.low:g} to {one.high:g}; expected two numbers, the lower first"
            )
        if one.whole and (one.low != round(one.low) or one.high != round(one.high)):
            raise UserError(f"range {one.key}: {one.low:g} to {one.high:g}; expected whole numbers")
        limits = {
            name: getattr(m, name)
            for m in fields[one.key].metadata
            for name in ("ge", "gt", "le")
            if hasattr(m, name)
        }
        if one.low < limits.get("ge", -math.inf) or one.low <= limits.get("gt", -math.inf):
            raise UserError(
                f"range {one.key}: starts at {one.low:g}; expected what the configuration takes: {limits}"
            )
        if one.high > limits.get("le", math.inf):
            raise UserError(
                f"range {one.key}: ends at {one.high:g}; expected what the configuration takes: {limits}"
            )
    by_key = {one.key: one for one in ranges}
    low, high = by_key.get("adaptive_spread.min_spread_bps"), by_key.get("adaptive_spread.max_spread_bps")
    if low is not None and high is not None and low.high > high.low:
        raise UserError(
            f"range {low.key}: ends at {low.high:g}, above where {high.key} starts ({high.low:g}); expected them apart"
        )
    return tuple(ranges)


def spread_points(ranges: Sequence[Range], n: int, seed: int) -> list[Point]:
    """``n`` points that fill the space: a scrambled Sobol sequence.

    Source: Owen, Randomly permuted (t,m,s)-nets (1995), through ``scipy.stats.qmc``.
    """
    if n < 1:
        return []
    sampler = qmc.Sobol(len(ranges), scramble=True, rng=np.random.default_rng(seed))
    units = sampler.random_base2(max(math.ceil(math.log2(n)), 0))[:n]
    return [_point(ranges, row) for row in units]


def near_points(
    ranges: Sequence[Range], centre: Mapping[str, float], n: int, width: float, seed: int
) -> list[Point]:
    """``n`` points of a Latin hypercube around a point, ``width`` of each range wide (0..1), clipped at its ends."""
    if n < 1:
        return []
    cube = qmc.LatinHypercube(len(ranges), rng=np.random.default_rng(seed)).random(n)
    middle = np.array([one.unit(centre[one.key]) for one in ranges])
    return [_point(ranges, row) for row in np.clip(middle + width * (cube - 0.5), 0.0, 1.0)]


def shipped_point(config: Config, ranges: Sequence[Range]) -> Point:
    """What the configuration holds for the searched keys, as it is: where the search starts from."""
    flat = flatten(config)
    return {one.key: flat[one.key] for one in ranges}


def with_point(config: Config, point: Mapping[str, Any]) -> Config:
    """The configuration with a point's values; validated again."""
    tree = config.model_dump()
    for key, value in point.items():
        section, _, leaf = key.partition(".")
        tree[section][leaf] = value
    return Config.model_validate(tree)


def _point(ranges: Sequence[Range], units: np.ndarray) -> Point:
    return {one.key: one.value(float(unit)) for one, unit in zip(ranges, units, strict=True)}
