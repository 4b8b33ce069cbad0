"""A venue put together: money, endpoints, streams and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmlib._io import UserError
from mmlib.paper.calls import Table
from mmlib.paper.exchange import PaperExchange
from mmlib.paper.frames import Frames
from mmlib.paper.limits import Limits
from mmlib.paper.streams import Streams

VENUES = ("binanceusdm", "binance")


@dataclass
class Kit:
    """What the server needs of a venue.

    Attributes:
        ws_api: paths of the WebSocket API.
    """

    name: str
    money: Any
    table: Table
    limits: Limits
    ws_api: tuple[str, ...]

    def streams(self, exchange: PaperExchange) -> Streams:
        """The market streams of an exchange of this venue."""
        if self.name == "binance":
            return Streams(Frames(futures=False), exchange.tapes, usual_ms=1000)
        from mmlib.paper.usdm.funding import Funding
        from mmlib.paper.usdm.market import mark_price

        self.money.mark = lambda symbol: mark_price(exchange.tapes[symbol])
        return Streams(
            Frames(futures=True), exchange.tapes, usual_ms=250, funding=Funding(exchange, self.money).of
        )


def kit_of(name: str) -> Kit:
    """A venue by name.

    Raises:
        UserError: there is none of this name.
    """
    makers: Mapping[str, Any] = {"binanceusdm": _usdm, "binance": _spot}
    if name not in makers:
        raise UserError(f"--venue {name!r}: unknown; expected one of {', '.join(VENUES)}")
    kit: Kit = makers[name]()
    return kit


def _usdm() -> Kit:
    from mmlib.paper import wallet
    from mmlib.paper.usdm import account, market, trade
    from mmlib.paper.usdm.money import UsdmMoney

    table = Table().merged(wallet.ELSEWHERE, market.TABLE, trade.TABLE, account.TABLE, wallet.TABLE)
    return Kit("binanceusdm", UsdmMoney(), table, market.limits(), ("/ws-fapi/v1",))


def _spot() -> Kit:
    from mmlib.paper import wallet
    from mmlib.paper.spot import account, market, trade
    from mmlib.paper.spot.money import SpotMoney

    table = Table().merged(wallet.ELSEWHERE, market.TABLE, trade.TABLE, account.TABLE, wallet.TABLE)
    return Kit("binance", SpotMoney(), table, market.limits(), ("/ws-api/v3",))
