"""Numbers and times from bytes are what Python's own parsers make of them, bit by bit; whatever is doubtful is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmlib.core._jit import jit_borrowing
from mmlib.core.clock import time_ns
from mmlib.core.number import number, plain_number
from mmlib.core.separators import SPARE, plain_separators, separators
from mmlib.core.words import SLACK
from mmlib.feeds.timestamps import to_ns, to_text


def padded(text: str) -> np.ndarray:
    """The bytes of a value in a line, and the slack."""
    return np.frombuffer(text.encode() + b",\n" + bytes(SLACK), np.uint8)


@jit_borrowing
def told(buf, at, end, wanted, places):  # type: ignore[no-untyped-def]
    """``separators``, which is only ever a part of another kernel."""
    return separators(buf, at, end, wanted, places)


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e6, 1e6).map(repr),
    st.decimals(-(10**9), 10**9, places=6).map(str),
    st.from_regex(r"-?[0-9]{0,21}(\.[0-9]{0,22})?([eE][+-]?[0-9]{0,4})?", fullmatch=True),
    # half way between two neighbours: the even one
    st.integers(2**52, 2**53 - 1).map(lambda m: f"{2 * m + 1}e0"),
    st.integers(2**49, 2**50 - 1).map(lambda m: f"{8 * m + 4}.5"),
)


@settings(deadline=None)
@given(NUMBERS)
@example("-0")
@example("-0.0")
@example("9007199254740993")
@example("5e-324")
@example("1.")
@example("01")
@example(".5")
@example("1e")
@example("-")
@example("999999999999999999")
@example("0.000000000000000000000000001")
def test_a_number_is_the_nearest_float_or_refused(text: str) -> None:
    try:
        expected = float(json.loads(text))
    except (ValueError, OverflowError):
        expected = math.nan
    for parse in (number, plain_number):
        value, end = parse(padded(text), 0)
        if end >= 0:
            assert end == len(text)
            assert value == expected
            if value != 0:
                assert math.copysign(1.0, value) == math.copysign(1.0, expected)


@settings(deadline=None)
@given(st.floats(1e-9, 1e15).map(repr))
def test_what_a_bot_writes_never_needs_the_full_parser(text: str) -> None:
    assert number(padded(text), 0) == (float(text), len(text))


TEXTS = st.one_of(
    st.integers(946_684_800 * 10**9, 9_214_646_400 * 10**9 - 1).map(lambda ns: f'"{to_text(np.array([ns]))[0]}"'),
    st.datetimes().map(lambda moment: f'"{moment.isoformat()}Z"'),
    st.datetimes(timezones=st.timezones()).map(lambda moment: f'"{moment.isoformat()}"'),
    st.from_regex(
        r'"20[0-3][0-9]-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,10})?[Zz]"', fullmatch=True
    ),
    st.integers(0, 2**64).map(str),
    st.integers(9, 19).flatmap(lambda n: st.integers(10 ** (n - 1), 10**n - 1)).map(str),
)  # fmt: skip


@settings(deadline=None)
@given(TEXTS)
@example('"2024-02-29T23:59:59.999999999Z"')
@example('"2100-02-29T00:00:00Z"')
@example('"2025-01-15 00:00:00+05:30"')
@example('"2025-01-15T00:00:00+24:00"')
@example('"2262-05-01T00:00:00Z"')
@example("1736899200000000000")
@example("9300000000000000000")
def test_a_time_is_what_the_plain_parser_says_or_refused(text: str) -> None:
    try:
        expected = to_ns(json.loads(text))
    except ValueError:
        expected = None
    memo = np.zeros(3, np.uint64)
    for _ in range(2):  # the second time the date is remembered
        value, end = time_ns(padded(text), 0, memo)
        if end >= 0:
            assert (value, end) == (expected, len(text))


@pytest.mark.parametrize(
    "text", ['"2025-01-15T09:30:00Z"', "1736899200", "1736899200000", "1736899200123456789"]
)
def test_usual_times_never_need_the_full_parser(text: str) -> None:
    assert time_ns(padded(text), 0, np.zeros(3, np.uint64)) == (to_ns(json.loads(text)), len(text))


@settings(deadline=None)
@given(st.lists(st.sampled_from(list(b'a,\n"}')), max_size=400), st.integers(0, 70), st.integers(1, 300))
@example([44] * 400, 3, 129)
def test_separators_are_those_that_are_found_one_by_one(text: list[int], at: int, wanted: int) -> None:
    end = at + len(text)
    buf = np.frombuffer(bytes([97] * at + text) + bytes(SLACK), np.uint8)
    found, naive = (np.zeros(wanted + SPARE, np.int64) for _ in range(2))
    n = told(buf, at, end, wanted, found)
    expected = [at + k for k, byte in enumerate(text) if byte in b",\n"][:wanted]
    assert n == plain_separators(buf, at, end, wanted, naive) == len(expected)
    assert found[:n].tolist() == naive[:n].tolist() == expected
