"""Parameters of a step: checked the same way on the command line, in a notebook and under plain papermill."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmlib._io import UserError
from mmlib.workflow.steps import ROLLOUT_PCTS
from mmlib.workflow.times import parse_date, parse_utc_ns

_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_MAX_HOURS = 24.0 * 366
_MAX_ROUNDS = 1000
_LIMITS = {"duration_min": 60.0 * _MAX_HOURS, "duration_hours": _MAX_HOURS, "interval_min": 1440.0}
SOURCES = "simulated, recording:PATH, live:EXCHANGE or feeds:DIR"


@dataclass(frozen=True)
class Checked:
    """The parameters that mean the same in every notebook, in their working types."""

    source: str = ""
    symbols: tuple[str, ...] = ()
    seed: int = 0
    start_ns: int | None = None
    from_ns: int | None = None
    to_ns: int | None = None


def check_parameters(params: Mapping[str, Any]) -> Checked:
    """Check every known parameter that is present; others are left to the notebook.

    Raises:
        UserError: naming the parameter and what was expected.
    """
    for name, most in _LIMITS.items():
        if name in params:
            _positive(params[name], name, most)
    if "interval_min" in params:
        _divides_a_day(params["interval_min"], "interval_min")
    rounds = params.get("rounds", 0)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 0 <= rounds <= _MAX_ROUNDS:
        raise UserError(f"rounds: {rounds!r}; expected a whole number from 0 to {_MAX_ROUNDS}")
    pct = params.get("rollout_pct", ROLLOUT_PCTS[0])
    if isinstance(pct, bool) or pct not in ROLLOUT_PCTS:
        raise UserError(f"rollout_pct: {pct!r} is no rollout stage; expected 10, 50 or 100")
    if params.get("date", "latest") not in ("latest", ""):
        parse_date(params["date"], "date")
    start = parse_utc_ns(params["start"], "start") if params.get("start") else None
    span = check_range(params.get("from_ts") or "", params.get("to_ts") or "", ("from_ts", "to_ts"))
    return Checked(
        source=check_source(params.get("source") or ""),
        symbols=check_symbols(params.get("symbols") or ()),
        seed=_seed(params.get("seed", 0)),
        start_ns=start,
        from_ns=span[0],
        to_ns=span[1],
    )


def check_symbols(given: Any) -> tuple[str, ...]:
    """Symbols from a list or a comma-separated text, upper case, without repeats.

    Raises:
        UserError: empty or not symbols.
    """
    if not isinstance(given, str | list | tuple):
        raise UserError(f"symbols: {given!r}; expected a list like [BTCUSDT, ETHUSDT]")
    parts = given.split(",") if isinstance(given, str) else list(given)
    symbols = [str(part).strip().upper() for part in parts]
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            raise UserError(f"symbols: {symbol!r} is no symbol; expected names like BTCUSDT,ETHUSDT")
    return tuple(dict.fromkeys(symbols))


def check_source(source: Any) -> str:
    """A source written as ``kind`` or ``kind:rest``; what it points at is checked where it is opened.

    Raises:
        UserError: an unknown kind, or nothing behind the colon.
    """
    text = str(source)
    kind, _, rest = text.partition(":")
    if text in ("", "simulated") or (kind in ("recording", "live", "feeds") and rest.strip()):
        return text
    raise UserError(f"source: {text!r} is unknown; expected {SOURCES}")


def check_range(start: Any, end: Any, names: tuple[str, str]) -> tuple[int | None, int | None]:
    """Both ends of a time range in nanoseconds, None for an empty end; the end is exclusive.

    Raises:
        UserError: not a time, or the range is empty or reversed.
    """
    first = parse_utc_ns(start, names[0]) if start else None
    last = parse_utc_ns(end, names[1]) if end else None
    if first is not None and last is not None and first >= last:
        raise UserError(
            f"{names[0]} {start} .. {names[1]} {end}: reversed or empty range; expected the end to be later"
        )
    return first, last


def _positive(value: Any, name: str, most: float) -> None:
    ok = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and 0 < value <= most
    )
    if not ok:
        raise UserError(f"{name}: {value!r}; expected a number above 0 and at most {most:g}")


def _divides_a_day(minutes: float, name: str) -> None:
    step_ms = round(minutes * 60_000)
    if step_ms < 1000 or 86_400_000 % step_ms:
        raise UserError(f"{name}: {minutes!r}; expected minutes that divide a day, such as 1, 5, 15 or 60")


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise UserError(f"seed: {value!r}; expected a whole number from 0 to 2^63 - 1")
    return value
