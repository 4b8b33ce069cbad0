"""One daily run at a time: a file lock that names its holder."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from mmlib._io import UserError
from mmlib.workflow.times import now_iso, readable

LOCK_FILE = Path("artifacts") / ".daily.lock"


@dataclass(frozen=True)
class Holder:
    """Who holds the lock."""

    pid: int
    host: str
    since: str

    def text(self) -> str:
        """For a person."""
        return f"process {self.pid} on {self.host} since {readable(self.since)}"


@contextmanager
def alone(ws: Path) -> Iterator[Holder | None]:
    """Hold the workspace's daily runs for this process.

    The lock is the kernel's, so it ends with its process, however that ends; the file says who holds it. What a killed
    holder left in the file is a stale lock: it is taken over and said.

    Yields:
        The holder whose stale lock was taken over, else None.

    Raises:
        UserError: another process holds it, or the place cannot be written.
    """
    path = ws / LOCK_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+", encoding="utf-8")
    except OSError as exc:
        raise UserError(f"{path}: cannot be written ({exc.strerror})") from exc
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            who = _read(handle)
            by = who.text() if who else "another process"
            raise UserError(f"{path}: held by {by}; expected one daily run at a time") from exc
        except OSError as exc:
            raise UserError(f"{path}: cannot be locked ({exc.strerror}); expected a local disk") from exc
        stale = _read(handle)
        if stale is not None:
            sys.stderr.write(f"{path}: stale, left by {stale.text()}; taken over\n")
        _write(handle, json.dumps(asdict(Holder(os.getpid(), platform.node(), now_iso()))))
        try:
            yield stale
        finally:
            _write(handle, "")


def holder(ws: Path) -> Holder | None:
    """Who holds the lock now; None when nobody does, whatever a killed process left in the file."""
    try:
        with (ws / LOCK_FILE).open("r", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(handle)
    except OSError:
        pass
    return None


def _read(handle: IO[str]) -> Holder | None:
    handle.seek(0)
    try:
        found = json.loads(handle.read())
        return Holder(int(found["pid"]), str(found["host"]), str(found["since"]))
    except (ValueError, TypeError, KeyError):
        return None


def _write(handle: IO[str], text: str) -> None:
    handle.seek(0)
    handle.truncate()
    handle.write(text)
    handle.flush()
