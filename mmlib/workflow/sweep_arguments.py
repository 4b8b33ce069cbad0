"""Arguments of ``sweep``: many settings of the grid strategy over recordings, in few passes."""

from __future__ import annotations

from typing import Any

from mmlib.workflow.replay_arguments import MakeVerb, number


def add_sweep(verbs: Any, verb: MakeVerb) -> None:
    """Add the verb."""
    example = (
        "finishline sweep btcusdt.gz --symbol BTCUSDT --tick-size 0.1 --lot-size 0.001 \\\n"
        "      --grid half_spread_ticks=0:60:13 --grid skew=0:2:5 --set levels=5 --maker-fee-bps -0.5 -o sweep1\n"
        "  finishline sweep day.npz --symbol BTCUSDT --grid half_spread_ticks=0:200 --grid skew=0:4 --sample 1000 -o sweep2\n"
        "  finishline sweep --simulated-hours 24 --symbol BTCUSDT --grid half_spread_ticks=0:20:21 -o sweep3\n\n"
        "settings: levels, interval_ticks, half_spread_ticks (whole numbers), skew (ticks a base unit), order_qty,\n"
        "max_position (base units). Chosen on the first part, judged on the last (--unseen-pct), beside White's reality\n"
        "check over all settings tried. Started again, it goes on where it was interrupted."
    )
    sweep = verb(verbs, "sweep", "try many settings of the grid strategy in few passes", example)
    sweep.add_argument("recording", nargs="*", metavar="RECORDING", help="in order of time")
    sweep.add_argument("--symbol", required=True, metavar="NAME", help="such as BTCUSDT")
    sweep.add_argument("-o", "--output", required=True, metavar="DIR", help="where the results go")
    sweep.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=LOW:HIGH:N",
        help="N even values of a setting (repeatable)",
    )
    sweep.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="N settings spread over the ranges instead of all combinations",
    )
    sweep.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting all have (repeatable)"
    )
    sweep.add_argument(
        "--simulated-hours", type=int, metavar="H", help="the simulated market instead of recordings"
    )
    numbers = (
        ("--tick-size", None, "SIZE", "quote currency (default: as the recording suggests)"),
        ("--lot-size", None, "SIZE", "base units (default: as the recording suggests)"),
        ("--queue-exponent", None, "N", "of a power model"),
        ("--entry-latency-ms", 10.0, "MS", "from the bot to the exchange (default: 10)"),
        ("--response-latency-ms", 10.0, "MS", "and back (default: 10)"),
        ("--maker-fee-bps", 0.0, "BPS", "negative for a rebate (default: 0)"),
        ("--unseen-pct", 30.0, "PCT", "share at the end that the best is judged on (default: 30)"),
    )
    for name, default, metavar, text in numbers:
        sweep.add_argument(name, type=number, default=default, metavar=metavar, help=text)
    sweep.add_argument("--queue-model", default="log", metavar="NAME", help="as for replay (default: log)")
    sweep.add_argument("--partial-fills", action="store_true", help="share out trades")
    sweep.add_argument(
        "--accounts-per-pass", type=int, default=100, metavar="K", help="settings in one pass (default: 100)"
    )
    sweep.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes (default: threads, one a core)"
    )
    sweep.add_argument(
        "--scheduler", default="", metavar="ADDRESS", help="a Dask cluster, such as tcp://10.0.0.5:8786"
    )
    sweep.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of --sample, the bootstrap and the simulation"
    )
    sweep.add_argument("--json", action="store_true", help="print the result as JSON")
