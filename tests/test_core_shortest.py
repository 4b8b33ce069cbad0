"""Numbers written as text: the shortest that reads back, against Python's own ``repr`` and ``round``."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmlib.core import shortest

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def written(write, value) -> str:
    """What a kernel writes; behind the widest number nothing may be touched."""
    buf = np.full(shortest.LONGEST + 8, 7, np.uint8)
    end = write(buf, 0, value)
    assert end <= shortest.LONGEST
    assert (buf[shortest.LONGEST :] == 7).all()
    return bytes(buf[:end]).decode("ascii")


@settings(deadline=None)
@given(FINITE)
@example(5e-324)
@example(-2.2250738585072014e-308)
@example(1.7976931348623157e308)
@example(9007199254740993.0)
@example(1e16)
@example(1e-4)
@example(9.999e-5)
@example(-0.0)
def test_a_number_is_written_as_repr_writes_it(x: float) -> None:
    assert written(shortest.write_number, x) == repr(x)


def test_neighbours_of_powers_are_written_as_repr_writes_them() -> None:
    for base in [2.0**k for k in range(-1074, 1024, 3)] + [10.0**k for k in range(-307, 309)]:
        for x in (base, math.nextafter(base, 0.0), math.nextafter(base, math.inf)):
            assert written(shortest.write_number, x) == repr(x)


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
@example(-(2**63))
@example(0)
def test_an_integer_is_written_as_str_writes_it(value: int) -> None:
    assert written(shortest.write_integer, np.int64(value)) == str(value)


@settings(deadline=None)
@given(FINITE)
@example(0.5e-6)
@example(1.5e-6)
@example(-4e-7)
@example(999_999_999.9999999)
@example(1e300)
def test_six_decimals_are_the_nearest_and_large_numbers_stay_whole(x: float) -> None:
    got = float(written(shortest.write_micros, x))
    assert got == (float(np.round(x, 6)) if abs(x) < 9e8 else x) or abs(got - x) <= 5.0001e-7


@settings(deadline=None)
@given(st.floats(-1e6, 1e6))
def test_six_decimals_carry_no_more_text_than_they_need(x: float) -> None:
    text = written(shortest.write_micros, x)
    assert text == repr(float(text)) or "e" in repr(float(text))
