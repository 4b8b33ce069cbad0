"""Scripted incidents for rehearsals: ``KIND@START:DURATION[:STRENGTH]``, times counted from the session's first instant."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass

from mmlib._numbers import number

FORM = "KIND@START:DURATION[:STRENGTH], such as latency_spike@2h:30m:300"
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_TIME = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


@dataclass(frozen=True)
class Kind:
    """What the strength of an incident means, its default and range, and the gate that the incident is meant to trip."""

    strength: str
    default: float
    least: float
    most: float
    gate: str


KINDS: dict[str, Kind] = {
    "feed_gap": Kind(
        "silence between two catch-up bursts of the feed [s]", 10.0, 0.1, 3600.0, "soak.stop.hit_ratio"
    ),
    "latency_spike": Kind(
        "mean stall of a tick before it decides [ms]", 300.0, 1.0, 60_000.0, "soak.stop.deadline_miss"
    ),
    "rate_limit_storm": Kind(
        "share of ticks whose requests are refused", 1.0, 0.0, 1.0, "soak.stop.breaker_open"
    ),
    "memory_leak": Kind("resident memory that leaks [MB/h]", 200.0, 1.0, 1e6, "soak.stop.memory_leak"),
    "volatility_spike": Kind(
        "factor on the volatility of the simulated price", 40.0, 1.0, 1000.0, "soak.warn.guards"
    ),
    "one_sided_book": Kind("seconds of every ten in which nobody offers", 4.0, 0.1, 10.0, "soak.warn.errors"),
}
"""The six kinds; the first four happen to the bot on any source, the last two are the simulated market's."""


@dataclass(frozen=True)
class Incident:
    """One incident; times in seconds from the session's start."""

    kind: str
    start_s: float
    duration_s: float
    strength: float

    def __str__(self) -> str:
        return f"{self.kind}@{_text(self.start_s)}:{_text(self.duration_s)}:{self.strength:g}"


def parse_incident(text: str) -> Incident:
    """Read one incident.

    Raises:
        ValueError: not of the form, an unknown kind, a time or strength out of range; names what was expected.
    """
    kind, at, rest = text.strip().partition("@")
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"{text!r}: unknown kind {kind!r}; expected one of {', '.join(KINDS)}{hint}")
    parts = rest.split(":")
    if not at or len(parts) not in (2, 3):
        raise ValueError(f"{text!r}: expected {FORM}")
    start, duration = _seconds(parts[0], text), _seconds(parts[1], text)
    rule = KINDS[kind]
    strength = rule.default
    if len(parts) == 3:
        try:
            strength = float(number(parts[2].strip()))
        except ValueError:
            raise ValueError(f"{text!r}: strength {parts[2]!r}; expected a number: {rule.strength}") from None
    if duration <= 0.0:
        raise ValueError(f"{text!r}: a duration of nothing; expected more than 0s")
    if not (math.isfinite(strength) and rule.least <= strength <= rule.most):
        expected = f"{rule.least:g} to {rule.most:g}, {rule.strength}"
        raise ValueError(f"{text!r}: strength {strength:g}; expected {expected}")
    return Incident(kind, start, duration, strength)


def _seconds(text: str, whole: str) -> float:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{whole!r}: {text!r} is no time; expected a number and s, m, h or d, such as 90m")
    return float(match[1]) * _UNITS[match[2]]


def _text(seconds: float) -> str:
    for unit in ("h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds:g}s"
