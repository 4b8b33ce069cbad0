"""Numbers on a grid: whole steps inside, decimal strings outside, never a float between."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from functools import cached_property

MAX_DIGITS = 28


class Step:
    """The grid of prices or quantities.

    Attributes:
        size: of one step.
        digits: after the point, as many as the size needs.
    """

    def __init__(self, size: Decimal) -> None:
        self.size = size.normalize()
        exponent = self.size.as_tuple().exponent
        assert isinstance(exponent, int)
        self.digits = max(-exponent, 0)

    @classmethod
    def of(cls, size: float) -> Step:
        """The grid of a float's shortest decimal text."""
        return cls(Decimal(repr(float(f"{size:.10g}"))))

    @cached_property
    def per_unit(self) -> Decimal:
        """Steps in one unit."""
        return 1 / self.size

    def value(self, steps: int) -> Decimal:
        """What so many steps are worth."""
        return self.size * steps

    def text(self, steps: int, digits: int | None = None) -> str:
        """So many steps as a decimal string."""
        return f"{self.size * steps:.{self.digits if digits is None else digits}f}"

    def whole(self, value: Decimal) -> int | None:
        """How many steps a value is; None where it lies between two."""
        steps = value / self.size
        whole = int(steps)
        return whole if whole == steps else None


def parse(text: str) -> Decimal | None:
    """A decimal number as clients write it; None for anything else."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value.adjusted()) <= MAX_DIGITS else None


def plain(value: Decimal, digits: int = 8) -> str:
    """An amount with a fixed number of digits after the point, rounded half to even."""
    return f"{value:.{digits}f}"
