"""Faults on demand: what the loopback exchange does wrong, and when."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmlib._io import UserError

NAMES = {
    "drop": "cut every connection",
    "gap": "leave out the next depth updates (count)",
    "duplicate": "send the next messages twice (count)",
    "reorder": "swap the next messages in pairs (count)",
    "429": "refuse the next requests for their rate (count); Retry-After is 1 s",
    "5xx": "fail the next requests with 503 (count)",
    "slow": "answer requests late for a while (s)",
    "silence": "send nothing for a while (s); the market stands still meanwhile",
    "mute": "send nothing for a while (s); the market goes on, what it does is lost",
    "garbage": "send frames that are none (count)",
    "skew": "put the exchange's clock ahead from now on (s, may be negative)",
    "refuse": "refuse new connections for a while (s)",
}
"""Fault to what it does; its number in parentheses."""
_ONE = re.compile(r"([a-z0-9]+)@([0-9.]+)(?::(-?[0-9.]+))?")


@dataclass(frozen=True)
class Fault:
    """One fault: its name, when [s after the start], and its number (a count or seconds)."""

    name: str
    at_s: float
    amount: float


@dataclass
class Armed:
    """What is wrong at the moment; the server takes from it."""

    gap: int = 0
    duplicate: int = 0
    reorder: int = 0
    rest_429: int = 0
    rest_5xx: int = 0
    garbage: int = 0
    slow_until: float = 0.0
    silent_until: float = 0.0
    mute_until: float = 0.0
    refuse_until: float = 0.0
    skew_s: float = 0.0


def parse_faults(text: str) -> list[Fault]:
    """Faults from ``drop@30,gap@45:3,slow@60:10``: name, seconds after the start, number (1 unless given).

    Raises:
        UserError: naming the part that is none.
    """
    faults = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = _ONE.fullmatch(part)
        if match is None or match[1] not in NAMES:
            raise UserError(
                f"--faults: {part!r}; expected NAME@SECONDS[:NUMBER] with a name of {', '.join(NAMES)}"
            )
        try:
            faults.append(Fault(match[1], float(match[2]), float(match[3] or 1)))
        except ValueError:
            raise UserError(f"--faults: {part!r}; expected numbers of seconds such as 30 or 2.5") from None
    return sorted(faults, key=lambda fault: fault.at_s)
