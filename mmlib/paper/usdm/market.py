"""USD-M endpoints that show the market."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mmlib.paper.calls import Call, Table
from mmlib.paper.errors import ApiError
from mmlib.paper.limits import Limits, OrderLimit
from mmlib.paper.rules import Rules
from mmlib.paper.steps import plain
from mmlib.paper.tape import INTERVALS_S, Candle, MarketTrade, Tape

TABLE = Table()
FUNDING_MS = 8 * 3_600_000
FUNDING_RATE = Decimal("0.0001")
"""Modelled: the interest part of the exchange's formula, 0.01 % in eight hours; there is no index to compute a premium from."""
_DEPTHS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}


def limits() -> Limits:
    """The documented rate limits."""
    return Limits(
        2400,
        (
            OrderLimit("SECOND", 10, 10, 300, "10S", "10 SECOND"),
            OrderLimit("MINUTE", 1, 60, 1200, "1M", "1 MINUTE"),
        ),
    )


def mark_price(tape: Tape) -> Decimal:
    """Modelled: the middle of the book, as there is no index."""
    mid = tape.mid_ticks
    return tape.rules.price.size * Decimal(mid) if mid is not None else Decimal(0)


@TABLE.add("GET", "/fapi/v1/ping", ws="ping")
async def ping(call: Call) -> Any:
    """Nothing."""
    return {}


@TABLE.add("GET", "/fapi/v1/time", ws="time")
async def server_time(call: Call) -> Any:
    """The exchange's clock."""
    return {"serverTime": call.exchange.clock.server_ms()}


@TABLE.add("GET", "/fapi/v1/exchangeInfo")
async def exchange_info(call: Call) -> Any:
    """Limits and the trading rules of every symbol."""
    assets = sorted({rules.quote for rules in call.exchange.rules.values()})
    known = limits()
    return {
        "timezone": "UTC",
        "serverTime": call.exchange.clock.server_ms(),
        "futuresType": "U_MARGINED",
        "rateLimits": [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": known.weight_per_min,
            },
            *(one.rule() for one in known.orders),
        ],
        "exchangeFilters": [],
        "assets": [{"asset": one, "marginAvailable": True, "autoAssetExchange": "0"} for one in assets],
        "symbols": [symbol_info(rules) for rules in call.exchange.rules.values()],
    }


def symbol_info(rules: Rules) -> dict[str, Any]:
    """A symbol's entry of exchangeInfo."""
    lots = {
        "minQty": rules.qty.text(1),
        "maxQty": rules.qty.text(rules.max_lots),
        "stepSize": rules.qty.text(1),
    }
    return {
        "symbol": rules.symbol,
        "pair": rules.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": rules.base,
        "quoteAsset": rules.quote,
        "marginAsset": rules.quote,
        "pricePrecision": rules.price.digits,
        "quantityPrecision": rules.qty.digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": rules.price.text(1),
                "maxPrice": rules.price.text(rules.max_ticks),
                "tickSize": rules.price.text(1),
            },
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": str(rules.min_notional)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": f"{rules.band:.4f}",
                "multiplierDown": f"{1 / rules.band:.4f}",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        "permissionSets": ["GRID", "COPY"],
    }


@TABLE.add("GET", "/fapi/v1/depth", weight=2, ws="depth")
async def depth(call: Call) -> Any:
    """A snapshot of the book."""
    tape, limit = call.tape(), call.params.integer("limit", 500)
    if limit not in _DEPTHS:
        raise ApiError(-4021, "Illegal parameter: limit is not valid depth limit.")
    call.extra_weight = _DEPTHS[limit] - 2
    now = call.exchange.clock.server_ms()
    return {"lastUpdateId": tape.last_id, "E": now, "T": now, **levels(tape, limit)}


def levels(tape: Tape, limit: int, names: tuple[str, str] = ("bids", "asks")) -> dict[str, Any]:
    """The best levels as clients read them."""
    rules = tape.rules
    return {
        name: [[rules.price.text(ticks), rules.qty.text(lots)] for ticks, lots in side]
        for name, side in zip(names, tape.levels(limit), strict=True)
    }


@TABLE.add("GET", "/fapi/v1/trades", "/fapi/v1/historicalTrades", weight=5)
async def trades(call: Call) -> Any:
    """The latest trades."""
    tape = call.tape()
    return [market_trade(one, tape.rules) for one in list(tape.trades)[-call.params.limit(500, 1000) :]]


def market_trade(trade: MarketTrade, rules: Rules) -> dict[str, Any]:
    """A trade of the market."""
    return {
        "id": trade.trade_id,
        "price": rules.price.text(trade.ticks),
        "qty": rules.qty.text(trade.lots),
        "quoteQty": plain(rules.notional(trade.ticks, trade.lots), 2),
        "time": trade.time_ms,
        "isBuyerMaker": trade.sold,
    }


@TABLE.add("GET", "/fapi/v1/aggTrades", weight=20)
async def agg_trades(call: Call) -> Any:
    """The latest trades, those of one moment, price and side together."""
    tape = call.tape()
    start, end = call.params.span()
    return [
        {
            "a": one.trade_id,
            "p": tape.rules.price.text(one.ticks),
            "q": tape.rules.qty.text(one.lots),
            "f": first,
            "l": last,
            "T": one.time_ms,
            "m": one.sold,
        }
        for one, first, last in tape.aggregates(call.params.limit(500, 1000))
        if start <= one.time_ms <= end
    ]


