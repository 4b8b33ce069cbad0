"""Spot endpoints that show the market."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmlib.paper.calls import Call, Table
from mmlib.paper.limits import Limits, OrderLimit
from mmlib.paper.rules import Rules
from mmlib.paper.steps import plain
from mmlib.paper.tape import INTERVALS_S, Candle, MarketTrade, Tape

TABLE = Table()
_AVERAGE_MIN = 5


def limits() -> Limits:
    """The documented rate limits."""
    return Limits(
        6000,
        (
            OrderLimit("SECOND", 10, 10, 100, "10S", "10 SECOND"),
            OrderLimit("DAY", 1, 86_400, 200_000, "1D", "1 DAY"),
        ),
    )


@TABLE.add("GET", "/api/v3/ping", ws="ping")
async def ping(call: Call) -> Any:
    """Nothing."""
    return {}


@TABLE.add("GET", "/api/v3/time", ws="time")
async def server_time(call: Call) -> Any:
    """The exchange's clock."""
    return {"serverTime": call.exchange.clock.server_ms()}


@TABLE.add("GET", "/api/v3/exchangeInfo", weight=20, ws="exchangeInfo")
async def exchange_info(call: Call) -> Any:
    """Limits and the trading rules of every symbol."""
    known = limits()
    names = call.params.symbols(call.exchange.rules) or list(call.exchange.rules)
    weight = {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": known.weight_per_min,
    }
    return {
        "timezone": "UTC",
        "serverTime": call.exchange.clock.server_ms(),
        "rateLimits": [weight, *(one.rule() for one in known.orders)],
        "exchangeFilters": [],
        "symbols": [symbol_info(call.exchange.rules[name]) for name in names],
    }


def symbol_info(rules: Rules) -> dict[str, Any]:
    """A symbol's entry of exchangeInfo."""
    up, down = f"{rules.band:.4f}", f"{1 / rules.band:.4f}"
    lots = {
        "minQty": rules.qty.text(1, 8),
        "maxQty": rules.qty.text(rules.max_lots, 8),
        "stepSize": rules.qty.text(1, 8),
    }
    return {
        "symbol": rules.symbol,
        "status": "TRADING",
        "baseAsset": rules.base,
        "baseAssetPrecision": 8,
        "quoteAsset": rules.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": rules.price.text(1, 8),
                "maxPrice": rules.price.text(rules.max_ticks, 8),
                "tickSize": rules.price.text(1, 8),
            },
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots},
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": up,
                "bidMultiplierDown": "0.0000",
                "askMultiplierUp": "1000.0000",
                "askMultiplierDown": down,
                "avgPriceMins": _AVERAGE_MIN,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": plain(rules.min_notional),
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": _AVERAGE_MIN,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


@TABLE.add("GET", "/api/v3/depth", weight=5, ws="depth")
async def depth(call: Call) -> Any:
    """A snapshot of the book."""
    tape, limit = call.tape(), call.params.limit(100, 5000)
    call.extra_weight = 0 if limit <= 100 else 20 if limit <= 500 else 45 if limit <= 1000 else 245
    rules = tape.rules
    bids, asks = (
        [[rules.price.text(ticks, 8), rules.qty.text(lots, 8)] for ticks, lots in side]
        for side in tape.levels(limit)
    )
    return {"lastUpdateId": tape.last_id, "bids": bids, "asks": asks}


@TABLE.add(
    "GET", "/api/v3/trades", "/api/v3/historicalTrades", weight=25, ws="trades.recent trades.historical"
)
async def trades(call: Call) -> Any:
    """The latest trades."""
    tape = call.tape()
    return [_trade(one, tape.rules) for one in list(tape.trades)[-call.params.limit(500, 1000) :]]


@TABLE.add("GET", "/api/v3/aggTrades", weight=4, ws="trades.aggregate")
async def agg_trades(call: Call) -> Any:
    """The latest trades, those of one moment, price and side together."""
    tape, (start, end) = call.tape(), call.params.span()
    return [
        {
            "a": one.trade_id,
            "p": tape.rules.price.text(one.ticks, 8),
            "q": tape.rules.qty.text(one.lots, 8),
            "f": first,
            "l": last,
            "T": one.time_ms,
            "m": one.sold,
            "M": True,
        }
        for one, first, last in tape.aggregates(call.params.limit(500, 1000))
        if start <= one.time_ms <= end
    ]


@TABLE.add("GET", "/api/v3/klines", "/api/v3/uiKlines", weight=2, ws="klines uiKlines")
async def klines(call: Call) -> Any:
    """Candles."""
    tape, (start, end) = call.tape(), call.params.span()
    name = call.params.choice("interval", INTERVALS_S, -1120, "Invalid interval.")
    found = [one for one in tape.candles[name] if start <= one.open_ms <= end]
    return [_candle(one, tape.rules, INTERVALS_S[name]) for one in found[-call.params.limit(500, 1000) :]]


