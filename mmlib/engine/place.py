"""The directory of a session's feeds: one session at a time, swapped in whole, nothing of a desk's ever replaced."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmlib._io import UserError
from mmlib.feeds.sidecar import NAME as SIDECAR
from mmlib.feeds.sidecar import read_sidecar


@contextmanager
def claimed(feeds: Path, *, keep: bool = False) -> Iterator[Path]:
    """Hold ``feeds`` for one session and hand out the directory beside it to write into.

    The claim is a file lock, so that it ends with its process, however that ends. The directory is empty, and what a session
    wrote that met bad input or a full disk goes; one that was interrupted can go on. With ``keep`` what is there stays in
    every case.

    Raises:
        UserError: another session is at work there, files there are not a session's of ours, or the place cannot be
            written.
    """
    lock = feeds.with_name(f".{feeds.name}.lock")
    partial = feeds.with_name(f"{feeds.name}.partial")
    try:
        feeds.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("a+", encoding="utf-8", errors="replace")
    except OSError as exc:
        raise _unwritable(feeds, exc) from exc
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            handle.seek(0)
            by = handle.read(200).strip() or "not known which"
            raise UserError(
                f"{feeds}: another session is writing it ({by}); expected one at a time, or another --workspace"
            ) from exc
        try:
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {platform.node()}")
            handle.flush()
        except OSError as exc:
            raise _unwritable(feeds, exc) from exc
        refuse_foreign(feeds)
        try:
            if not keep:
                _remove(partial)
            partial.mkdir(exist_ok=keep)
        except OSError as exc:
            raise _unwritable(partial, exc) from exc
        try:
            yield partial
        except UserError:
            if not keep:
                with suppress(OSError):
                    _remove(partial)  # half a session is nobody's, and a full disk needs the room
            raise


def listed(directory: Path) -> dict[str, int]:
    """Name -> size in bytes of the files that a session wrote, for its sidecar."""
    return {path.name: path.stat().st_size for path in sorted(directory.glob("*.jsonl"))}


def refuse_foreign(feeds: Path) -> None:
    """Refuse a directory that holds anything but what a session of ours wrote; an empty or absent one is fine.

    Raises:
        UserError: naming the first file that no session of ours wrote as it is.
    """
    if not feeds.exists():
        return
    if not feeds.is_dir():
        raise UserError(f"{feeds}: is a file; expected a directory of feeds")
    ours = (read_sidecar(feeds) or {}).get("files") if (feeds / SIDECAR).exists() else {}
    if not isinstance(ours, dict):
        return  # a sidecar of before the files were listed
    for path in sorted(feeds.rglob("*")):
        if path.is_dir() or path == feeds / SIDECAR:
            continue
        name = path.relative_to(feeds).as_posix()
        if ours.get(name) != path.stat().st_size:
            raise UserError(
                f"{feeds}: holds {name}, which no session of ours wrote as it is; "
                f"use --source feeds:{feeds} to work on it, move it away, or take another --workspace"
            )


def swap(partial: Path, feeds: Path) -> None:
    """Put the new directory in place; the old one stays beside it as ``<feeds>.previous``.

    Raises:
        UserError: the place cannot be written.
    """
    previous = feeds.with_name(feeds.name + ".previous")
    try:
        if feeds.exists():
            _remove(previous)
            feeds.replace(previous)
        partial.replace(feeds)
    except OSError as exc:
        raise _unwritable(feeds, exc) from exc


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _unwritable(path: Path, exc: OSError) -> UserError:
    return UserError(f"{path}: cannot be written ({exc.strerror}); expected a writable workspace")
