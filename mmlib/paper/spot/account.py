"""Spot endpoints about the account: balances, fees, limits, listen keys."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mmlib.paper import listenkeys
from mmlib.paper.calls import Call, Security, Table
from mmlib.paper.spot.market import limits
from mmlib.paper.steps import plain

TABLE = Table()
_SIGNED, _KEY = Security.SIGNED, Security.KEY


@TABLE.add("GET", "/api/v3/account", security=_SIGNED, weight=20, ws="account.status")
async def account(call: Call) -> Any:
    """Balances and fees."""
    ledger, fees = call.party.ledger, call.party.account.fees
    names = {name for rules in call.exchange.rules.values() for name in (rules.base, rules.quote)}
    names |= set(ledger.free)
    small = call.params.flag("omitZeroBalances")
    balances = [
        {"asset": name, "free": plain(free), "locked": plain(locked)}
        for name in sorted(names)
        for free, locked in [(ledger.free.get(name, Decimal(0)), ledger.locked.get(name, Decimal(0)))]
        if not small or free or locked
    ]
    none = "0.00000000"
    return {
        "makerCommission": int(fees.maker_bps),
        "takerCommission": int(fees.taker_bps),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": plain(fees.maker_bps / 10_000),
            "taker": plain(fees.taker_bps / 10_000),
            "buyer": none,
            "seller": none,
        },
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": call.exchange.clock.server_ms(),
        "accountType": "SPOT",
        "balances": balances,
        "permissions": ["SPOT"],
        "uid": 1,
    }


@TABLE.add("GET", "/api/v3/account/commission", security=_SIGNED, weight=20, ws="account.commission")
async def commission(call: Call) -> Any:
    """Fees of a symbol."""
    fees = call.party.account.fees
    none = "0.00000000"
    rates = {
        "maker": plain(fees.maker_bps / 10_000),
        "taker": plain(fees.taker_bps / 10_000),
        "buyer": none,
        "seller": none,
    }
    zero = dict.fromkeys(rates, none)
    return {
        "symbol": call.params.symbol(call.exchange.rules),
        "standardCommission": rates,
        "specialCommission": zero,
        "taxCommission": zero,
        "discount": {
            "enabledForAccount": False,
            "enabledForSymbol": False,
            "discountAsset": "BNB",
            "discount": none,
        },
    }


@TABLE.add("GET", "/sapi/v1/asset/tradeFee", security=_SIGNED)
async def trade_fee(call: Call) -> Any:
    """Fees of every symbol."""
    fees = call.party.account.fees
    names = call.params.symbols(call.exchange.rules) or list(call.exchange.rules)
    maker, taker = f"{fees.maker_bps / 10_000:.6f}", f"{fees.taker_bps / 10_000:.6f}"
    return [{"symbol": name, "makerCommission": maker, "takerCommission": taker} for name in names]


@TABLE.add("GET", "/api/v3/rateLimit/order", security=_SIGNED, weight=40, ws="account.rateLimits.orders")
async def order_limits(call: Call) -> Any:
    """The limits on orders."""
    return [one.rule() | {"count": 0} for one in limits().orders]


@TABLE.add("POST", "/api/v3/userDataStream", security=_KEY, weight=2, ws="userDataStream.start")
async def listen_key(call: Call) -> Any:
    """Begin a user stream, or keep the one that is there."""
    return listenkeys.begin(call.party)


@TABLE.add("PUT", "/api/v3/userDataStream", security=_KEY, weight=2, ws="userDataStream.ping")
async def keep_listen_key(call: Call) -> Any:
    """Keep the user stream for another hour."""
    listenkeys.keep(call.party)
    return {}


@TABLE.add("DELETE", "/api/v3/userDataStream", security=_KEY, weight=2, ws="userDataStream.stop")
async def close_listen_key(call: Call) -> Any:
    """End the user stream."""
    listenkeys.expire(call.party, call.exchange.clock.server_ms())
    return {}
