"""USD-M endpoints about the account: money, positions, settings, listen keys."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mmlib.paper import listenkeys
from mmlib.paper.calls import Call, Security, Table
from mmlib.paper.errors import NOT_SUPPORTED, ApiError
from mmlib.paper.steps import plain
from mmlib.paper.usdm import texts
from mmlib.paper.usdm.market import mark_price

TABLE = Table()
_SIGNED, _KEY = Security.SIGNED, Security.KEY
_ZERO = Decimal(0)


@TABLE.add(
    "GET",
    "/fapi/v2/balance",
    "/fapi/v3/balance",
    security=_SIGNED,
    weight=5,
    ws="account.balance v2/account.balance",
)
async def balance(call: Call) -> Any:
    """Wallet balances."""
    return [
        {
            "accountAlias": call.party.name,
            "asset": one["asset"],
            "balance": one["walletBalance"],
            "crossWalletBalance": one["crossWalletBalance"],
            "crossUnPnl": one["crossUnPnl"],
            "availableBalance": one["availableBalance"],
            "maxWithdrawAmount": one["maxWithdrawAmount"],
            "marginAvailable": True,
            "updateTime": one["updateTime"],
        }
        for one in _assets(call)
    ]


@TABLE.add(
    "GET",
    "/fapi/v2/account",
    "/fapi/v3/account",
    security=_SIGNED,
    weight=5,
    ws="account.status v2/account.status",
)
async def account(call: Call) -> Any:
    """Balances, positions and margin."""
    assets = _assets(call)
    positions = [_position(call, symbol) for symbol in call.exchange.rules]
    totals = {
        "totalInitialMargin": "initialMargin",
        "totalMaintMargin": "maintMargin",
        "totalWalletBalance": "walletBalance",
        "totalUnrealizedProfit": "unrealizedProfit",
        "totalMarginBalance": "marginBalance",
        "totalPositionInitialMargin": "positionInitialMargin",
        "totalOpenOrderInitialMargin": "openOrderInitialMargin",
        "totalCrossWalletBalance": "crossWalletBalance",
        "totalCrossUnPnl": "crossUnPnl",
        "availableBalance": "availableBalance",
        "maxWithdrawAmount": "maxWithdrawAmount",
    }
    return {
        "feeTier": 0,
        "feeBurn": False,
        "canTrade": True,
        "canDeposit": False,
        "canWithdraw": False,
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
        **{name: plain(sum((Decimal(one[of]) for one in assets), _ZERO)) for name, of in totals.items()},
        "assets": assets,
        "positions": positions,
    }


@TABLE.add(
    "GET",
    "/fapi/v2/positionRisk",
    "/fapi/v3/positionRisk",
    security=_SIGNED,
    weight=5,
    ws="account.position v2/account.position",
)
async def position_risk(call: Call) -> Any:
    """Positions; v3 has those that are open or have orders."""
    if "symbol" in call.params:
        return [_risk(call, call.params.symbol(call.exchange.rules))]
    return [_risk(call, symbol) for symbol in call.exchange.rules]


@TABLE.add("GET", "/fapi/v1/commissionRate", security=_SIGNED, weight=20)
async def commission_rate(call: Call) -> Any:
    """Fees of a symbol."""
    fees = call.party.account.fees
    return {
        "symbol": call.params.symbol(call.exchange.rules),
        "makerCommissionRate": f"{fees.maker_bps / 10_000:.6f}",
        "takerCommissionRate": f"{fees.taker_bps / 10_000:.6f}",
    }


@TABLE.add("POST", "/fapi/v1/leverage", security=_SIGNED)
async def leverage(call: Call) -> Any:
    """Set the leverage of a symbol."""
    symbol, wanted = call.params.symbol(call.exchange.rules), call.params.integer("leverage")
    if not 1 <= wanted <= 125:
        raise ApiError(-4028, f"Leverage {wanted} is not valid")
    call.party.ledger.leverage[symbol] = wanted
    return {"leverage": wanted, "maxNotionalValue": "1000000000", "symbol": symbol}


@TABLE.add("POST", "/fapi/v1/marginType", security=_SIGNED)
async def margin_type(call: Call) -> Any:
    """Cross margin is all there is."""
    call.params.symbol(call.exchange.rules)
    if call.params.text("marginType") in ("CROSSED", "CROSS"):
        raise ApiError(-4046, "No need to change margin type.")
    raise NOT_SUPPORTED


@TABLE.add("GET", "/fapi/v1/positionSide/dual", security=_SIGNED, weight=30)
async def position_mode(call: Call) -> Any:
    """One-way mode is all there is."""
    return {"dualSidePosition": False}


@TABLE.add("POST", "/fapi/v1/positionSide/dual", security=_SIGNED)
async def set_position_mode(call: Call) -> Any:
    """One-way mode is all there is."""
    if call.params.flag("dualSidePosition"):
        raise NOT_SUPPORTED
    raise ApiError(-4059, "No need to change position side.")


@TABLE.add("GET", "/fapi/v1/multiAssetsMargin", security=_SIGNED, weight=30)
async def multi_assets(call: Call) -> Any:
    """Single-asset mode is all there is."""
    return {"multiAssetsMargin": False}


@TABLE.add("POST", "/fapi/v1/multiAssetsMargin", security=_SIGNED)
async def set_multi_assets(call: Call) -> Any:
    """Single-asset mode is all there is."""
    if call.params.flag("multiAssetsMargin"):
        raise NOT_SUPPORTED
    raise ApiError(-4171, "No need to change multi-assets mode.")


@TABLE.add("GET", "/fapi/v1/income", security=_SIGNED, weight=30)
async def income(call: Call) -> Any:
    """What moved the wallet."""
    params = call.params
    start, end = params.span()
    found = [
        one
        for one in call.party.ledger.income
        if ("symbol" not in params or one["symbol"] == params.text("symbol"))
        and ("incomeType" not in params or one["incomeType"] == params.text("incomeType"))
        and start <= one["time"] <= end
    ]
    return found[-params.limit(100, 1000) :]


@TABLE.add("GET", "/fapi/v1/leverageBracket", security=_SIGNED)
async def leverage_bracket(call: Call) -> Any:
    """One bracket a symbol: there is no liquidation."""
    bracket = {"bracket": 1, "initialLeverage": 125, "notionalCap": 1_000_000_000, "notionalFloor": 0,
               "maintMarginRatio": 0.0, "cum": 0.0}  # fmt: skip
    names = call.params.symbols(call.exchange.rules) or list(call.exchange.rules)
    return [{"symbol": name, "brackets": [bracket]} for name in names]


@TABLE.add("GET", "/fapi/v1/accountConfig", security=_SIGNED, weight=5)
async def account_config(call: Call) -> Any:
    """Settings of the account."""
    return {"feeTier": 0, "canTrade": True, "canDeposit": False, "canWithdraw": False, "dualSidePosition": False,
            "updateTime": 0, "multiAssetsMargin": False, "tradeGroupId": -1}  # fmt: skip


@TABLE.add("GET", "/fapi/v1/symbolConfig", security=_SIGNED, weight=5)
async def symbol_config(call: Call) -> Any:
    """Settings of each symbol."""
    names = call.params.symbols(call.exchange.rules) or list(call.exchange.rules)
    return [
        {"symbol": name, "marginType": "CROSSED", "isAutoAddMargin": False,
         "leverage": call.party.ledger.leverage_of(name), "maxNotionalValue": "1000000000"}
        for name in names
    ]  # fmt: skip


@TABLE.add("POST", "/fapi/v1/listenKey", security=_KEY, ws="userDataStream.start")
async def listen_key(call: Call) -> Any:
    """Begin a user stream, or keep the one that is there."""
    return listenkeys.begin(call.party)


@TABLE.add("PUT", "/fapi/v1/listenKey", security=_KEY, ws="userDataStream.ping")
async def keep_listen_key(call: Call) -> Any:
    """Keep the user stream for another hour."""
    return listenkeys.keep(call.party)


@TABLE.add("DELETE", "/fapi/v1/listenKey", security=_KEY, ws="userDataStream.stop")
async def close_listen_key(call: Call) -> Any:
    """End the user stream."""
    listenkeys.expire(call.party, call.exchange.clock.server_ms())
    return {}


def _assets(call: Call) -> list[dict[str, Any]]:
    party, ledger = call.party, call.party.ledger
    quotes = {rules.quote for rules in call.exchange.rules.values()}
    found = []
    for asset in sorted(quotes | set(ledger.wallet)):
        wallet = ledger.wallet.get(asset, _ZERO)
        mine = [symbol for symbol, rules in call.exchange.rules.items() if rules.quote == asset]
        marks = {symbol: mark_price(call.exchange.tapes[symbol]) for symbol in mine}
        profit = sum((ledger.unrealized(symbol, marks[symbol]) for symbol in mine), _ZERO)
        of_positions = sum((ledger.position_margin(symbol, marks[symbol]) for symbol in mine), _ZERO)
        of_orders = sum(
            (ledger.order_margin(symbol, party.store.open(symbol), marks[symbol]) for symbol in mine), _ZERO
        )
        free = max(wallet + profit - of_positions - of_orders, _ZERO)
        found.append(
            {
                "asset": asset,
                "walletBalance": plain(wallet),
                "unrealizedProfit": plain(profit),
                "marginBalance": plain(wallet + profit),
                "maintMargin": plain(_ZERO),
                "initialMargin": plain(of_positions + of_orders),
                "positionInitialMargin": plain(of_positions),
                "openOrderInitialMargin": plain(of_orders),
                "crossWalletBalance": plain(wallet),
                "crossUnPnl": plain(profit),
                "availableBalance": plain(free),
                "maxWithdrawAmount": plain(free),
                "marginAvailable": True,
                "updateTime": max((ledger.position(symbol).updated_ms for symbol in mine), default=0),
            }
        )
    return found


def _position(call: Call, symbol: str) -> dict[str, Any]:
    ledger, rules = call.party.ledger, call.exchange.rules[symbol]
    mark, held = mark_price(call.exchange.tapes[symbol]), ledger.position(symbol)
    of_orders = ledger.order_margin(symbol, call.party.store.open(symbol), mark)
    margin = ledger.position_margin(symbol, mark)
    return {
        "symbol": symbol,
        "positionSide": "BOTH",
        "positionAmt": rules.qty.text(held.lots),
        "unrealizedProfit": plain(ledger.unrealized(symbol, mark)),
        "isolatedMargin": "0",
        "isolated": False,
        "isolatedWallet": "0",
        "notional": plain(rules.qty.value(held.lots) * mark),
        "initialMargin": plain(margin + of_orders),
        "maintMargin": "0",
        "positionInitialMargin": plain(margin),
        "openOrderInitialMargin": plain(of_orders),
        "leverage": str(ledger.leverage_of(symbol)),
        "entryPrice": texts.average(held.entry, rules),
        "breakEvenPrice": texts.average(held.entry, rules),
        "maxNotional": "1000000000",
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": held.updated_ms,
    }


def _risk(call: Call, symbol: str) -> dict[str, Any]:
    rules = call.exchange.rules[symbol]
    one = _position(call, symbol)
    same = ("symbol", "positionSide", "positionAmt", "entryPrice", "breakEvenPrice", "notional", "isolatedMargin",
            "isolatedWallet", "initialMargin", "maintMargin", "positionInitialMargin", "openOrderInitialMargin",
            "leverage", "bidNotional", "askNotional", "updateTime")  # fmt: skip
    return {
        **{name: one[name] for name in same},
        "markPrice": plain(mark_price(call.exchange.tapes[symbol])),
        "unRealizedProfit": one["unrealizedProfit"],
        "liquidationPrice": "0",
        "marginType": "cross",
        "isAutoAddMargin": "false",
        "maxNotionalValue": "1000000000",
        "marginAsset": rules.quote,
        "adl": 0,
    }
