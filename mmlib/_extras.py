"""Packages that only some parts need: what to say when one of those is asked for and its package is not there."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from mmlib._io import UserError

EXTRAS = {"ccxt": "exchanges", "cryptography": "exchanges", "distributed": "cluster"}
"""Package -> the extra of pyproject.toml that brings it."""


def need(package: str, what: str) -> None:
    """Go on only where an optional package is installed.

    Args:
        package: one of ``EXTRAS``.
        what: the option or the place in a file that asks for it, such as ``live:kraken``.

    Raises:
        UserError: it is not there; the message names the extra and the command that installs it.
    """
    if find_spec(package) is None:
        extra = EXTRAS[package]
        raise UserError(
            f"{what}: needs the package {package}, which is not installed; expected the extra {extra!r}: {command(extra)}"
        )
    import_module(package)


def command(extra: str) -> str:
    """The command that installs an extra beside this package: the locked files in a checkout, else the newest that fit."""
    lock = Path(__file__).resolve().parent.parent / "ci" / "requirements-extras.lock"
    named = f"--require-hashes -r {lock}" if lock.is_file() else f"'mm-finishline[{extra}]'"
    pip = "" if find_spec("pip") else f"{sys.executable} -m ensurepip && "
    return f"{pip}{sys.executable} -m pip install {named}"
