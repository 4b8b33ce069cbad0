"""A new USD-M order from a request: parameters, filters, error codes as the exchange documents them."""

from __future__ import annotations

import secrets
from decimal import Decimal

from mmlib.paper.calls import Call
from mmlib.paper.errors import NOT_SUPPORTED, ApiError, missing
from mmlib.paper.orders import Order
from mmlib.paper.params import Params
from mmlib.paper.rules import Rules

_TIFS = ("GTC", "IOC", "FOK", "GTX")
_STP = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")
_CONDITIONAL = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
_PRECISION = ApiError(-1111, "Precision is over the maximum defined for this asset.")


def read_order(call: Call, params: Params) -> Order:
    """The order that a request describes, held against the filters of its symbol.

    Raises:
        ApiError: as documented.
    """
    exchange = call.exchange
    symbol = params.symbol(exchange.rules)
    rules = exchange.rules[symbol]
    side = params.choice("side", ("BUY", "SELL"), -1117, "Invalid side.")
    kind = params.text("type")
    if kind in _CONDITIONAL:
        raise ApiError(
            -4120,
            "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
        )
    if kind not in ("LIMIT", "MARKET"):
        raise ApiError(-1116, "Invalid orderType.")
    if params.text("positionSide", "BOTH") != "BOTH":
        raise ApiError(-4061, "Order's position side does not match user's setting.")
    if params.flag("closePosition"):
        raise ApiError(-4136, "Target strategy invalid for orderType LIMIT,closePosition true")
    if params.text("priceMatch", "NONE") != "NONE":
        raise NOT_SUPPORTED
    stp = params.choice(
        "selfTradePreventionMode",
        _STP,
        -1130,
        "Data sent for parameter 'selfTradePreventionMode' is not valid.",
        "EXPIRE_MAKER",
    )
    tif = "IOC"
    ticks = 0
    if kind == "LIMIT":
        tif = params.text("timeInForce")
        if tif not in _TIFS:
            raise ApiError(-1115, "Invalid timeInForce.")
        ticks = read_price(params, rules)
    reduce_only = params.flag("reduceOnly")
    tape = exchange.tapes[symbol]
    lots = read_quantity(params, rules)
    check_price_band(ticks, side == "BUY", rules, tape.mid_ticks)
    check_notional(ticks, lots, rules, tape.mid_ticks, reduce_only=reduce_only)
    return Order(
        order_id=0,
        client_id=params.client_id("newClientOrderId") or secrets.token_urlsafe(16),
        symbol=symbol,
        side=1 if side == "BUY" else -1,
        kind=kind,
        tif="GTC" if kind == "MARKET" else tif,
        ticks=ticks,
        lots=lots,
        created_ms=0,
        updated_ms=0,
        reduce_only=reduce_only,
        stp=stp,
        sent_ns=call.received_ns,
        mid_at_quote=tape.mid,
    )


def read_price(params: Params, rules: Rules) -> int:
    """A price in ticks.

    Raises:
        ApiError: too fine, off the grid or out of range.
    """
    price = params.decimal("price")
    if price <= 0:
        raise ApiError(-4001, "Price less than 0.")
    if _digits(price) > rules.price.digits:
        raise _PRECISION
    ticks = rules.price.whole(price)
    if ticks is None:
        raise ApiError(-4014, "Price not increased by tick size.")
    if ticks > rules.max_ticks:
        raise ApiError(-4002, f"Price greater than max price {rules.price.text(rules.max_ticks)}.")
    return ticks


def read_quantity(params: Params, rules: Rules) -> int:
    """A quantity in lots.

    Raises:
        ApiError: too fine, off the grid or out of range.
    """
    qty = params.decimal("quantity")
    if qty <= 0:
        raise ApiError(-4003, "Quantity less than or equal to zero.")
    if _digits(qty) > rules.qty.digits:
        raise _PRECISION
    lots = rules.qty.whole(qty)
    if lots is None:
        raise ApiError(-4023, "Qty not increased by step size.")
    if lots > rules.max_lots:
        raise ApiError(-4005, "Quantity greater than max quantity.")
    return lots


def check_price_band(ticks: int, buy: bool, rules: Rules, mark: float | None) -> None:
    """PERCENT_PRICE: a buy may not be far above the mark price, a sell not far below.

    Raises:
        ApiError: with the price that is allowed.
    """
    if not ticks or mark is None:
        return
    if buy and ticks > Decimal(mark) * rules.band:
        most = rules.price.text(int(Decimal(mark) * rules.band))
        raise ApiError(-4016, f"Limit price can't be higher than {most}.")
    if not buy and ticks < Decimal(mark) / rules.band:
        least = rules.price.text(int(Decimal(mark) / rules.band) + 1)
        raise ApiError(-4024, f"Limit price can't be lower than {least}.")


def check_notional(ticks: int, lots: int, rules: Rules, mark: float | None, *, reduce_only: bool) -> None:
    """MIN_NOTIONAL, at the limit or the mark price.

    Raises:
        ApiError: the order is too small.
    """
    at = ticks or int(mark or 0)
    if not reduce_only and rules.notional(at, lots) < rules.min_notional:
        raise ApiError(
            -4164,
            f"Order's notional must be no smaller than {rules.min_notional} (unless you choose reduce only).",
        )


def which_order(params: Params) -> tuple[int | None, str]:
    """How a request names an order: by id, or else by client id.

    Raises:
        ApiError: by neither.
    """
    order_id = params.maybe_integer("orderId")
    client_id = params.client_id("origClientOrderId")
    if order_id is None and not client_id:
        raise missing("orderId")
    return order_id, client_id


def _digits(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(-exponent, 0)
