"""What one connection wants to be sent: named in its address (combined streams), or subscribed to afterwards (bare streams)."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

import orjson

_DATA = b'"data":'


class Wanted:
    """The streams of a connection.

    Attributes:
        combined: whether its frames name their stream around the data, as ``/stream`` does and ``/ws`` does not.

    Args:
        target: path and query of its address.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.combined = parts.path == "/stream"
        named = parse_qs(parts.query).get("streams", [""])
        self._streams = _kinds(named[0].split("/"))

    def __contains__(self, stream: str) -> bool:
        """Whether a stream such as ``btcusdt@depth`` is among them; at what rate does not matter here."""
        return stream in self._streams

    def hear(self, message: str | bytes) -> bytes | None:
        """Take what the client says; the answer to a (un)subscription, nothing to anything else."""
        try:
            said = orjson.loads(message)
            streams, number = _kinds(said["params"]), said["id"]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return None
        if said.get("method") == "SUBSCRIBE":
            self._streams |= streams
        elif said.get("method") == "UNSUBSCRIBE":
            self._streams -= streams
        else:
            return None
        return orjson.dumps({"result": None, "id": number})


def is_stream(path: str) -> bool:
    """Whether a path is one of streams: ``/stream``, or one with ``ws`` in it, such as ``/public/ws/1``."""
    return path == "/stream" or "ws" in path.split("/")


def bare(frame: bytes) -> bytes:
    """A frame of a combined stream as the stream alone has it; what is none stays as it is."""
    start = frame.find(_DATA)
    return frame[start + len(_DATA) : -1] if start >= 0 and frame.endswith(b"}}") else frame


def _kinds(names: Iterable[str]) -> set[str]:
    """Streams without their rate: symbol and kind."""
    return {"@".join(name.split("@")[:2]) for name in names if name}
