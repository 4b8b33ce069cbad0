"""A peer that stalls, drips or floods at the level of the socket, and a clock that is set back under a session."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.utils import accept_key

from mmlib.market.live import router
from mmlib.market.live.connection import Patience, Wiring
from mmlib.market.live.feed import LiveFeed
from mmlib.market.live.lookup import venue_of
from mmlib.market.live.rest import RestClient
from mmlib.market.source import Instrument

SILENT = "nothing received for 0.5 s"
FRAME_LIMIT = 16 << 20  # bytes, of a whole message
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(payload: bytes, *, opcode: int = 1, final: bool = True, packed: bool = False) -> bytes:
    """A frame of RFC 6455, section 5.2, from a server; ``packed`` sets RSV1 (RFC 7692)."""
    head = bytes([opcode | final << 7 | packed << 6])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + b"\x7f" + struct.pack(">Q", len(payload)) + payload


async def no_handshake(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


def after_handshake(*parts: bytes) -> Peer:
    """Open the stream as a server does, send the parts, then neither read, nor write, nor close."""

    async def peer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(parts))
        await writer.drain()
        await asyncio.Event().wait()

    return peer


def until_closed(*parts: bytes) -> Peer:
    """Send the parts, and close when the client says why it does not go on."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(parts))
        await reader.read(1)

    return peer


BOMB = zlib.compress(bytes(64 << 20), 9)[2:-4]
PEERS: dict[str, tuple[Peer, str]] = {
    "no answer to the handshake": (no_handshake, "timed out"),
    "half-open from the start": (after_handshake(), SILENT),
    "half-open in a frame": (after_handshake(b"\x81\x7e\x01\x00half"), SILENT),
    "half-open in a message": (after_handshake(frame(b"{", final=False)), SILENT),
    "a frame beyond the limit": (until_closed(frame(bytes(FRAME_LIMIT + 1))), "1009"),
    "a length of exabytes": (until_closed(b"\x81\x7f\x00" + b"\xff" * 7), "1009"),
    "fragments beyond the limit": (
        until_closed(frame(b" " * (9 << 20), final=False), frame(b" " * (9 << 20), opcode=0, final=False)),
        "1009",
    ),
    "a compression bomb": (until_closed(frame(BOMB, packed=True)), "1002"),
    "no frame of the protocol": (until_closed(b"\xff\xff\xff\xff"), "1002"),
}


@asynccontextmanager
async def served(peer: Peer) -> AsyncIterator[int]:
    """A server of one connection after the other; yields its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = (await reader.readuntil(b"\r\n\r\n")).decode()
            if peer is not no_handshake:
                assert "permessage-deflate" not in asked, "nothing compressed is asked for"
                key = next(
                    line.split()[1] for line in asked.splitlines() if line.startswith("Sec-WebSocket-Key")
                )
                head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                writer.write(f"{head}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode())
            await peer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("name", PEERS)
def test_a_connection_to_a_hostile_peer_ends_with_its_reason(name: str) -> None:
    peer, reason = PEERS[name]
    patience = Patience(
        silence_s=0.5 if reason == SILENT else 60.0, open_s=0.5 if peer is no_handshake else 60.0
    )

    async def main() -> tuple[str, int]:
        async with served(peer) as port:
            rest = RestClient(venue_of("binanceusdm", f"http://127.0.0.1:{port}"), lambda *_: None)
            try:
                wiring = Wiring(
                    {"BTCUSDT": Instrument("BTCUSDT", 0.1, 0.001)},
                    router.Clock(),
                    0,
                    lambda *_: None,
                    patience=patience,
                )
                feed = LiveFeed(rest, wiring)
                return await asyncio.wait_for(feed._connection(), 120), feed.counts["bytes"]
            finally:
                await rest.__aexit__()

    ended, received = asyncio.run(main())
    assert reason in ended
    assert received == 0, "what is refused is handed to nobody"


def test_the_bomb_is_one_where_compression_is_agreed_on() -> None:
    """The attack is real: RFC 7692's form of the frame above unfolds to 64 MiB."""
    assert len(BOMB) < 100_000
    assert len(zlib.decompressobj(wbits=-15).decompress(BOMB)) == 64 << 20


class Watch:
    """The machine's two clocks, set by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_736_899_200_000_000_000, 5_000_000_000

    def time_ns(self) -> int:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.steady

    def pass_by(self, ns: int) -> None:
        self.wall += ns
        self.steady += ns


def test_a_clock_that_is_set_back_neither_falls_nor_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    monkeypatch.setattr(router, "time", watch)
    clock = router.Clock()
    assert clock() == watch.wall
    assert clock() == watch.wall + 1, "no two are equal"
    watch.pass_by(10**9)
    before = clock()
    watch.wall -= 3_600 * 10**9
    watch.pass_by(10**8)
    assert clock() == before + 10**8, "set back, it goes on at the same pace"
    watch.wall += 7_200 * 10**9
    assert clock() == watch.wall, "set forward, it follows"
