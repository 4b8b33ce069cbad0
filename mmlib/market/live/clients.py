"""Which client and feed serve an exchange: ours for raw streams, ccxt's for every other; a session uses both alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mmlib.market.live.connection import Feed, Wiring
from mmlib.market.live.feed import LiveFeed
from mmlib.market.live.rest import Client, OnError, RestClient
from mmlib.market.live.venues import RawVenue, Venue


@asynccontextmanager
async def client_of(venue: Venue, on_error: OnError) -> AsyncIterator[Client]:
    """A client of an exchange, closed with the block; ``on_error`` is told of every failed request."""
    if isinstance(venue, RawVenue):
        async with RestClient(venue, on_error) as rest:
            yield rest
        return
    from mmlib.market.live.ccxt_client import CcxtClient

    async with CcxtClient(venue, on_error) as client:
        yield client


def feed_of(client: Client, wiring: Wiring) -> Feed:
    """The feed that belongs to a client."""
    if isinstance(client, RestClient):
        return LiveFeed(client, wiring)
    from mmlib.market.live.ccxt_client import CcxtClient
    from mmlib.market.live.ccxt_feed import CcxtFeed

    assert isinstance(client, CcxtClient)
    return CcxtFeed(client, wiring)
