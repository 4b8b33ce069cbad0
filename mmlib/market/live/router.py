"""Frames as they came, handed to the stream of the symbol that they name; the same for a running session and its recording."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from mmlib.market.live import codes
from mmlib.market.live.rawlog import NOTE
from mmlib.market.live.sync import BadFrame, SymbolStream

OnError = Callable[[str, str, str], None]
"""Takes symbol (empty: all of the connection), code and detail."""


class Clock:
    """The local clock [ns since 1970] as stamps of which no two are equal and none falls.

    When the machine's clock is set back, this one goes on at the same pace, so that a session waits for no time that is past.
    """

    def __init__(self) -> None:
        self._last = 0
        self._ahead = time.time_ns() - time.monotonic_ns()

    def __call__(self) -> int:
        """Now."""
        self._ahead = max(self._ahead, time.time_ns() - time.monotonic_ns())
        self._last = max(time.monotonic_ns() + self._ahead, self._last + 1)
        return self._last


class Router:
    """Parses frames and hands each to its symbol.

    Attributes:
        streams: by symbol, upper case.
        notes: handler of the session's own notes, which only a recording holds.
    """

    def __init__(
        self,
        streams: Mapping[str, SymbolStream],
        on_error: OnError,
        notes: Callable[[int, dict[str, Any]], None] | None = None,
    ) -> None:
        self.streams = streams
        self.frames = 0
        self._on_error = on_error
        self._notes = notes

    def take(self, local_ns: int, frame: bytes) -> str:
        """Take one frame; the symbol that it was for, empty when it was for none of ours."""
        self.frames += 1
        try:
            message = orjson.loads(frame)
        except orjson.JSONDecodeError as exc:
            self._on_error("", codes.BAD_FRAME, f"no JSON: {exc.msg}")
            return ""
        data = message.get("data", message) if isinstance(message, dict) else None
        if not isinstance(data, dict):
            self._on_error("", codes.BAD_FRAME, "no JSON object")
            return ""
        if self._notes is not None and data.get("e") == NOTE:
            self._notes(local_ns, data)
            return ""
        symbol = data.get("s")
        stream = self.streams.get(symbol) if isinstance(symbol, str) else None
        if stream is None:
            return ""
        gaps = stream.counts[codes.GAP]
        try:
            stream.take(data, local_ns)
        except BadFrame as exc:
            self._on_error(stream.instrument.symbol, codes.BAD_FRAME, str(exc))
        if stream.counts[codes.GAP] != gaps:
            self._on_error(
                stream.instrument.symbol, codes.GAP, "updates are missing; a new snapshot is asked for"
            )
        return stream.instrument.symbol


def with_symbol(symbol: str, body: bytes) -> bytes:
    """A REST snapshot as a frame that names its symbol, so that it can stand among others in a recording."""
    text = body.strip()
    if not (text.startswith(b"{") and text.endswith(b"}")):
        return text
    rest = text[1:].lstrip()
    comma = b"" if rest == b"}" else b","
    return b'{"s":%b%b%b' % (orjson.dumps(symbol), comma, rest)
