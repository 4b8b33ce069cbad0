"""Which exchanges ccxt streams, and under which addresses. Never a key.

ccxt takes most of a second to import, hence only where one of its exchanges is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import ccxt.pro
from ccxt.base.decimal_to_precision import SIGNIFICANT_DIGITS

from mmlib._io import UserError
from mmlib.market.live.venues import VENUES, Venue, addresses, did_you_mean

VERSION: str = ccxt.pro.__version__
STREAMS = ("watch_order_book", "watch_trades")
_TIMEOUT_S = 5.0


def ccxt_venue(name: str, url: str = "") -> Venue:
    """An exchange that ccxt streams. ``url`` as for `lookup.venue_of`.

    Raises:
        UserError: unknown, without streams of books and trades, or without a tick size; or an address as `venues.addresses`.
    """
    what = f"source 'live:{name}'"
    if name not in ccxt.exchanges:
        every = [*VENUES, *ccxt.exchanges]
        raise UserError(
            f"{what}: unknown exchange; expected one of {', '.join(VENUES)}, or one that ccxt streams, "
            f"such as {', '.join(streamed()[:8])}{did_you_mean(name, every)}"
        )
    exchange = new_exchange(name) if name in ccxt.pro.exchanges else None
    if exchange is None or not _streams(exchange):
        raise UserError(
            f"{what}: ccxt {VERSION} streams no order books and trades of it, or with ticks that depend on the price; "
            f"expected one of {', '.join(streamed())}"
        )
    rest, ws = addresses(url)
    own = own_addresses(exchange)
    return Venue(name=name, rest=rest or own[0], ws=ws or own[1], streams=STREAMS, futures=True)


def streamed() -> list[str]:
    """Names of the exchanges that can be had through ccxt, without those that are read raw."""
    return [name for name in ccxt.pro.exchanges if name not in VENUES and _streams(new_exchange(name))]


def _streams(exchange: Any) -> bool:
    """Whether ccxt streams its books and trades, and knows tick sizes."""
    has = exchange.has
    fixed_ticks = exchange.precisionMode != SIGNIFICANT_DIGITS
    return bool(has.get("watchOrderBook") and has.get("watchTrades") and fixed_ticks)


def new_exchange(name: str) -> Any:
    """A client of ccxt that knows no key and, like ours, heeds the environment's proxies."""
    return getattr(ccxt.pro, name)(
        {"enableRateLimit": True, "aiohttp_trust_env": True, "timeout": int(_TIMEOUT_S * 1000)}
    )


def own_addresses(exchange: Any) -> tuple[str, str]:
    """The first REST and WebSocket address that ccxt knows of an exchange, where it knows one."""
    known = [exchange.implode_hostname(one) for one in _addresses(exchange.urls["api"])]
    rest, ws = (next((one for one in known if one.startswith(kind)), "") for kind in ("http", "ws"))
    return rest, ws


def _addresses(urls: Any) -> Iterable[str]:
    for value in urls.values():
        if isinstance(value, dict):
            yield from _addresses(value)
        elif isinstance(value, str):
            yield value


def readdressed(urls: Any, rest: str, ws: str) -> Any:
    """The addresses of an exchange on another host, with their own paths behind its path."""
    if isinstance(urls, dict):
        return {key: readdressed(value, rest, ws) for key, value in urls.items()}
    if not isinstance(urls, str) or "://" not in urls:
        return urls
    own = urlsplit(urls)
    to = urlsplit(ws if own.scheme in ("ws", "wss") else rest)
    return urlunsplit((to.scheme, to.netloc, to.path + own.path, own.query, ""))
