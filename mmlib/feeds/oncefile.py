"""A file that is read once, without filling the page cache with it."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

_DONT_CACHE = 0x80  # RWF_DONTCACHE, since Linux 6.14
_GO_ON = -1  # where the file stands


class OnceFile(io.FileIO):
    """A file to be read by ``readinto``; what was not in the page cache leaves it again, where the system can do so.

    A feed is parsed once and kept as Parquet: gigabytes of it would push other things out of the cache, and to fill fresh pages
    can take several times as long as to read them.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(os.fspath(path))
        self._once = sys.platform == "linux"

    def readinto(self, buffer: Any) -> int | None:
        """See ``io.FileIO``."""
        if self._once:
            try:
                return os.preadv(self.fileno(), [buffer], _GO_ON, _DONT_CACHE)
            except OSError:  # an older kernel, or a file system that does not know how
                self._once = False
        return super().readinto(buffer)
