"""The mid price as it is seen here, at even steps of local time: what the money of a sweep is marked at."""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit_borrowing as jit
from mmlib.core.book import BEST_ASK, BEST_BID, NO_ASK, NO_BID
from mmlib.exchange.marketpass import local_until
from mmlib.exchange.venue import NEED_ROWS, REACHED


@jit
def mids_at_steps(prices, rows, start, first_ns, step_ns, out):
    """Write the mid [ticks] at ``first_ns``, ``first_ns + step_ns``, ...; NaN while a side is empty.

    Args:
        prices: ladder.Ladder of uint8, continued from call to call. rows: EVENT[n], all there are; start: first not processed.
        out: float64[m]; how many are written follows from its length.

    Returns:
        ``(row, n, why)``: rows processed and mids written, and NEED_ROWS, REACHED (``out`` is full) or NEED_TICKS.
    """
    i = start
    for n in range(len(out)):
        i, why = local_until(prices, rows, i, first_ns + n * step_ns)
        if why != REACHED and why != NEED_ROWS:
            return i, n, why
        top = prices.top
        if top[BEST_BID] == NO_BID or top[BEST_ASK] == NO_ASK:
            out[n] = np.nan
        else:
            out[n] = 0.5 * (top[BEST_BID] + top[BEST_ASK])
        if why == NEED_ROWS:
            return i, n + 1, NEED_ROWS
    return i, len(out), REACHED
