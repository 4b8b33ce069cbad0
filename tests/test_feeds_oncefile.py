"""A file that is read without filling the page cache is read whole, whatever the system makes of the wish."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mmlib.feeds.oncefile import OnceFile

RAW = os.urandom(3_000_000)


def whole(path: Path, piece: int = 1 << 16) -> bytes:
    """All bytes, by pieces."""
    found, buffer = bytearray(), bytearray(piece)
    with OnceFile(path) as file:
        while n := file.readinto(memoryview(buffer)):
            found += buffer[:n]
    return bytes(found)


def test_all_bytes_are_read_cached_or_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(RAW)
    assert whole(path) == RAW
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert whole(path) == RAW


@pytest.mark.parametrize("refused", [0, 1, 7])
def test_a_system_that_refuses_costs_no_byte(
    refused: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(RAW)
    calls = []
    real = os.preadv

    def refusing(*args: Any) -> int:
        calls.append(args)
        if len(calls) > refused:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return real(*args[:3])

    monkeypatch.setattr(os, "preadv", refusing)
    assert whole(path) == RAW
    assert len(calls) == refused + 1  # it is asked no more


def test_a_pipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(RAW,))
    writer.start()
    assert whole(path) == RAW
    writer.join()


def test_what_cannot_be_read_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        OnceFile(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        OnceFile(tmp_path)
