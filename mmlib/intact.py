"""Files that can be made again, and whether one is intact: caches and checkpoints have one reader and one notion of damage.

*Damaged* is a file that is missing, cut short, longer, of another form, or in which any bit differs from what was written. Who
finds one drops it and makes it again. A CRC-32 of all bytes decides: it finds every change within 32 bits, and all but
one in four billion others; against intent there is the seal of the chain (``mmlib.seal``).

Small files carry it in themselves (``write_blob``, ``write_json``), large ones beside them (``seal_file``), to be mapped.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from mmlib._crc import intact_payload, trailer
from mmlib._io import write_atomic

_BESIDE = ".crc"
_JSON_KEY = "crc32"
_PARQUET_END = 8  # bytes: length of the footer, PAR1


class Damaged(OSError):
    """A file that is not what was written."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(None, f"damaged ({why})", str(path))


# --- small files, which carry their checksum ---


def write_blob(path: Path, payload: bytes, *, sync: bool = True) -> Path:
    """Write bytes and behind them magic, CRC-32 and length; see ``_io.write_atomic``."""
    return write_atomic(path, [payload, trailer(payload)], sync=sync)


def read_blob(path: Path) -> bytes:
    """What ``write_blob`` wrote.

    Raises:
        Damaged: see above; a file that cannot be read is one.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise Damaged(path, exc.strerror or "cannot be read") from exc
    payload = intact_payload(data)
    if payload is None:
        raise Damaged(path, "its checksum does not match")
    return payload


def write_arrays(path: Path, arrays: Mapping[str, Any], *, sync: bool = True) -> Path:
    """Write arrays as a NumPy archive within ``write_blob``."""
    return write_blob(path, arrays_bytes(arrays), sync=sync)


def arrays_bytes(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as a NumPy archive."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What ``write_arrays`` wrote.

    Raises:
        Damaged: see above.
    """
    with np.load(io.BytesIO(read_blob(path)), allow_pickle=False) as held:
        return dict(held)


def write_json(path: Path, payload: Mapping[str, Any], *, sync: bool = True) -> Path:
    """Write a JSON object with the CRC-32 of its other keys in canonical form under ``crc32``."""
    body = {k: v for k, v in payload.items() if k != _JSON_KEY}
    return write_atomic(
        path, json.dumps(body | {_JSON_KEY: _json_crc(body)}, indent=2, sort_keys=True) + "\n", sync=sync
    )


def read_json(path: Path) -> dict[str, Any]:
    """What ``write_json`` wrote, without the checksum.

    Raises:
        Damaged: see above.
    """
    try:
        held = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as exc:
        raise Damaged(path, f"{type(exc).__name__}") from exc
    if not isinstance(held, dict) or held.pop(_JSON_KEY, None) != _json_crc(held):
        raise Damaged(path, "its checksum does not match")
    return held


def _json_crc(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return f"{isal_zlib.crc32(text.encode()):08x}"


# --- large files, whose checksum stands beside them ---


def crc_of(path: Path, size: int | None = None) -> int:
    """CRC-32 of a file, or of its first ``size`` bytes; some 6 GB/s from the page cache.

    Raises:
        OSError: it cannot be read, or is shorter.
    """
    with path.open("rb") as handle:
        found = os.fstat(handle.fileno()).st_size
        wanted = found if size is None else size
        if found < wanted:
            raise Damaged(path, f"{found} bytes, expected {wanted}")
        if not wanted:
            return 0
        with mmap.mmap(handle.fileno(), wanted, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            return int(isal_zlib.crc32(view))


def seal_file(path: Path, *, at: Path | None = None, sync: bool = False) -> None:
    """Write the checksums of a file beside it: of all bytes, and of a Parquet footer alone.

    Args:
        at: where the file will be, when it is not there yet.
    """
    size = path.stat().st_size
    end = _footer_bytes(path, size)
    with path.open("rb") as handle:
        handle.seek(size - end)
        footer = isal_zlib.crc32(handle.read(end))
    facts = {"size": size, "whole": crc_of(path), "footer_bytes": end, "footer": footer}
    write_json(beside(at or path), facts, sync=sync)


def beside(path: Path) -> Path:
    """Where the checksums of a large file stand."""
    return path.with_name(path.name + _BESIDE)


def check_file(path: Path, *, footer_only: bool = False) -> None:
    """Compare a large file with its checksums; a whole one that was compared in this process is not read again.

    Args:
        footer_only: only the footer of a Parquet file, for who reads nothing else.

    Raises:
        Damaged: see above.
    """
    try:
        stat = path.stat()
    except OSError as exc:
        raise Damaged(path, exc.strerror or "cannot be read") from exc
    facts = read_json(beside(path))
    try:
        wanted = facts["size"], facts["footer_bytes"], facts["footer"], facts["whole"]
    except KeyError as exc:
        raise Damaged(path, "its checksums are of another form") from exc
    if stat.st_size != wanted[0]:
        raise Damaged(path, f"{stat.st_size} bytes, expected {wanted[0]}")
    if footer_only:
        with path.open("rb") as handle:
            handle.seek(stat.st_size - wanted[1])
            found, expected = isal_zlib.crc32(handle.read(wanted[1])), wanted[2]
    else:
        found, expected = _whole(path, stat.st_ino, stat.st_size, stat.st_mtime_ns), wanted[3]
    if found != expected:
        raise Damaged(path, "its checksum does not match")


def drop(paths: Iterable[Path]) -> None:
    """Remove files that are made again, and what stands beside them."""
    for path in paths:
        path.unlink(missing_ok=True)
        beside(path).unlink(missing_ok=True)


@lru_cache(maxsize=4096)
def _whole(path: Path, inode: int, size: int, mtime_ns: int) -> int:
    """``crc_of``; another inode, size or time is another file."""
    del inode, size, mtime_ns
    return crc_of(path)


def _footer_bytes(path: Path, size: int) -> int:
    """Length of a Parquet footer with its end, 0 for any other file."""
    if size < _PARQUET_END + 4:
        return 0
    with path.open("rb") as handle:
        handle.seek(size - _PARQUET_END)
        length, magic = struct.unpack("<I4s", handle.read(_PARQUET_END))
    return length + _PARQUET_END if magic == b"PAR1" and length + _PARQUET_END <= size else 0
