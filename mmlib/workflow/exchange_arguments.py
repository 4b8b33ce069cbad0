"""Arguments of ``finishline exchange``."""

from __future__ import annotations

import argparse
from typing import Any

from mmlib.workflow.live_arguments import MakeVerb


def add_bot(parser: argparse.ArgumentParser, *, arms: bool = False) -> None:
    """``--bot``: once, or once for each arm."""
    how = (
        "a bot of your own on the paper exchange, in real time: a name of params/bots, or a command in quotes"
    )
    if arms:
        how += "; given twice, for arm A and arm B"
        parser.add_argument("--bot", action="append", default=[], metavar="BOT", help=how)
    else:
        parser.add_argument("--bot", default="", metavar="BOT", help=how)


def add_exchange(verbs: Any, verb: MakeVerb) -> None:
    """``exchange``."""
    exchange = verb(
        verbs,
        "exchange",
        "serve a paper exchange on 127.0.0.1: any bot trades there, with the project's queue, latency and filters",
        "finishline exchange --symbols BTCUSDT --port 8811\n"
        "  finishline exchange --market recording:btcusdt.gz --symbols BTCUSDT --accounts params/accounts.yaml --feeds paper\n"
        "  finishline exchange --venue binance --symbols BTCUSDT --faults drop@60,skew@90:60\n"
        "  finishline exchange --check http://127.0.0.1:8811 --symbols BTCUSDT",
    )
    add = exchange.add_argument
    add(
        "--market",
        default="simulated",
        metavar="URI",
        help="simulated or recording:PATH (default: simulated)",
    )
    add(
        "--venue", default="binanceusdm", metavar="NAME", help="binanceusdm or binance (default: binanceusdm)"
    )
    add("--symbols", required=True, metavar="A,B", help="such as BTCUSDT,ETHUSDT")
    add(
        "--accounts",
        default="",
        metavar="FILE",
        help="accounts: keys, balances, fees, latency, queue model (default: one)",
    )
    add("--feeds", default="", metavar="DIR", help="write fills, ticks and orders there")
    add("--state", default="", metavar="DIR", help="accounts survive there when the exchange is killed")
    add(
        "--bind",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen; others only with secrets of your own",
    )
    add("--port", type=int, default=0, metavar="N", help="default: a free one, printed")
    add("--minutes", type=float, default=60.0, metavar="MIN", help="ends after (default: 60)")
    add(
        "--rate",
        type=float,
        default=20.0,
        metavar="PER_S",
        help="events a second and symbol, simulated (default: 20)",
    )
    add("--speed", type=float, default=1.0, metavar="X", help="market seconds a second (default: 1)")
    add("--seed", type=int, default=7, metavar="N", help="of the simulator (default: 7)")
    add(
        "--faults",
        default="",
        metavar="LIST",
        help="NAME@SECONDS[:NUMBER], separated by commas; a wrong name lists them",
    )
    add(
        "--json",
        action="store_true",
        help="print address, keys and where the secrets are, as one line of JSON",
    )
    add(
        "--check",
        default="",
        metavar="URL",
        help="hold an endpoint against the contract instead; key and secret of an account in FINISHLINE_KEY, FINISHLINE_SECRET",
    )
