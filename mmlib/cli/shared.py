"""What the verbs share: the workspace and feeds that were named, and the result in words or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mmlib._io import UserError


def workspace(args: argparse.Namespace) -> Path:
    """The workspace that was named."""
    from mmlib.workflow.record import resolve_workspace

    given = Path(args.workspace).expanduser()
    return resolve_workspace("." if args.workspace == "." else given.resolve())


def feeds(args: argparse.Namespace) -> str:
    """The feeds directory that was named, absolute; empty for none.

    Raises:
        UserError: it is none.
    """
    if not args.feeds:
        return ""
    path = Path(args.feeds).expanduser().resolve()
    if not path.is_dir():
        from mmlib.workflow.plan import FEED_FILES

        raise UserError(f"{path}: no such directory; expected one with {FEED_FILES}")
    return str(path)


def only_given(**values: Any) -> dict[str, Any]:
    """The options that were given: neither None nor empty."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


def show(args: argparse.Namespace, payload: Any, text: str) -> None:
    """Print the result: ``payload`` with ``--json``, else ``text``."""
    print(json.dumps(payload, indent=2, default=str) if args.json else text)


def say(text: str) -> None:
    """One line on standard error."""
    print(" ".join(text.split()), file=sys.stderr)
