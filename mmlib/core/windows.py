"""Sustained violations over a series of evaluation points: the rule of a Prometheus alert's ``for``.

Active since the first violating point t_f, a run fires at the first point t_k with t_k - t_f >= for. A
missing point neither extends nor clears a run; more than two intervals between present points is a gap, which
ends it. The same ``advance`` serves the offline evaluator and a monitor that is fed point by point, so the
two cannot differ.
"""

from __future__ import annotations

import numpy as np

from mmlib.core._jit import jit

NONE = -(2**63)  # no such time
MISSING, OK, VIOLATING = -1, 0, 1

# State of a running evaluation: int64[4].
ACTIVE_SINCE = 0  # time of the first violating point of the current run [ns], or NONE
FIRED_AT = 1  # when the current run fired [ns], or NONE
LAST_PRESENT = 2  # time of the last point that was not missing [ns], or NONE
GAPS = 3  # how many gaps were met
STATE_SIZE = 4


def new_state() -> np.ndarray:
    """State before the first point, ``int64[STATE_SIZE]``."""
    state = np.full(STATE_SIZE, NONE, dtype=np.int64)
    state[GAPS] = 0
    return state


@jit
def advance(state, ts_ns, violating, interval_ns, for_ns):
    """Take one point into ``state`` (``int64[STATE_SIZE]``, in place); True while the current run has fired.

    ``violating`` is MISSING (-1), OK (0) or VIOLATING (1). Points come in rising order of ``ts_ns``.
    """
    if violating >= 0:
        last = state[LAST_PRESENT]
        if last != NONE and ts_ns - last > 2 * interval_ns:
            state[GAPS] += 1
            state[ACTIVE_SINCE] = NONE
            state[FIRED_AT] = NONE
        state[LAST_PRESENT] = ts_ns
        if violating == 0:
            state[ACTIVE_SINCE] = NONE
            state[FIRED_AT] = NONE
        else:
            if state[ACTIVE_SINCE] == NONE:
                state[ACTIVE_SINCE] = ts_ns
            if state[FIRED_AT] == NONE and ts_ns - state[ACTIVE_SINCE] >= for_ns:
                state[FIRED_AT] = ts_ns
    return state[FIRED_AT] != NONE


@jit
def _runs(ts_ns, violating, interval_ns, for_ns, state, out):
    """Fill ``out`` (``int64[n, 3]``) with runs as in ``sustained_runs``; returns how many there are."""
    count = 0
    since = NONE
    for k in range(ts_ns.shape[0]):
        advance(state, ts_ns[k], violating[k], interval_ns, for_ns)
        if violating[k] == 1:
            if state[ACTIVE_SINCE] != since or since == NONE:
                out[count, 0] = k
                out[count, 2] = -1
                count += 1
            out[count - 1, 1] = k
            if out[count - 1, 2] < 0 and state[FIRED_AT] != NONE:
                out[count - 1, 2] = k
        since = state[ACTIVE_SINCE]
    return count


def sustained_runs(
    ts_ns: np.ndarray, violating: np.ndarray, interval_ns: int, for_ns: int
) -> tuple[np.ndarray, int]:
    """Every run of violating points, and the number of gaps between present points.

    Args:
        ts_ns: ``int64[n]``, strictly rising times of the evaluation points.
        violating: ``int8[n]``: -1 missing, 0 fine, 1 violating.
        interval_ns: distance of evaluation points; a gap is more than twice this.
        for_ns: how long a run must last to fire; 0 fires at its first point.

    Returns:
        ``int64[m, 3]`` with a row a run: index of its first point, of its last violating point, and of the
        point at which it fired (-1 when it did not); and the count of gaps.

    Raises:
        ValueError: shapes differ, or times do not rise.

    Oracle: ``tests/naive_gates.sustained``.
    """
    ts = np.ascontiguousarray(ts_ns, dtype=np.int64)
    marks = np.ascontiguousarray(violating, dtype=np.int8)
    if ts.shape != marks.shape or ts.ndim != 1:
        raise ValueError(f"expected two arrays of one length, found {ts.shape} and {marks.shape}")
    if bool((np.diff(ts) <= 0).any()):
        raise ValueError("evaluation points: expected strictly rising times")
    out = np.empty((len(ts), 3), dtype=np.int64)
    state = new_state()
    count = _runs(ts, marks, np.int64(interval_ns), np.int64(for_ns), state, out)
    return out[:count].copy(), int(state[GAPS])
