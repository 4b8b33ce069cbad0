"""One WebSocket connection of a client: whole frames, written at once, cut off when the client does not read."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import orjson

MOST_WAITING = 8 << 20
"""Bytes that may wait for a client before its connection is cut."""


class Socket:
    """A connection.

    Attributes:
        combined: whether market messages name their stream around the data.
    """

    def __init__(self, transport: asyncio.Transport, *, combined: bool) -> None:
        self._transport = transport
        self.combined = combined

    def write(self, frame: bytes) -> None:
        """Hand over a frame; a client that does not read is cut off, as the exchange does."""
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MOST_WAITING:
            self._transport.abort()
            return
        self._transport.write(frame)

    def say(self, message: Any) -> None:
        """Send JSON."""
        self.write(text_frame(orjson.dumps(message)))

    def cut(self) -> None:
        """End it without a word."""
        self._transport.abort()


def text_frame(payload: bytes) -> bytes:
    """A text frame of a server (RFC 6455, section 5.2): not masked, in one piece."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload
