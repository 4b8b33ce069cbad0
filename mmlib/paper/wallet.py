"""Endpoints of the wallet that clients ask at their start; nothing can be deposited or withdrawn here."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mmlib.paper.calls import Call, Security, Table
from mmlib.paper.steps import plain

TABLE = Table()


@TABLE.add("GET", "/sapi/v1/capital/config/getall", security=Security.SIGNED, weight=10)
async def coins(call: Call) -> Any:
    """What the exchange deals in."""
    names = sorted({name for rules in call.exchange.rules.values() for name in (rules.base, rules.quote)})
    ledger = call.party.ledger
    held = getattr(ledger, "wallet", None) or getattr(ledger, "free", {})
    locked = getattr(ledger, "locked", {})
    none = plain(Decimal(0))
    return [
        {
            "coin": name,
            "depositAllEnable": False,
            "withdrawAllEnable": False,
            "name": name,
            "free": plain(held.get(name, Decimal(0))),
            "locked": plain(locked.get(name, Decimal(0))),
            "freeze": none,
            "withdrawing": none,
            "ipoing": none,
            "ipoable": none,
            "storage": none,
            "isLegalMoney": False,
            "trading": True,
            "networkList": [],
        }
        for name in names
    ]


@TABLE.add("GET", "/sapi/v1/system/status")
async def system_status(call: Call) -> Any:
    """Whether the exchange works."""
    return {"status": 0, "msg": "normal"}


@TABLE.add("GET", "/sapi/v1/margin/allPairs", "/sapi/v1/margin/isolated/allPairs", security=Security.KEY)
async def margin_pairs(call: Call) -> Any:
    """Nothing is lent here."""
    return []


@TABLE.add("GET", "/sapi/v1/margin/allAssets")
async def margin_assets(call: Call) -> Any:
    """Nothing is lent here."""
    return []


ELSEWHERE = Table()
"""Rules of the exchange's other markets: clients that ask for all of them find that nothing is traded there."""


@ELSEWHERE.add(
    "GET", "/api/v3/exchangeInfo", "/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo", "/eapi/v1/exchangeInfo"
)
async def no_symbols(call: Call) -> Any:
    """A market without symbols."""
    return {
        "timezone": "UTC",
        "serverTime": call.exchange.clock.server_ms(),
        "rateLimits": [],
        "exchangeFilters": [],
        "assets": [],
        "symbols": [],
    }
