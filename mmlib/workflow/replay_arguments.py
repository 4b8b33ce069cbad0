"""Arguments of ``replay``: a user's own orders against recordings."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

MakeVerb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_replay(verbs: Any, verb: MakeVerb) -> None:
    """Add the verb."""
    example = (
        "finishline replay btcusdt.gz --symbol BTCUSDT --tick-size 0.1 --lot-size 0.001 --orders orders.csv \\\n"
        "      --queue-model log --entry-latency-ms 10 --response-latency-ms 10 \\\n"
        "      --maker-fee-bps -0.5 --taker-fee-bps 7 -o fills.csv\n"
        "  finishline replay day1.npz day2.npz --symbol BTCUSDT --orders orders.csv -o fills.csv --actual ours.csv\n\n"
        "recordings: raw Binance lines (USD-M, COIN-M, spot), hftbacktest .npz, a Tardis incremental_book_L2 CSV with\n"
        "the trades CSV beside it, top-of-book CSV.\n"
        "orders: ts_ns,action(new|cancel|replace),order_id,side(buy|sell),price,qty,time_in_force(GTC|GTX|IOC|FOK);\n"
        "ts_ns is the local clock after correction (--orders-clock raw: before it); an empty price is a market order.\n"
        "fills: exch_ts_ns,local_ts_ns,order_id,side,price,qty,liquidity,fee,queue_ahead_at_entry"
    )
    replay = verb(verbs, "replay", "replay a user's own orders against recordings", example)
    replay.add_argument("recording", nargs="+", metavar="RECORDING", help="in order of time")
    replay.add_argument("--symbol", required=True, metavar="NAME", help="such as BTCUSDT")
    replay.add_argument("--orders", required=True, metavar="FILE.csv", help="what the bot sent")
    replay.add_argument("-o", "--output", required=True, metavar="FILLS.csv", help="where the fills go")
    numbers = (
        ("--tick-size", None, "SIZE", "quote currency (default: as the recording suggests)"),
        ("--lot-size", None, "SIZE", "base units (default: as the recording suggests)"),
        ("--queue-exponent", None, "N", "of a power model"),
        ("--entry-latency-ms", 10.0, "MS", "from the bot to the exchange (default: 10)"),
        ("--response-latency-ms", 10.0, "MS", "and back (default: 10)"),
        ("--maker-fee-bps", 0.0, "BPS", "negative for a rebate (default: 0)"),
        ("--taker-fee-bps", 0.0, "BPS", "default: 0"),
        (
            "--contract-size",
            None,
            "SIZE",
            "of an inverse contract, quote currency: fees in the base currency",
        ),
        ("--tolerance-ms", 100.0, "MS", "fills this close count as the same time (default: 100)"),
    )
    for name, default, metavar, text in numbers:
        replay.add_argument(name, type=number, default=default, metavar=metavar, help=text)
    replay.add_argument(
        "--queue-model",
        default="log",
        metavar="NAME",
        help="risk, log, log2, power, power2 or power3 (default: log)",
    )
    replay.add_argument(
        "--order-latency", metavar="FILE.npz", help="measured latencies instead of the two constants"
    )
    replay.add_argument(
        "--orders-clock",
        choices=("corrected", "raw"),
        default="corrected",
        help="whether ts_ns of orders, and local_ts_ns of fills, are on the recording's corrected local clock (default) or on "
        "its raw one; the two differ where messages arrived before they were sent",
    )
    replay.add_argument(
        "--accept-void",
        action="store_true",
        help="replay a recording that makes fills meaningless (no trades, a wrong tick size) all the same",
    )
    replay.add_argument("--partial-fills", action="store_true", help="share out trades, take level by level")
    replay.add_argument("--actual", metavar="FILE.csv", help="the bot's own fills, to compare with")
    replay.add_argument("--json", action="store_true", help="print the result as JSON")


def number(text: str) -> float:
    """A finite number; argparse names this function in its complaint."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
