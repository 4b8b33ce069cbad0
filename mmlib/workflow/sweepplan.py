"""Which settings a sweep tries: every combination of even values, or a space-filling sample of their ranges."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from mmlib._io import UserError
from mmlib.engine.grids import settings_of
from mmlib.strategy.gridstate import SETTING

KEYS = ("levels", "interval_ticks", "half_spread_ticks", "skew", "order_qty", "max_position")
_WHOLE = {"levels": 1, "interval_ticks": 1, "half_spread_ticks": 0}
"""Keys of whole numbers, and the least of each."""
_ABOVE = {"order_qty", "max_position"}
_LARGEST = {"levels": 200, "interval_ticks": 1_000_000, "half_spread_ticks": 10_000_000}
_DEFAULTS = {"levels": 5.0, "interval_ticks": 1.0, "half_spread_ticks": 0.0, "skew": 0.0}
MOST = 100_000
"""Settings of one sweep."""


@dataclass(frozen=True)
class Axis:
    """Values of one key; ``count`` is 0 where only a sample needs the range."""

    key: str
    low: float
    high: float
    count: int

    def values(self) -> list[float]:
        """Even values from low to high, whole ones rounded, each once."""
        return list(
            dict.fromkeys(self.rounded(v) for v in np.linspace(self.low, self.high, self.count).tolist())
        )

    def rounded(self, value: float) -> float:
        """A value that the key can have."""
        return float(round(value)) if self.key in _WHOLE else float(f"{value:.6g}")


def parse_axes(texts: Sequence[str], sample: bool) -> tuple[Axis, ...]:
    """Axes of ``KEY=LOW:HIGH:N`` texts; with ``sample`` the N may be missing.

    Raises:
        UserError: the text, and what was expected.
    """
    axes = [_axis(text, sample) for text in texts]
    keys = [axis.key for axis in axes]
    if not keys:
        raise UserError("--grid: expected at least one, such as half_spread_ticks=0:60:13")
    if len(set(keys)) < len(keys):
        raise UserError(f"--grid {max(keys, key=keys.count)}: given twice; expected each setting once")
    return tuple(axes)


def _axis(text: str, sample: bool) -> Axis:
    key, equals, span = text.partition("=")
    parts = span.split(":")
    form = "KEY=LOW:HIGH" if sample else "KEY=LOW:HIGH:N"
    if not equals or len(parts) not in ((2, 3) if sample else (3,)):
        raise UserError(f"--grid {text}: expected {form}, such as half_spread_ticks=0:60:13")
    low, high = (_checked(key, part, f"--grid {text}") for part in parts[:2])
    count = parts[2] if len(parts) == 3 else "0"
    if not count.isdecimal() or (not sample and not 1 <= int(count) <= MOST):
        raise UserError(f"--grid {text}: {count!r} values; expected a whole number from 1 to {MOST}")
    if high < low:
        raise UserError(f"--grid {text}: {high:g} is below {low:g}; expected LOW up to HIGH")
    return Axis(key, low, high, int(count))


def parse_fixed(texts: Sequence[str], axes: Sequence[Axis]) -> dict[str, float]:
    """Values of ``KEY=VALUE`` texts.

    Raises:
        UserError: the text, and what was expected.
    """
    fixed: dict[str, float] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: expected KEY=VALUE, such as levels=5")
        fixed[key] = _checked(key, value, f"--set {text}")
        if any(axis.key == key for axis in axes):
            raise UserError(f"--set {key}: --grid turns it; expected one of them")
    return fixed


def _checked(key: str, text: str, where: str) -> float:
    if key not in KEYS:
        raise UserError(f"{where}: {key!r}: unknown setting; expected one of {', '.join(KEYS)}")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: {text!r}; expected a number")
    least, largest = _WHOLE.get(key), _LARGEST.get(key, 1e12)
    if least is not None and (value != round(value) or not least <= value <= largest):
        raise UserError(f"{where}: {text}; expected a whole number from {least} to {largest:g}")
    if key in _ABOVE and not 0.0 < value <= largest:
        raise UserError(f"{where}: {text}; expected a number above 0")
    if key == "skew" and not 0.0 <= value <= largest:
        raise UserError(f"{where}: {text}; expected 0 or more")
    return value


def plan(
    axes: Sequence[Axis],
    fixed: dict[str, float],
    sample: int | None,
    seed: int,
    *,
    order_qty: float,
    maker_bps: float,
) -> np.ndarray:
    """SETTING[K]; ``order_qty`` is what is quoted where nobody says, fifty times it the largest position.

    Raises:
        UserError: more settings than ``MOST``, or a sample of none.
    """
    if sample is None:
        count = math.prod(len(axis.values()) for axis in axes)
        points: Iterable[tuple[float, ...]] = itertools.product(*(axis.values() for axis in axes))
    else:
        if sample < 1:
            raise UserError(f"--sample {sample}: expected 1 or more")
        count = sample
        units = qmc.LatinHypercube(len(axes), rng=seed).random(min(sample, MOST))
        points = (
            tuple(
                axis.rounded(axis.low + u * (axis.high - axis.low)) for axis, u in zip(axes, row, strict=True)
            )
            for row in units.tolist()
        )
    if count > MOST:
        raise UserError(f"--grid: {count} settings; expected {MOST} at most (--sample N takes a sample)")
    rows = []
    for point in points:
        values = _DEFAULTS | {"order_qty": order_qty, "maker_bps": maker_bps} | fixed
        values |= dict(zip((axis.key for axis in axes), point, strict=True))
        rows.append({"max_position": 50.0 * values["order_qty"]} | values)
    out = settings_of(rows)
    assert out.dtype == SETTING
    return out
