"""The exchanges that are read raw: their addresses, streams, limits and the rule that joins a snapshot to the diff stream."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from mmlib._io import UserError


@dataclass(frozen=True)
class Venue:
    """One exchange as its public documentation states it.

    Attributes:
        name: as in ``live:NAME``.
        rest, ws: base addresses.
        depth_path, info_path, time_path: of the REST interface.
        streams: suffixes of the streams of a symbol.
        futures: whether diffs chain by ``pu`` (USD-M) or by ``U`` alone (spot).
        depth_limit: levels a side of a snapshot.
        depth_weight: what such a request weighs.
        weight_per_min: how much may be asked for in a minute.
    """

    name: str
    rest: str
    ws: str
    depth_path: str
    info_path: str
    time_path: str
    streams: tuple[str, ...]
    futures: bool
    depth_limit: int
    depth_weight: int
    weight_per_min: int

    def stream_url(self, symbols: tuple[str, ...]) -> str:
        """Address of one combined stream of all symbols."""
        names = [f"{symbol.lower()}@{stream}" for symbol in symbols for stream in self.streams]
        return f"{self.ws}/stream?streams={'/'.join(names)}"

    def follows(self, first: int, last: int, snapshot: int) -> bool:
        """Whether a diff of updates ``first`` to ``last`` is the one that a snapshot up to ``snapshot`` is joined by.

        Source: "How to manage a local order book correctly" of the exchange: spot U <= lastUpdateId + 1 <= u, futures
        U <= lastUpdateId <= u.
        """
        return first <= snapshot <= last if self.futures else first <= snapshot + 1 <= last

    def is_older(self, last: int, snapshot: int) -> bool:
        """Whether a diff up to ``last`` is wholly inside the snapshot."""
        return last < snapshot if self.futures else last <= snapshot


VENUES = {
    "binanceusdm": Venue(
        name="binanceusdm",
        rest="https://fapi.binance.com",
        ws="wss://fstream.binance.com",
        depth_path="/fapi/v1/depth",
        info_path="/fapi/v1/exchangeInfo",
        time_path="/fapi/v1/time",
        streams=("depth@0ms", "trade"),
        futures=True,
        depth_limit=1000,
        depth_weight=20,
        weight_per_min=2400,
    ),
    "binance": Venue(
        name="binance",
        rest="https://api.binance.com",
        ws="wss://stream.binance.com:9443",
        depth_path="/api/v3/depth",
        info_path="/api/v3/exchangeInfo",
        time_path="/api/v3/time",
        streams=("depth@100ms", "trade"),
        futures=False,
        depth_limit=1000,
        depth_weight=50,
        weight_per_min=6000,
    ),
}


def venue_of(name: str, url: str = "") -> Venue:
    """An exchange by name; ``url`` replaces its addresses: one base for both protocols, or ``REST,WS``.

    Raises:
        UserError: unknown exchange, an address of another protocol, or one that carries a name, a password or a query.
    """
    venue = VENUES.get(name)
    if venue is None:
        close = difflib.get_close_matches(name, VENUES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"source 'live:{name}': unknown exchange; expected one of {', '.join(VENUES)}{hint}")
    if not url:
        return venue
    rest, _, ws = url.partition(",")
    return replace(venue, rest=_address(rest, ("https", "http")), ws=_address(ws or rest, ("wss", "ws")))


def _address(url: str, schemes: tuple[str, str]) -> str:
    """The address under the secure or the plain one of two protocols, whichever the other protocol's was."""
    text = url.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UserError(f"--live-url {url!r}: no address; expected such as http://127.0.0.1:8080") from None
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise UserError(f"--live-url {url!r}: no address; expected such as http://127.0.0.1:8080")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            f"--live-url for {parts.hostname}: carries a name, a key or a query; expected the bare address: data are public"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    scheme = schemes[0] if parts.scheme in ("https", "wss") else schemes[1]
    return f"{scheme}://{host}{f':{port}' if port else ''}{parts.path}"
