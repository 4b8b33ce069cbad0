"""Times as people write them: ISO 8601 in UTC, calendar dates, run identifiers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from mmlib._io import UserError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_utc_ns(text: Any, name: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time; a time without an offset is UTC.

    Raises:
        UserError: not a time that exists; the message begins with ``name``.
    """
    if isinstance(text, datetime):
        moment = text
    else:
        try:
            moment = datetime.fromisoformat(str(text).strip())
        except ValueError as exc:
            raise UserError(
                f"{name}: {text!r} is no time ({exc}); expected ISO 8601 like 2025-01-15T00:00:00Z"
            ) from exc
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def parse_date(text: Any, name: str) -> date:
    """A calendar date written YYYY-MM-DD.

    Raises:
        UserError: not a date that exists.
    """
    if isinstance(text, date) and not isinstance(text, datetime):
        return text
    try:
        return datetime.strptime(str(text).strip(), "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as exc:
        raise UserError(
            f"{name}: {text!r} is no date that exists; expected YYYY-MM-DD like 2025-01-15"
        ) from exc


def now_iso() -> str:
    """The current time as RFC 3339 UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_stamp() -> str:
    """Identifier of a run that starts now, sortable: ``20250115T093000Z``."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def readable(iso: str) -> str:
    """An RFC 3339 time to the minute for a table: ``2025-01-15 09:30 UTC``; other text as it is."""
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return iso


def utc_datetime(ns: int | None) -> datetime | None:
    """Nanoseconds since the epoch as an aware time; None stays None."""
    return None if ns is None else _EPOCH + timedelta(microseconds=ns // 1000)


def stamp_of(iso: str) -> str:
    """An RFC 3339 time as the workflow writes it in file names: ``20250115_093000``."""
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y%m%d_%H%M%S")
