"""A live stream kept as it came: `<19 digits of ns> <frame>` a line, gzipped a member a flush, whole up to the last flush.

Beside the exchange's frames it holds notes of the session (``{"e":"finishline", ...}``), which other readers ignore: they make
a recording of a session replayable to the same fills.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
from isal import igzip

from mmlib._io import UserError
from mmlib.dtypes import Grade

NOTE = "finishline"
"""The ``e`` field of a note."""
_LEVEL = 1
_BLOCK_BYTES = 2 << 20  # what ten lively symbols send in some seconds


class _Block:
    """Lines one behind the other, in a place that is kept: a line by itself would leave a hole among what lives longer."""

    def __init__(self) -> None:
        self._place = bytearray(b" ") * _BLOCK_BYTES  # written to, so that it has its memory now
        self._n = 0

    def add(self, line: bytes) -> None:
        end = self._n + len(line)
        if end > len(self._place):
            grown = bytearray(2 * end)
            grown[: self._n] = self.held()
            self._place = grown
        self._place[self._n : end] = line
        self._n = end

    def held(self) -> memoryview:
        return memoryview(self._place)[: self._n]

    def clear(self) -> None:
        self._n = 0


class RawLog:
    """Appends lines to a recording; ``.gz`` in the name makes it gzip.

    ``write`` only remembers; ``cut`` hands out what is to be written, in one of two blocks that take turns; ``store`` writes
    and syncs it, and may do so in a thread until the next ``cut``.

    Args:
        path: must not exist, unless ``size`` says how much of it is good.
        size: go on behind this many bytes; whatever follows them is cut off.

    Raises:
        UserError: it exists, is shorter than ``size``, or cannot be written.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path = path
        self._filling, self._cut = _Block(), _Block()
        self._gzip = path.suffix == ".gz"
        flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if size is None else 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, flags, 0o644)
            found = os.fstat(self._fd).st_size
            if size is not None and found >= size:
                os.ftruncate(self._fd, size)
        except FileExistsError as exc:
            raise UserError(f"{path}: exists; expected a new file for the recording") from exc
        except OSError as exc:
            raise UserError(f"{path}: cannot be written ({exc.strerror}); expected a writable place") from exc
        if size is not None and found < size:
            os.close(self._fd)
            raise UserError(f"{path}: {found} bytes; expected the {size} that the session had written")
        os.lseek(self._fd, 0, os.SEEK_END)
        self.size = size or 0
        self.lines = 0

    def write(self, local_ns: int, frame: bytes) -> None:
        """Remember one frame; a line break inside it becomes a space."""
        if b"\n" in frame:
            frame = frame.replace(b"\n", b" ")
        self._filling.add(b"%019d %b\n" % (local_ns, frame))
        self.lines += 1

    def note(self, local_ns: int, **fields: Any) -> None:
        """Remember a note of the session."""
        self.write(local_ns, orjson.dumps({"e": NOTE, **fields}))

    def cut(self) -> memoryview:
        """The lines since the last cut; a view until the next one."""
        self._filling, self._cut = self._cut, self._filling
        self._filling.clear()
        return self._cut.held()

    def store(self, data: memoryview) -> int:
        """Write and sync lines; the size of the file afterwards.

        Raises:
            UserError: the file cannot be written, for example for want of space; it is cut back to what was whole.
        """
        if data:
            block = memoryview(igzip.compress(data, _LEVEL)) if self._gzip else data
            try:
                while block:
                    block = block[os.write(self._fd, block) :]
                os.fsync(self._fd)
            except OSError as exc:
                os.ftruncate(self._fd, self.size)
                os.lseek(self._fd, 0, os.SEEK_END)
                raise UserError(
                    f"{self.path}: cannot be written ({exc.strerror}); expected a place with free space"
                ) from exc
            self.size = os.lseek(self._fd, 0, os.SEEK_CUR)
        return self.size

    def close(self) -> None:
        """Write what is left and close; closing twice is allowed."""
        if self._fd < 0:
            return
        try:
            self.store(self.cut())
        finally:
            os.close(self._fd)
            self._fd = -1


def read_header(path: Path) -> dict[str, Any] | None:
    """What a recording of ours says of itself in its first line; None for any other recording."""
    if not path.is_file():
        return None
    from mmlib.market.lines import Lines

    line = next(iter(Lines(path)), b"")
    if b'"e":"finishline"' not in line[:60]:
        return None
    try:
        note = orjson.loads(line[20:])
    except orjson.JSONDecodeError:
        return None
    return dict(note) if isinstance(note, dict) and note.get("e") == NOTE else None


def recorded_grade(header: dict[str, Any]) -> Grade:
    """What a session's recording is worth: a live market recorded is a recording, anything less stays what it was."""
    stated = header.get("grade")
    grade = Grade(stated) if stated in list(Grade) else Grade.SIMULATED
    return Grade.weakest([grade, Grade.RECORDING]) or grade
