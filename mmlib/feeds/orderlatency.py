"""Measured latencies of a desk's own orders."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from mmlib._io import UserError


def read_order_latency(path: Path) -> np.ndarray:
    """Measured order latencies as ``int64[n, 3]``: request, exchange and response times [ns].

    The file is what ``numpy.savez`` writes: under ``data`` (or as its only array) rows with the fields ``req_ts``, ``exch_ts``,
    ``resp_ts``, as hftbacktest keeps them, or three columns of integers.

    Raises:
        UserError: no such file, or another content.
    """
    expected = "an .npz with rows of req_ts, exch_ts, resp_ts"
    try:
        with np.load(path, allow_pickle=False) as held:
            names = list(held) if isinstance(held, np.lib.npyio.NpzFile) else []
            table = held["data"] if "data" in names else held[names[0]] if len(names) == 1 else None
    except FileNotFoundError as exc:
        raise UserError(f"{path}: no such file; expected {expected}") from exc
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as exc:
        raise UserError(f"{path}: cannot be read ({exc}); expected {expected}") from exc
    if table is None:
        raise UserError(f"{path}: holds {names}; expected {expected}")
    fields = ("req_ts", "exch_ts", "resp_ts")
    if table.dtype.names and set(fields) <= set(table.dtype.names):
        return np.stack([table[name].astype(np.int64) for name in fields], axis=1)
    if table.ndim == 2 and table.shape[1] == 3 and table.dtype.kind in "iu":
        return np.asarray(table, np.int64)
    raise UserError(f"{path}: holds {table.dtype} in shape {table.shape}; expected {expected}")
