"""Timestamps of the feeds: RFC 3339 text and integers of any unit to nanoseconds, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np

MIN_NS = 946_684_800_000_000_000  # 2000-01-01
MAX_NS = 9_214_646_400_000_000_000  # 2262-01-01, the last year that int64 nanoseconds hold whole
DAY_NS = 86_400_000_000_000

# An integer below LIMIT is taken in the unit; each limit is the year 5138 in its unit, ns is what remains.
UNIT_LIMITS = ((10**11, 1_000_000_000), (10**14, 1_000_000), (10**17, 1_000))

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)


def to_ns(value: object) -> int:
    """Nanoseconds since 1970 of RFC 3339 text or of an integer in s, ms, us or ns (told apart by magnitude).

    Raises:
        ValueError: neither, a date that does not exist, or outside 2000 to 2261.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"expected RFC 3339 text or an integer, got {type(value).__name__}")
    if isinstance(value, str):
        ns = _integer_ns(int(value)) if value.isascii() and value.isdigit() else _text_ns(value)
    else:
        ns = _integer_ns(value)
    if not MIN_NS <= ns < MAX_NS:
        raise ValueError(f"{value!r} lies outside the years 2000 to 2261")
    return ns


def _integer_ns(value: int) -> int:
    for limit, factor in UNIT_LIMITS:
        if value < limit:
            return value * factor
    return value


def _text_ns(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not RFC 3339 with a zone, such as 2025-01-15T09:30:00Z")
    day, clock, fraction, zulu, sign, hours, minutes = match.groups()
    try:
        seconds = int(datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC).timestamp())
    except ValueError as exc:
        raise ValueError(f"{text[:40]!r} is no date and time that exists ({exc})") from exc
    ns = seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
    if zulu:
        return ns
    if int(hours) > 23 or int(minutes) > 59:
        raise ValueError(f"{text[:40]!r} has a zone offset that does not exist")
    offset_ns = (int(hours) * 60 + int(minutes)) * 60_000_000_000
    return ns - offset_ns if sign == "+" else ns + offset_ns


def to_text(ts_ns: np.ndarray) -> list[str]:
    """RFC 3339 text with nanoseconds and ``Z`` of ``int64[n]`` nanoseconds."""
    text: np.ndarray = np.datetime_as_string(np.asarray(ts_ns, "i8").view("M8[ns]"), unit="ns")
    return np.strings.add(text, "Z").tolist()


def day_text(day: int) -> str:
    """``YYYYMMDD`` of a day number since 1970."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y%m%d")