@TABLE.add("GET", "/api/v3/avgPrice", weight=2, ws="avgPrice")
async def average_price(call: Call) -> Any:
    """Mean price of the last minutes."""
    tape, now = call.tape(), call.exchange.clock.server_ms()
    past = [one for one in tape.candles["1m"] if one.open_ms > now - 60_000 * _AVERAGE_MIN]
    lots = sum(one.lots for one in past)
    worth = tape.rules.price.size * sum(one.turnover for one in past)
    price = worth / lots if lots else tape.rules.price.value(tape.last_ticks or 0)
    return {"mins": _AVERAGE_MIN, "price": plain(price), "closeTime": now}


@TABLE.add(
    "GET",
    "/api/v3/ticker/24hr",
    "/api/v3/ticker/tradingDay",
    "/api/v3/ticker",
    weight=2,
    ws="ticker.24hr ticker",
)
async def ticker_day(call: Call) -> Any:
    """Statistics of the day."""
    return _one_or_all(call, lambda tape: _day(tape, call.exchange.clock.server_ms()))


@TABLE.add("GET", "/api/v3/ticker/price", weight=2, ws="ticker.price")
async def ticker_price(call: Call) -> Any:
    """Last prices."""
    return _one_or_all(
        call,
        lambda tape: {"symbol": tape.rules.symbol, "price": tape.rules.price.text(tape.last_ticks or 0, 8)},
    )


@TABLE.add("GET", "/api/v3/ticker/bookTicker", weight=2, ws="ticker.book")
async def ticker_book(call: Call) -> Any:
    """Best prices."""
    return _one_or_all(call, _touch)


def _one_or_all(call: Call, make: Callable[[Tape], Any]) -> Any:
    names = call.params.symbols(call.exchange.rules)
    if "symbol" in call.params:
        return make(call.tape())
    return [make(call.exchange.tapes[name]) for name in names or call.exchange.tapes]


def _touch(tape: Tape) -> dict[str, Any]:
    rules, bid, ask = tape.rules, tape.best_bid, tape.best_ask
    return {
        "symbol": rules.symbol,
        "bidPrice": rules.price.text(bid or 0, 8),
        "bidQty": rules.qty.text(0 if bid is None else tape.bids.get(bid, 0), 8),
        "askPrice": rules.price.text(ask or 0, 8),
        "askQty": rules.qty.text(0 if ask is None else tape.asks.get(ask, 0), 8),
    }


def _trade(trade: MarketTrade, rules: Rules) -> dict[str, Any]:
    return {
        "id": trade.trade_id,
        "price": rules.price.text(trade.ticks, 8),
        "qty": rules.qty.text(trade.lots, 8),
        "quoteQty": plain(rules.notional(trade.ticks, trade.lots)),
        "time": trade.time_ms,
        "isBuyerMaker": trade.sold,
        "isBestMatch": True,
    }


def _candle(one: Candle, rules: Rules, seconds: int) -> list[Any]:
    worth = rules.price.size * rules.qty.size
    return [
        one.open_ms,
        *(rules.price.text(value, 8) for value in (one.open, one.high, one.low, one.close)),
        rules.qty.text(one.lots, 8),
        one.open_ms + 1000 * seconds - 1,
        plain(worth * one.turnover),
        one.count,
        rules.qty.text(one.bought_lots, 8),
        plain(worth * one.bought_turnover),
        "0",
    ]


def _day(tape: Tape, now_ms: int) -> dict[str, Any]:
    """Statistics of the last 24 hours; zeros before the first trade, as the exchange has it."""
    rules = tape.rules
    found = tape.day(now_ms) or Candle(now_ms, 0, 0, 0, 0)
    worth, traded = rules.price.size * rules.qty.size * found.turnover, rules.qty.value(found.lots)
    share = 100 * (found.close - found.open) / found.open if found.open else 0
    touch = _touch(tape)
    return {
        "symbol": rules.symbol,
        "priceChange": rules.price.text(found.close - found.open, 8),
        "priceChangePercent": f"{share:.3f}",
        "weightedAvgPrice": f"{worth / traded if traded else 0:.8f}",
        "prevClosePrice": rules.price.text(found.open, 8),
        "lastPrice": rules.price.text(found.close, 8),
        "lastQty": rules.qty.text(tape.trades[-1].lots if tape.trades else 0, 8),
        **{name: touch[name] for name in ("bidPrice", "bidQty", "askPrice", "askQty")},
        "openPrice": rules.price.text(found.open, 8),
        "highPrice": rules.price.text(found.high, 8),
        "lowPrice": rules.price.text(found.low, 8),
        "volume": rules.qty.text(found.lots, 8),
        "quoteVolume": plain(worth),
        "openTime": found.open_ms,
        "closeTime": now_ms,
        "firstId": found.first_id,
        "lastId": found.last_id,
        "count": found.count,
    }
