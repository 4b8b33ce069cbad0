"""The arguments of the verb calibrate-market."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

Verb = Callable[[Any, str, str, str], argparse.ArgumentParser]


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0.0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def add_calibrate_market(verbs: Any, verb: Verb) -> None:
    """Add the verb; ``verb`` makes a parser from verbs, name, text and example."""
    calibrate = verb(
        verbs,
        "calibrate-market",
        "fit the simulated market to a recording and say how alike they are",
        "finishline calibrate-market btcusdt.gz --symbol BTCUSDT -o params/market/mine.yaml\n"
        "  finishline run --all --profile demo --set market.preset=mine",
    )
    calibrate.add_argument("recording", metavar="RECORDING", help="file or directory")
    calibrate.add_argument("--symbol", required=True, metavar="NAME", help="such as BTCUSDT")
    calibrate.add_argument(
        "-o", "--output", metavar="FILE", help="preset to write, such as params/market/mine.yaml"
    )
    calibrate.add_argument("--tick-size", type=_positive, metavar="X", help="price step (default: inferred)")
    calibrate.add_argument(
        "--lot-size", type=_positive, metavar="X", help="quantity step (default: inferred)"
    )
    calibrate.add_argument(
        "--hours",
        type=_positive,
        default=1.0,
        metavar="H",
        help="length of the simulation compared (default: 1)",
    )
    calibrate.add_argument("--seed", type=int, default=1, metavar="N", help="of the pilots (default: 1)")
    calibrate.add_argument(
        "--preset",
        default="",
        metavar="NAME",
        help="compare this preset with the recording instead of fitting one",
    )
    calibrate.add_argument("--json", action="store_true", help="print the result as JSON")
