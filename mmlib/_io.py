"""Small file helpers used by every floor: atomic writes, hashes, paths kept inside the workspace."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class UserError(Exception):
    """Bad input or configuration; the command line prints it on one line and exits 2.

    The message names the file, the place in it (key or line) and what was expected.
    """


def inside(root: Path, path: Path | str) -> Path:
    """Return ``root / path`` resolved, refusing anything that leaves ``root``.

    Raises:
        UserError: the path points outside.
    """
    base = root.resolve()
    full = (base / path).resolve()
    if full != base and base not in full.parents:
        raise UserError(f"{path}: points outside the workspace {base}; expected a path below it")
    return full


def regular(path: Path) -> Path:
    """The path, unless it is something whose reading waits for ever or never ends; one that is missing passes.

    Raises:
        OSError: a named pipe, a device or a socket.
    """
    mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    kinds = (
        ("named pipe", stat.S_ISFIFO),
        ("device", stat.S_ISCHR),
        ("device", stat.S_ISBLK),
        ("socket", stat.S_ISSOCK),
    )
    for name, test in kinds:
        if test(mode):
            raise OSError(errno.EINVAL, f"it is a {name}, no regular file", str(path))
    return path


def shipped_dir(name: str) -> Path:
    """Directory ``params`` or ``notebooks`` as shipped: of the checkout, or inside an installed package.

    Raises:
        UserError: the installation lacks it.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    if (package / "_shipped" / name).is_dir():
        return package / "_shipped" / name
    raise UserError(
        f"{package / '_shipped' / name}: is missing; expected a complete installation of mm-finishline"
    )


def write_atomic(path: Path, data: str | bytes | Iterable[bytes], *, sync: bool = True) -> Path:
    """Write through a temporary file in the same directory, fsync, rename; parents are made.

    Args:
        path, data: what is written where, parts one behind the other.
        sync: False for what can be made again and whose reader checks it, such as a cache: after a power cut the file may be
            damaged.

    Raises:
        UserError: the place cannot be written.
    """
    whole = data.encode("utf-8") if isinstance(data, str) else data
    parts = [whole] if isinstance(whole, bytes) else whole
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, tmp = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as exc:
        raise UserError(f"{path}: cannot be written ({exc.strerror}); expected a writable workspace") from exc
    try:
        with os.fdopen(fd, "wb") as handle:
            handle.writelines(parts)
            handle.flush()
            if sync:
                os.fsync(handle.fileno())
        Path(tmp).chmod(0o644)
        Path(tmp).replace(path)
    except OSError as exc:
        Path(tmp).unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({exc.strerror}); expected a writable workspace") from exc
    except BaseException:
        Path(tmp).unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, payload: Any) -> Path:
    """Write JSON atomically: sorted keys, two spaces, NaN refused."""
    return write_atomic(path, json.dumps(payload, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: missing, unreadable or not JSON.
    """
    try:
        return json.loads(regular(path).read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise UserError(f"{path}: no such file") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise UserError(f"{path}: cannot be read ({exc})") from exc
    except json.JSONDecodeError as exc:
        raise UserError(f"{path}:{exc.lineno}: not JSON ({exc.msg})") from exc


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with regular(path).open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(payload: Any) -> str:
    """SHA-256 of a JSON-able value in canonical form, hex."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
