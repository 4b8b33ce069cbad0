"""The same market maker on the exchange's own SDK for USD-M futures (binance-sdk-derivatives-trading-usds-futures)."""

import os
import time

from binance_common.configuration import ConfigurationRestAPI
from binance_common.errors import Error
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
    DerivativesTradingUsdsFutures,
)

SYMBOLS = os.environ["FINISHLINE_SYMBOLS"].split(",")
NOTIONAL, REQUOTE_S = 1000.0, 1.0


def main() -> None:
    keys = os.environ["FINISHLINE_KEY"], os.environ["FINISHLINE_SECRET"]
    rest = DerivativesTradingUsdsFutures(
        config_rest_api=ConfigurationRestAPI(*keys, base_path=os.environ["FINISHLINE_REST"], timeout=10_000)
    ).rest_api
    rules = {one.symbol: one for one in rest.exchange_information().data().symbols}
    while True:
        for symbol in SYMBOLS:
            digits = int(rules[symbol].quantity_precision)
            try:
                book = rest.order_book(symbol=symbol, limit=5).data()
                rest.cancel_all_open_orders(symbol=symbol)
                for side, price in (("BUY", float(book.bids[0][0])), ("SELL", float(book.asks[0][0]))):
                    quantity = max(round(NOTIONAL / price, digits), 10.0**-digits)
                    order = {"symbol": symbol, "side": side, "type": "LIMIT", "time_in_force": "GTX"}
                    rest.new_order(**order, quantity=quantity, price=price)
            except Error as exc:
                print(f"{symbol}: {exc}", flush=True)
        time.sleep(REQUOTE_S)


if __name__ == "__main__":
    main()
