"""What a day's findings ask for, first things first, each once."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from mmlib.dtypes import Status
from mmlib.gates.result import GateResult
from mmlib.gates.spec import Gate
from mmlib.ops.error_codes import UNCODED

_HANDFUL = 10  # errors of a code
COVERED_PCT = 99.0
"""A day of which less is covered by ticks is worth a sentence."""

_DECIDED = (Status.PASS, Status.FAIL)
NO_TICKS = "No tick was written: check that the session runs and where it writes its feeds."


def actions(
    results: Iterable[GateResult],
    gates: Iterable[Gate],
    fired: pd.DataFrame,
    uptime: pd.DataFrame,
    errors: pd.DataFrame,
    codes: pd.DataFrame,
    quarantined: int,
) -> list[str]:
    """What the findings ask for: alerts that fired by severity, violated thresholds, undecided ones, outages, errors.

    Args:
        results, gates: of the day.
        fired: ``ops.firings.firings``.
        uptime, errors: ``ops.day_tables``.
        codes: ``ops.error_codes``.
        quarantined: lines that could not be read.
    """
    todo = of_alerts(fired)
    runbook = {gate.id: gate.runbook for gate in gates}
    failed = [r for r in results if r.status is Status.FAIL and r.id not in set(fired["gate"])]
    todo += [f"{r.id} is violated: {runbook[r.id]}" for r in failed]
    todo += [f"{r.id} could not be decided ({r.reason})." for r in results if r.status not in _DECIDED]
    for row in uptime.to_dict("records"):
        who = f"{row['symbol']} arm {row['arm']}"
        if row["gaps"]:
            outages = f"outages: {row['gaps']}, the longest {row['longest_gap_s']:.0f} s"
            todo.append(f"{who}: {outages}; compare with the log of the market data connection.")
        elif row["day_pct"] < COVERED_PCT:
            from_to = f"{row['first']:%H:%M:%S} to {row['last']:%H:%M:%S}"
            todo.append(
                f"{who}: ticks cover {row['day_pct']:.1f} % of the day, {from_to}; was it stopped on purpose?"
            )
    for row in errors[errors["openings"] > 0].to_dict("records"):
        opened = f"openings of the breaker: {row['openings']}; read the errors before the first."
        todo.append(f"{row['symbol']} arm {row['arm']}: {opened}")
    todo += _of_codes(codes)
    if quarantined:
        todo.append(
            f"{quarantined} lines of the feeds are in quarantine; their reasons are in artifacts/quarantine."
        )
    return list(dict.fromkeys(todo))


_READ = "read the first of them in the session's log."
_ADVICE = {
    "ERR_429_RATE_LIMIT": "lower the request rate before the venue bans the address.",
    "ERR_5XX_SERVER": "see the venue's status page; the bot can only back off.",
    "ERR_TIMEOUT": "measure the way to the venue, then raise the time-out or move closer.",
    "ERR_WS_DISCONNECT": "compare with the outages above; a stream that drops at the same minute each hour is the venue's.",
}


def _of_codes(codes: pd.DataFrame) -> list[str]:
    """One line a code that makes up half of the errors somewhere, and is no handful: how many, and where most."""
    todo = []
    leading = codes[(codes["share_pct"] >= 50) & (codes["n"] >= _HANDFUL)]
    for code, part in leading.groupby("code", sort=False, observed=True):
        most = part.sort_values("n").iloc[-1]
        where = f"{most['symbol']} arm {most['arm']}"
        if len(part) > 1:
            where = f"{len(part)} symbols and arms, most on {where} ({most['n']:,})"
        named = "errors without a code" if code == UNCODED else f"errors {code}"
        todo.append(f"{part['n'].sum():,} {named} on {where}; {_ADVICE.get(str(code), _READ)}")
    return todo


def of_alerts(fired: pd.DataFrame) -> list[str]:
    """One line a criterion: who, how often, since when."""
    todo = []
    for gate, part in fired.groupby("gate", sort=False, observed=True):
        first = part.sort_values("start").iloc[0]
        who = ", ".join(dict.fromkeys(part["who"]))
        often = "" if len(part) == 1 else f" {len(part)} times"
        todo.append(
            f"{gate} fired{often} on {who}, first from {first['start']:%H:%M} UTC: {first['runbook']}"
        )
    return todo
