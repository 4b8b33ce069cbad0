"""How far compressed data may unfold: a file of a few kilobytes that becomes gigabytes is refused while it is still small."""

from __future__ import annotations

import errno

MOST_RATIO = 300
"""Unpacked bytes for one packed byte; feeds and recordings have 5 to 60, and gzip cannot do more than 1,032."""
FREE_BYTES = 1 << 28
"""Unpacked bytes that no ratio is asked of."""


class Bomb(OSError):
    """Compressed data that unfold further than any feed or recording does."""


def check_expansion(packed: int, unpacked: int) -> None:
    """Refuse data that unfold too far.

    Args:
        packed, unpacked: bytes so far.

    Raises:
        Bomb: saying both limits.
    """
    if unpacked > FREE_BYTES and unpacked > MOST_RATIO * packed:
        text = f"{packed:,} packed bytes unfold to more than {unpacked:,}: a decompression bomb; expected at most "
        raise Bomb(errno.EFBIG, f"{text}{MOST_RATIO} times the packed size beyond {FREE_BYTES:,} bytes")
