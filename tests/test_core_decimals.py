"""Decimals that are read several at once are the nearest floats, bit by bit, and whatever is unusual is told to be doubtful."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmlib.core._jit import JIT_DISABLED, jit_borrowing
from mmlib.core.decimals import AT_ONCE, BEFORE, is_doubtful, new_decimals, note_decimal, read_decimals
from mmlib.core.words import SLACK

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="where nothing is compiled, numbers are read one by one")


@jit_borrowing
def read(buf, begin, end, decimals, out, doubtful, least, most):  # type: ignore[no-untyped-def]
    """The kernels together, as ``likelines`` calls them."""
    longest = 0
    for k in range(len(begin)):
        longest = max(longest, note_decimal(buf, begin[k], end[k], decimals, k))
    good = read_decimals(decimals, out, least, most, longest)
    for k in range(len(begin)):
        doubtful[k] = not good and is_doubtful(decimals, k)
    return good


def values(texts: list[str], least: float = -1e300, most: float = 1e300) -> list[float | None]:
    """What is read of each text; None for what is doubtful."""
    begin, raw = [], b"9" * BEFORE
    for text in texts:
        raw += b":"
        begin.append(len(raw))
        raw += text.encode() + b","
    end = [first + len(text.encode()) for first, text in zip(begin, texts, strict=True)]
    buf = np.frombuffer(raw + bytes(SLACK), np.uint8)
    out, doubtful = np.zeros(len(texts)), np.zeros(len(texts), np.bool_)
    good = read(buf, np.array(begin), np.array(end), new_decimals(), out, doubtful, least, most)
    assert good == (not doubtful.any())
    return [None if doubt else value for value, doubt in zip(out.tolist(), doubtful.tolist(), strict=True)]


USUAL = st.one_of(
    st.decimals(-(10**6), 10**6, places=6).map(str).filter(lambda text: float(text) != 0),
    st.integers(-(10**15), 10**15).filter(bool).map(str),
    st.floats(1e-4, 1e15).map(repr).filter(lambda text: len(text.replace(".", "")) <= 18),
    st.floats(1e-4, 1e6).map(lambda value: repr(-value)).filter(lambda text: len(text) <= 19),
    # halfway between two neighbours: the even one
    st.integers(2**53, 9 * 10**16).map(lambda m: f"{2 * m + 1}"),
    st.integers(2**49, 2**50 - 1).map(lambda m: f"{8 * m + 4}.5"),
)
ANY = st.one_of(USUAL, st.text("0123456789.-+eE \"n,:/;\x00é", max_size=26), st.floats().map(json.dumps))  # fmt: skip


@settings(deadline=None)
@given(st.lists(USUAL, min_size=1, max_size=AT_ONCE))
@example(
    ["0.1", "0", "10", "0.00000000000000001", "123456789012345678", "9007199254740993", "12345678.12345678"]
)
def test_usual_numbers_are_the_nearest_floats(texts: list[str]) -> None:
    assert values(texts) == [float(text) for text in texts]


@settings(deadline=None)
@given(st.lists(ANY, min_size=1, max_size=AT_ONCE))
@example(
    ["", "-", ".", "1.", ".1", "1..2", "1.2.3", "00", "01.5", "-0", "-0.0", "-00.1", "+1", "1e5", "null"]
)
@example(
    [
        "1.1.1.1.1",
        "12345678.1234567.",
        "1234567.8.123456789",
        "1/",
        "1:",
        " 1",
        "1 ",
        "--1",
        "-1-",
        "1234567890123456789",
    ]
)
@example(["1.234567.1234567", "12.345678.9012345.1", "1.23456789012.4567", "1.2345678901234567.8"])
@example(["9876543210.123456789", "9876543210123456789", "9" * 24])
@example(["." + "1" * 23, "1." + "1" * 22, "1." + "1" * 17])
def test_what_is_read_at_all_is_a_number_of_json_and_the_nearest_float(texts: list[str]) -> None:
    for text, value in zip(texts, values(texts), strict=True):
        if value is not None:
            assert value == float(json.loads(text))
            assert np.signbit(value) == np.signbit(float(text))


@settings(deadline=None)
@given(st.lists(USUAL, min_size=1, max_size=8), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_what_is_out_of_bounds_is_doubtful(texts: list[str], least: float, span: float) -> None:
    expected = [float(text) if least <= float(text) <= least + span else None for text in texts]
    assert values(texts, least, least + span) == expected
