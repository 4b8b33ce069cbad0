"""The seal of the chain inputs → records → lock → readiness: an HMAC whose key lies outside the workspace.

Hashes alone show an edit that forgot one of them: *edit-evident*. With the user's key, made at its first use and readable by
the user only (``$XDG_CONFIG_HOME/finishline/seal.key``, else ``~/.config``), an edit that mends every hash shows as well:
*tamper-evident*, against everybody who cannot read the key. What was sealed once is remembered beside the key, so that taking a
seal off shows too.

Source: HMAC-SHA-256, RFC 2104.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmlib._io import UserError, read_json, write_json

TAMPER_EVIDENT, EDIT_EVIDENT = "tamper-evident", "edit-evident"
KEY_NAME, SEALED_NAME = "seal.key", "sealed.json"
FIELD = "seal"
"""Key of a seal in the mapping that it seals."""
_BYTES = 32


def home() -> Path:
    """Directory of the key, by the XDG rules."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "finishline"


def key(ws: Path, *, make: bool = False) -> bytes | None:
    """The user's key, None where there is none that can be trusted.

    A key within the workspace, of another user, or that others can read is not one.

    Args:
        make: make one when there is none; a place that cannot be written leaves it so.
    """
    path = home() / KEY_NAME
    if ws.resolve() in path.resolve().parents:
        return None
    try:
        if make and not path.exists():
            _make(path)
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return None
        held = path.read_bytes().strip()
        return bytes.fromhex(held.decode("ascii")) if len(held) == 2 * _BYTES else None
    except (OSError, ValueError):
        return None


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as handle:
            handle.write(secrets.token_hex(_BYTES) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        os.link(part, path)
    except FileExistsError:
        pass  # another process was first: its key is the key
    finally:
        part.unlink(missing_ok=True)


def sealed(ws: Path, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` with a seal, where there is a key; ``name`` says which link of the chain it is."""
    body = {k: v for k, v in content.items() if k != FIELD}
    secret = key(ws, make=True)
    if secret is None:
        return body
    _remember(ws, name)
    return body | {FIELD: {"key": _name_of(secret), "hmac": _mac(secret, name, body)}}


def fault(ws: Path, name: str, content: Mapping[str, Any]) -> str:
    """Why the seal of a link shows that it was edited; empty when it does not, or cannot be checked here."""
    seal, secret = content.get(FIELD), key(ws)
    if secret is None:
        return ""
    if isinstance(seal, dict) and seal.get("key") == _name_of(secret):
        body = {k: v for k, v in content.items() if k != FIELD}
        good = hmac.compare_digest(str(seal.get("hmac", "")).encode(), _mac(secret, name, body).encode())
        return "" if good else f"the seal of {name} does not match: it was edited after it was written"
    if name in _known(ws):
        return f"the seal of {name} is gone: it was edited after it was written"
    return ""


def strength(ws: Path, links: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """What the chain can show, ``TAMPER_EVIDENT`` or ``EDIT_EVIDENT``, and why it is not more."""
    secret = key(ws)
    if secret is None:
        return (
            EDIT_EVIDENT,
            f"no key at {home() / KEY_NAME} that only this user can read and that lies outside the workspace",
        )
    for name, content in links.items():
        seal = content.get(FIELD)
        if not isinstance(seal, dict) or seal.get("key") != _name_of(secret):
            return EDIT_EVIDENT, f"{name} was not sealed with this user's key"
    return TAMPER_EVIDENT, ""


def _mac(secret: bytes, name: str, body: Mapping[str, Any]) -> str:
    text = json.dumps([name, body], sort_keys=True, separators=(",", ":"))
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _name_of(secret: bytes) -> str:
    return hashlib.sha256(b"finishline key\0" + secret).hexdigest()[:16]


def _known(ws: Path) -> list[str]:
    """Links of this workspace that were sealed before."""
    try:
        held = read_json(home() / SEALED_NAME)
    except UserError:
        return []
    names = held.get(str(ws.resolve()), []) if isinstance(held, dict) else []
    return names if isinstance(names, list) else []


def _remember(ws: Path, name: str) -> None:
    if name in _known(ws):
        return
    try:
        with _locked():
            path = home() / SEALED_NAME
            try:
                held = dict(read_json(path))
            except (UserError, TypeError, ValueError):
                held = {}
            held[str(ws.resolve())] = sorted({*_known(ws), name})
            write_json(path, held)
    except (OSError, UserError):
        return  # the seal itself is enough to show an edit that keeps it


@contextmanager
def _locked() -> Iterator[None]:
    with (home() / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
