"""The arguments of ``finishline feeds``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_feeds(verbs: Any, verb: Callable[..., Any]) -> None:
    """``finishline feeds``."""
    example = (
        "finishline feeds check /var/lib/mm-bot/feeds\n"
        "  finishline feeds import trades.csv --mapping hummingbot -o feeds\n  finishline feeds schema fills"
    )
    feeds = verb(verbs, "feeds", "check feeds, bring other files into their form, print the schemas", example)
    actions = feeds.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(feeds))
    check = actions.add_parser(
        "check",
        help="what every file of a directory holds, and what is wrong with it",
        epilog="exit codes:\n  0  every line is good\n  1  lines are in quarantine, repeated or out of order\n"
        "  2  there are no feeds, or a file cannot be read",
    )
    check.add_argument("directory", metavar="DIR", help="holds pipeline_ticks_*.jsonl and fills_*.jsonl")
    check.add_argument(
        "--from", dest="from_ts", default="", metavar="ISO", help="first instant (default: all)"
    )
    check.add_argument("--to", dest="to_ts", default="", metavar="ISO", help="end, exclusive (default: all)")
    check.add_argument("--json", action="store_true", help="print the result as JSON")
    bring = actions.add_parser(
        "import",
        help="write feeds from another bot's or an exchange's files",
        epilog="exit codes:\n  0  every row was imported\n  1  rows are in quarantine\n  2  bad mapping or file\n\n"
        "shipped mappings: params/mappings/*.yaml, each with its columns explained",
    )
    bring.add_argument("file", nargs="+", metavar="FILE", help="CSV or JSON Lines, plain, .gz or .zst")
    bring.add_argument(
        "--mapping", required=True, metavar="NAME|FILE.yaml", help="a shipped mapping, or your own"
    )
    bring.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="where the feeds go; new or empty"
    )
    bring.add_argument(
        "--workspace", default=argparse.SUPPRESS, metavar="DIR", help="keeps refused rows (default: .)"
    )
    bring.add_argument("--json", action="store_true", help="print the result as JSON")
    text = actions.add_parser("schema", help="print the JSON Schema of a feed's lines")
    text.add_argument("kind", nargs="?", choices=("ticks", "fills"), help="default: both, as one object")
