"""What is said to a terminal: the one place where control characters are taken out of it, and secrets masked.

Names of symbols, error texts of an exchange, lines of a damaged file: all of them may hold an escape sequence that writes to
the clipboard (OSC 52), moves the cursor over a verdict, or a bidirectional override that turns it round. ``guarded`` puts a
stream in front of standard output and error through which everything passes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from mmlib.config.masking import mask_text

_CONTROLS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f"  # marks and overrides of direction, other breaks of lines
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff"  # annotations, invisible tags, halves of a pair
)
_UNSAFE = re.compile(f"[{_CONTROLS}]")
_DRAWING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def plain(text: str) -> str:
    """The text without control characters, but for tabs and line feeds; what they enclosed stays, and can be read."""
    return _UNSAFE.sub("", text)


class Guarded:
    """A text stream that takes ``plain`` and ``mask_text`` of what is written; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write what may be said; a carriage return that begins the text, as a line of progress does, stays."""
        begin = "\r" if text.startswith("\r") and not text.startswith("\r\n") else ""
        self.stream.write(begin + plain(mask_text(text)))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """``write`` each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Drawing(Guarded):
    """The same for a library that draws: sequences of colour and cursor pass, whatever else begins with ESC does not."""

    def write(self, text: str) -> int:
        """Write what may be drawn. The texts in it must be ``plain`` before."""
        text, at = mask_text(text), 0
        for match in _DRAWING.finditer(text):
            self.stream.write(_UNSAFE.sub(_but_return, text[at : match.start()]) + match[0])
            at = match.end()
        self.stream.write(_UNSAFE.sub(_but_return, text[at:]))
        return len(text)


def drawing(stream: TextIO) -> TextIO:
    """What a library that draws may write to instead of ``stream``."""
    return cast(TextIO, Drawing(stream.stream if isinstance(stream, Guarded) else stream))


@contextmanager
def guarded() -> Iterator[None]:
    """While inside, standard output and error are ``Guarded``; a letter that their encoding lacks is spelt out."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure") and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = (cast(TextIO, s if isinstance(s, Guarded) else Guarded(s)) for s in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _but_return(match: re.Match[str]) -> str:
    return "\r" if match[0] == "\r" else ""
