"""A checksum behind the bytes of a file: magic, CRC-32, length. Kernels depend on it, so it imports no other of ours."""

from __future__ import annotations

import struct

from isal import isal_zlib

_TRAILER = struct.Struct("<4sIQ")
_MAGIC = b"FLI1"


def trailer(payload: bytes) -> bytes:
    """What to write behind bytes for ``intact_payload`` to compare them with."""
    return _TRAILER.pack(_MAGIC, isal_zlib.crc32(payload), len(payload))


def intact_payload(data: bytes) -> bytes | None:
    """Bytes in front of a trailer, None unless they are those that it was made of."""
    payload = data[: -_TRAILER.size]
    whole = len(data) >= _TRAILER.size and data[-_TRAILER.size :] == trailer(payload)
    return payload if whole else None
