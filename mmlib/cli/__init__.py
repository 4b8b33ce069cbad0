"""The command line: parse, call, exit code. Everything heavy is imported inside the handler that needs it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from mmlib._io import UserError
from mmlib.cli import others, steps
from mmlib.cli.heartbeat import spoken_for
from mmlib.cli.shared import say
from mmlib.config.masking import mask_text
from mmlib.config.terminal import guarded
from mmlib.workflow.arguments import parser

_HANDLERS = {**steps.HANDLERS, **others.HANDLERS}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; no traceback reaches the terminal."""
    with guarded():
        args = parser().parse_args(argv)
        args.command = sys.argv[1:] if argv is None else list(argv)
        _end_as_interrupted()
        return _run(args, from_terminal=argv is None)


def _run(args: argparse.Namespace, *, from_terminal: bool) -> int:
    try:
        with _spoken_for(args, from_terminal):
            return _HANDLERS[args.verb](args)
    except UserError as exc:
        say(f"finishline {args.verb}: {exc}")
        return 2
    except KeyboardInterrupt:
        say(f"finishline {args.verb}: interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, ValueError, RuntimeError) as exc:
        reason = _of_the_place(exc)
        if reason is None:
            return _unexpected(args, exc)
        say(f"finishline {args.verb}: {reason}")
        return 2
    except Exception as exc:  # the last resort: one line for the reader, the rest in a file
        return _unexpected(args, exc)


def _of_the_place(exc: OSError | ValueError | RuntimeError) -> str | None:
    """What is wrong with a path or the machine, in one line; None when it is a fault of ours."""
    text = str(exc)
    if isinstance(exc, OSError) and exc.errno is not None:
        place = exc.filename if exc.filename is not None else "this machine"
        return f"{place}: {exc.strerror}; expected a path that can be used, and room for it"
    if "null byte" in text or "null character" in text:
        return "a path holds a NUL; expected one without"
    if "Symlink loop" in text:
        return f"{text}; expected a path that ends somewhere"
    return None


def _unexpected(args: argparse.Namespace, exc: BaseException) -> int:
    where = _keep_traceback(Path(getattr(args, "workspace", ".")))
    say(f"finishline {args.verb}: unexpected {type(exc).__name__}: {exc}; the traceback is in {where}")
    return 3


def _spoken_for(args: argparse.Namespace, from_terminal: bool) -> AbstractContextManager[None]:
    """What speaks while a verb is silent; nothing does beside JSON, nor for verbs that wait for somebody."""
    waits = args.verb in ("lab", "watch", "loopback", "record", "schedule")
    if not from_terminal or waits or getattr(args, "json", False):
        return nullcontext()
    return spoken_for(args.verb)


def _end_as_interrupted() -> None:
    """SIGTERM ends a verb as Ctrl-C does, so that a session is closed and not cut."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))


def _keep_traceback(workspace: Path) -> Path:
    """Write the current traceback below the workspace, or where temporary files go when that fails."""
    import tempfile
    import traceback
    from datetime import UTC, datetime

    from mmlib._io import write_atomic

    name = f"finishline-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    text = mask_text(traceback.format_exc())
    try:
        return write_atomic(workspace / "artifacts" / "logs" / name, text)
    except (UserError, OSError):
        return write_atomic(Path(tempfile.gettempdir()) / name, text)
