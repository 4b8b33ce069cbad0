"""Arguments of the verbs that meet a live market, real or on loopback."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

MakeVerb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """Options of verbs that may run a session on a live source."""
    parser.add_argument(
        "--clock",
        choices=("replay", "realtime"),
        help="must fit the source: realtime for live:EXCHANGE, replay for others (default: what fits)",
    )
    parser.add_argument(
        "--live-url", default="", metavar="URL", help="of a proxy or the loopback exchange; never with a key"
    )
    parser.add_argument(
        "--record", default="", metavar="FILE", help="keep the raw stream (.gz); it replays to the same fills"
    )


def add_live_verbs(verbs: Any, verb: MakeVerb) -> None:
    """``record``, ``loopback``, ``watch``."""
    record = verb(
        verbs,
        "record",
        "keep the public stream of a live market as a recording, without a bot",
        "finishline record live:binanceusdm --symbols BTCUSDT,ETHUSDT --minutes 60 -o btc.gz",
    )
    record.add_argument(
        "source", metavar="live:EXCHANGE", help="binanceusdm, binance, or one that ccxt streams"
    )
    record.add_argument("--symbols", required=True, metavar="A,B", help="such as BTCUSDT,ETHUSDT")
    record.add_argument("-o", "--output", required=True, metavar="FILE", help="a new file; .gz is gzipped")
    record.add_argument("--minutes", type=float, metavar="MIN", help="length (default: until Ctrl-C)")
    record.add_argument("--live-url", default="", metavar="URL", help="of a proxy or the loopback exchange")
    record.add_argument("--json", action="store_true", help="print the result as JSON")

    loopback = verb(
        verbs,
        "loopback",
        "serve the simulator or a recording as an exchange on 127.0.0.1, for rehearsals",
        "finishline loopback --symbols BTCUSDT --port 8811 --minutes 10 --faults drop@60,gap@90:3\n"
        "  finishline run --step shadow --profile demo --source live:binanceusdm --live-url http://127.0.0.1:8811",
    )
    loopback.add_argument(
        "--exchange", default="binanceusdm", metavar="NAME", help="whose format (default: binanceusdm)"
    )
    loopback.add_argument("--source", default="simulated", metavar="URI", help="simulated or recording:PATH")
    loopback.add_argument("--symbols", required=True, metavar="A,B", help="such as BTCUSDT,ETHUSDT")
    loopback.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one, printed")
    loopback.add_argument(
        "--minutes", type=float, default=60.0, metavar="MIN", help="ends after (default: 60)"
    )
    loopback.add_argument(
        "--rate", type=float, default=20.0, metavar="PER_S", help="events a second and symbol, simulated"
    )
    loopback.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="of a recording's own time (default: 1)"
    )
    loopback.add_argument("--seed", type=int, default=7, metavar="N", help="of the simulator (default: 7)")
    loopback.add_argument(
        "--faults",
        default="",
        metavar="LIST",
        help="NAME@SECONDS[:NUMBER], separated by commas; a wrong name lists them",
    )

    watch = verb(
        verbs,
        "watch",
        "show the running session of a workspace in the terminal",
        "finishline watch --workspace w1",
    )
    watch.add_argument("--once", action="store_true", help="print it once and end")
