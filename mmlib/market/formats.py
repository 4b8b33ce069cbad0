"""Which reader a recording is for: known by its first bytes, not by its name alone."""

from __future__ import annotations

from pathlib import Path

from mmlib._io import UserError, regular
from mmlib.market.lines import Lines
from mmlib.market.recorded import ReaderOptions, Recording

_ZIP, _NPY = b"PK\x03\x04", b"\x93NUMPY"


def read_any(path: Path, options: ReaderOptions) -> Recording:
    """Find the format of a recording and read it, from the cache where it was read before.

    Raises:
        UserError: of no known format, empty, or without the symbol.
    """
    from mmlib.market.cache import read_cached

    if path.is_dir():
        from mmlib.market import tardis

        if not tardis.looks_like(path):
            return _topbook(path, options)
        return read_cached(path, tardis.files_of(path, options.symbol), options, tardis.read_tardis)
    if "market-depth" in path.name:
        return _topbook(path, options)
    if _head(path).startswith((_ZIP, _NPY)):
        from mmlib.market.npz import read_npz

        return read_cached(path, [path], options, read_npz)
    first = next((line for line in Lines(path) if line.strip()), None)
    if first is None:
        raise UserError(f"{path}: nothing in it; expected a recording")
    if first.startswith(b"time_seconds"):
        raise UserError(f"{path}: not named *market-depth.csv[.gz]; expected the depth file or its directory")
    if first.startswith(b"exchange,symbol,timestamp,local_timestamp,"):
        from mmlib.market import tardis

        return read_cached(path, tardis.files_of(path, options.symbol), options, tardis.read_tardis)
    from mmlib.market.binance import read_binance

    return read_cached(path, [path], options, read_binance)


def _topbook(path: Path, options: ReaderOptions) -> Recording:
    from mmlib.market.topbook import read_topbook

    return read_topbook(path, options)


def _head(path: Path) -> bytes:
    try:
        with regular(path).open("rb") as stream:
            return stream.read(8)
    except OSError as exc:
        raise UserError(f"{path}: cannot be read ({exc.strerror}); expected a recording") from exc
