"""Assignment of units (symbol, time bucket) to the treatment by a seeded hash, never by fills or raw intervals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pandas as pd

from mmlib._io import UserError

ROLLOUT_PCTS = (10, 50, 100)


def check_rollout(pct: int) -> int:
    """Return ``pct`` when it is a stage of the rollout.

    Raises:
        UserError: any other percentage.
    """
    if pct not in ROLLOUT_PCTS:
        raise UserError(f"rollout_pct: {pct!r} is no stage; expected one of 10, 50, 100")
    return pct


def unit_hash(seed: int, symbol: str, bucket_ns: int) -> float:
    """Uniform number in [0, 1) for a unit; the same for the same seed on every machine."""
    digest = hashlib.blake2b(f"{seed}|{symbol}|{bucket_ns}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def assign_units(units: Iterable[tuple[str, pd.Timestamp]], pct: int, seed: int) -> pd.DataFrame:
    """Which units would run the treatment with real orders at this stage.

    Returns:
        DataFrame[symbol, bucket, treated]: one row a unit, in the order given.
    """
    share = check_rollout(pct) / 100.0
    rows = [(symbol, bucket, unit_hash(seed, symbol, bucket.value) < share) for symbol, bucket in units]
    return pd.DataFrame(rows, columns=["symbol", "bucket", "treated"])


def schedule(symbols: Iterable[str], start: pd.Timestamp, hours: int, pct: int, seed: int) -> pd.DataFrame:
    """Which arm a desk that alternates its arms should run in each hour: symbol, bucket, arm.

    Args:
        symbols: traded symbols.
        start: first hour, UTC; a time within an hour means that hour.
        hours: how many.
        pct, seed: as in ``assign_units``.
    """
    first = pd.Timestamp(start).floor("h")
    units = [(symbol, first + pd.Timedelta(hours=k)) for k in range(hours) for symbol in symbols]
    frame = assign_units(units, pct, seed)
    arm = frame.pop("treated").map({True: "B", False: "A"})
    return frame.assign(arm=arm.astype("str"))
