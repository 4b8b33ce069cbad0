"""The exchanges: those read raw, with addresses, limits and the rule that joins a snapshot to the diff stream; others."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from mmlib._io import UserError


@dataclass(frozen=True)
class Venue:
    """One exchange, and how its depth updates follow each other.

    Attributes:
        name: as in ``live:NAME``.
        rest, ws: base addresses.
        streams: what is read of each symbol: suffixes of raw streams, or methods of ccxt.
        futures: whether diffs chain by ``pu`` (USD-M, and all that ccxt streams) or by ``U`` alone (spot).
    """

    name: str
    rest: str
    ws: str
    streams: tuple[str, ...]
    futures: bool

    @property
    def caveat(self) -> str:
        """What weakens the evidence of this source beside others of its grade; empty for nothing."""
        return "order books coalesced by ccxt: queue positions and fills are coarser than from raw streams"

    def follows(self, first: int, last: int, snapshot: int) -> bool:
        """Whether a diff of updates ``first`` to ``last`` is the one that a snapshot up to ``snapshot`` is joined by.

        Source: "How to manage a local order book correctly" of the exchange: spot U <= lastUpdateId + 1 <= u, futures
        U <= lastUpdateId <= u.
        """
        return first <= snapshot <= last if self.futures else first <= snapshot + 1 <= last

    def is_older(self, last: int, snapshot: int) -> bool:
        """Whether a diff up to ``last`` is wholly inside the snapshot."""
        return last < snapshot if self.futures else last <= snapshot


@dataclass(frozen=True)
class RawVenue(Venue):
    """An exchange that is read raw, as its public documentation states it.

    Attributes:
        depth_path, info_path, time_path: of the REST interface.
        depth_limit: levels a side of a snapshot.
        depth_weight: what such a request weighs.
        weight_per_min: how much may be asked for in a minute.
    """

    depth_path: str
    info_path: str
    time_path: str
    depth_limit: int
    depth_weight: int
    weight_per_min: int

    @property
    def caveat(self) -> str:
        """See `Venue.caveat`."""
        return ""

    def stream_url(self, symbols: tuple[str, ...]) -> str:
        """Address of one combined stream of all symbols."""
        names = [f"{symbol.lower()}@{stream}" for symbol in symbols for stream in self.streams]
        return f"{self.ws}/stream?streams={'/'.join(names)}"


VENUES = {
    "binanceusdm": RawVenue(
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
    "binance": RawVenue(
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


def raw_venue_of(name: str, url: str = "") -> RawVenue:
    """An exchange that is read raw; ``url`` as for `lookup.venue_of`.

    Raises:
        UserError: not one of them, or as `lookup.venue_of`.
    """
    venue = VENUES.get(name)
    if venue is None:
        raise UserError(
            f"exchange {name!r}: unknown; expected one of {', '.join(VENUES)}{did_you_mean(name, VENUES)}"
        )
    rest, ws = addresses(url)
    return replace(venue, rest=rest or venue.rest, ws=ws or venue.ws)


def recorded_venue(name: str) -> Venue:
    """The exchange of a recorded session: nothing is asked of it any more, only how its updates follow each other."""
    return VENUES.get(name) or Venue(name, "", "", (), futures=True)


def did_you_mean(name: str, among: Iterable[str], n: int = 1) -> str:
    """The end of a message about an unknown name: names like it, or nothing."""
    close = difflib.get_close_matches(name, among, n=n)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def addresses(url: str) -> tuple[str, str]:
    """REST and WebSocket base of ``--live-url``; both empty when it is.

    Raises:
        UserError: see `lookup.venue_of`.
    """
    if not url:
        return "", ""
    rest, _, ws = url.partition(",")
    return _address(rest, ("https", "http")), _address(ws or rest, ("wss", "ws"))


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