@TABLE.add("GET", "/fapi/v1/klines", "/fapi/v1/markPriceKlines", weight=5)
async def klines(call: Call) -> Any:
    """Candles."""
    tape = call.tape()
    name = call.params.choice("interval", INTERVALS_S, -1120, "Invalid interval.")
    start, end = call.params.span()
    found = [one for one in tape.candles[name] if start <= one.open_ms <= end]
    return [candle(one, tape.rules, INTERVALS_S[name]) for one in found[-call.params.limit(500, 1500) :]]


def candle(one: Candle, rules: Rules, seconds: int) -> list[Any]:
    """A candle as REST has it."""
    worth = rules.price.size * rules.qty.size
    return [
        one.open_ms,
        *(rules.price.text(value) for value in (one.open, one.high, one.low, one.close)),
        rules.qty.text(one.lots),
        one.open_ms + 1000 * seconds - 1,
        plain(worth * one.turnover, 5),
        one.count,
        rules.qty.text(one.bought_lots),
        plain(worth * one.bought_turnover, 5),
        "0",
    ]


@TABLE.add("GET", "/fapi/v1/premiumIndex")
async def premium_index(call: Call) -> Any:
    """Mark price and funding."""
    clock = call.exchange.clock
    now_ns = clock.now_ns()
    next_ms = clock.wall_ms((now_ns // (FUNDING_MS * 1_000_000) + 1) * FUNDING_MS * 1_000_000)
    return _one_or_all(call, lambda tape: premium(tape, clock.server_ms(), next_ms))


def premium(tape: Tape, now_ms: int, next_ms: int) -> dict[str, Any]:
    """Mark price and funding of a symbol."""
    mark = plain(mark_price(tape))
    return {
        "symbol": tape.rules.symbol,
        "markPrice": mark,
        "indexPrice": mark,
        "estimatedSettlePrice": mark,
        "lastFundingRate": plain(FUNDING_RATE),
        "interestRate": plain(FUNDING_RATE),
        "nextFundingTime": next_ms,
        "time": now_ms,
    }


@TABLE.add("GET", "/fapi/v1/fundingRate")
async def funding_rate(call: Call) -> Any:
    """Past funding: what this exchange has charged since it began is in the income of accounts."""
    return []


@TABLE.add("GET", "/fapi/v1/fundingInfo", weight=0)
async def funding_info(call: Call) -> Any:
    """Symbols whose funding differs from the usual."""
    return []


@TABLE.add("GET", "/fapi/v1/ticker/24hr")
async def ticker_day(call: Call) -> Any:
    """Statistics of the day."""
    return _one_or_all(call, lambda tape: day(tape, call.exchange.clock.server_ms()))


def day(tape: Tape, now_ms: int) -> dict[str, Any]:
    """Statistics of a symbol's last 24 hours; zeros before its first trade, as the exchange has it."""
    rules = tape.rules
    found = tape.day(now_ms) or Candle(now_ms, 0, 0, 0, 0)
    worth = rules.price.size * rules.qty.size * found.turnover
    traded = rules.qty.value(found.lots)
    last = tape.trades[-1] if tape.trades else None
    return {
        "symbol": rules.symbol,
        "priceChange": rules.price.text(found.close - found.open),
        "priceChangePercent": f"{100 * (found.close - found.open) / found.open if found.open else 0:.3f}",
        "weightedAvgPrice": f"{worth / traded if traded else 0:.{rules.price.digits}f}",
        "lastPrice": rules.price.text(found.close),
        "lastQty": rules.qty.text(last.lots if last else 0),
        "openPrice": rules.price.text(found.open),
        "highPrice": rules.price.text(found.high),
        "lowPrice": rules.price.text(found.low),
        "volume": rules.qty.text(found.lots),
        "quoteVolume": plain(worth, 2),
        "openTime": found.open_ms,
        "closeTime": now_ms,
        "firstId": found.first_id,
        "lastId": found.last_id,
        "count": found.count,
    }


@TABLE.add("GET", "/fapi/v1/ticker/price", "/fapi/v2/ticker/price", ws="ticker.price")
async def ticker_price(call: Call) -> Any:
    """Last prices."""
    now = call.exchange.clock.server_ms()
    return _one_or_all(
        call,
        lambda tape: {
            "symbol": tape.rules.symbol,
            "price": tape.rules.price.text(tape.last_ticks or 0),
            "time": now,
        },
    )


@TABLE.add("GET", "/fapi/v1/ticker/bookTicker", weight=2, ws="ticker.book")
async def ticker_book(call: Call) -> Any:
    """Best prices."""
    now = call.exchange.clock.server_ms()
    return _one_or_all(call, lambda tape: {**touch(tape), "time": now, "lastUpdateId": tape.last_id})


def touch(tape: Tape) -> dict[str, Any]:
    """Best prices and quantities of a symbol."""
    rules = tape.rules
    bid, ask = tape.best_bid, tape.best_ask
    return {
        "symbol": rules.symbol,
        "bidPrice": rules.price.text(bid or 0),
        "bidQty": rules.qty.text(0 if bid is None else tape.bids.get(bid, 0)),
        "askPrice": rules.price.text(ask or 0),
        "askQty": rules.qty.text(0 if ask is None else tape.asks.get(ask, 0)),
    }


def _one_or_all(call: Call, make: Any) -> Any:
    if "symbol" in call.params:
        return make(call.tape())
    return [make(tape) for tape in call.exchange.tapes.values()]
