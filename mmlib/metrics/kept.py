"""Slices that are kept beside the Parquet file that they were worked out of, so that the same dataset reads no ticks again.

A few numbers an interval are kept, not mergeable histograms of shorter intervals: the 300 ticks of five minutes fall into
nearly as many buckets, so that histograms would be as large as the ticks' own columns and no faster to read. Intervals of
another length are worked out of the Parquet file, and then kept as well.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Literal

from mmlib import intact
from mmlib._io import UserError
from mmlib.feeds.cache import beside, worked_out
from mmlib.metrics.slices import Partial, Slice, work_out

Source = Literal["conversion", "kept", "ticks"]
"""Whence a slice came: worked out while the feed was converted, kept from an earlier time, or worked out of Parquet."""
DECIDING = (
    *(f"core/{name}.py" for name in ("_jit", "histogram", "kernel", "tickbins")),
    *(f"feeds/{name}.py" for name in ("cache", "columns", "schema")),
    *(f"metrics/{name}.py" for name in ("grid", "passing", "slices")),
)
"""Sources that decide what a slice comes to; those that decide what the Parquet file holds are in its own key."""
MOST = 16
"""Slices kept beside a Parquet file; the oldest ones go."""


def reduced(task: Slice, *, keep: bool) -> tuple[Partial, Source]:
    """A slice as it was kept, or worked out of Parquet.

    Raises:
        OSError, pyarrow.ArrowException: a Parquet file is gone or damaged.
    """
    if keep and (held := load(task)) is not None:
        return held, "kept"
    partial = work_out(task)
    if keep:
        save(task, partial)
    return partial, "ticks"


def load(task: Slice) -> Partial | None:
    """The slice as it was kept; None when it was not, or is damaged."""
    place = _place(task)
    if place is None:
        return None
    try:
        held = intact.read_arrays(place)
        return Partial(**{one.name: held[one.name] for one in fields(Partial)})
    except (OSError, KeyError):
        return None


def save(task: Slice, partial: Partial) -> None:
    """Keep a slice; nothing happens where it is of several files, or where the cache cannot be written."""
    place = _place(task)
    if place is None:
        return
    arrays = {one.name: getattr(partial, one.name) for one in fields(Partial)}
    with contextlib.suppress(OSError, UserError):
        intact.write_arrays(place, arrays, sync=False)
        held = sorted(worked_out(task.files[0]), key=lambda path: path.stat().st_mtime_ns)
        for old in held[:-MOST]:
            old.unlink(missing_ok=True)


def _place(task: Slice) -> Path | None:
    """Where a slice is kept: by its file as it is now, and by all that is asked of it."""
    if len(task.files) != 1:
        return None
    stat = task.files[0].stat()
    asked = (
        stat.st_size,
        stat.st_mtime_ns,
        task.pairs,
        task.lower_ns,
        task.upper_ns,
        task.grid,
        _code_version(),
    )
    digest = hashlib.sha256(repr(asked).encode())
    digest.update(task.ends.tobytes() + task.asked_ns.tobytes())
    return beside(task.files[0], digest.hexdigest()[:16])


@cache
def _code_version() -> str:
    """Hash of the sources that decide what a slice comes to."""
    package = Path(__file__).resolve().parents[1]
    return hashlib.sha256(b"".join((package / name).read_bytes() for name in DECIDING)).hexdigest()
