"""The arguments of the command line: verbs, options, examples; argparse only, so that --help starts at once."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from mmlib import __version__
from mmlib.workflow.exchange_arguments import add_bot, add_exchange
from mmlib.workflow.feed_arguments import add_feeds
from mmlib.workflow.live_arguments import add_live_options, add_live_verbs
from mmlib.workflow.market_arguments import add_calibrate_market
from mmlib.workflow.replay_arguments import add_replay
from mmlib.workflow.sweep_arguments import add_sweep
from mmlib.workflow.warm_arguments import add_warm

_EXIT_CODES = """exit codes:
  0  every gate passed          1  a gate did not pass (FAIL, INCONCLUSIVE, NO_DATA)
  2  bad input or configuration 3  a notebook failed to execute"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of ``finishline``; the parsed verb is ``args.verb``."""
    top = _Parser(
        prog="finishline",
        description="Take a market-making bot to production behind gates: prep, shadow, soak, dataset, A/B, "
        "baseline lock, daily ops, readiness.",
        epilog="examples:\n  finishline run --all --profile demo\n  finishline status\n"
        "  finishline report --open\n\n" + _EXIT_CODES,
    )
    top.add_argument("--version", action="version", version=f"finishline {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    _add_run(verbs)
    _add_steps(verbs)
    _add_calibrate(verbs)
    _add_baseline(verbs)
    _add_rollback(verbs)
    add_replay(verbs, _verb)
    add_sweep(verbs, _verb)
    add_calibrate_market(verbs, _verb)
    add_feeds(verbs, _verb)
    _add_operations(verbs)
    _add_schedule(verbs)
    add_live_verbs(verbs, _verb)
    add_exchange(verbs, _verb)
    add_warm(verbs, _verb)
    _add_others(verbs)
    return top


def _verb(verbs: Any, name: str, text: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=f"examples:\n  {example}"
    )
    parser.add_argument(
        "--workspace", default=".", metavar="DIR", help="holds params/, artifacts/, docs/ (default: .)"
    )
    return parser


def _add_through(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--through",
        action="store_true",
        help="run an A/B stage although the one before did not pass (a rehearsal always does); it cannot pass then",
    )


def _add_common(parser: argparse.ArgumentParser, *, source: bool = True) -> None:
    parser.add_argument("--profile", default="", metavar="NAME", help="demo, production or a YAML file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    if source:
        parser.add_argument(
            "--source",
            default="",
            metavar="URI",
            help="simulated, recording:PATH, live:EXCHANGE or feeds:DIR",
        )
        parser.add_argument("--symbols", default="", metavar="A,B", help="such as BTCUSDT,ETHUSDT")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="a configuration key, such as md_cache.ttl_ms=150",
        )


def _add_run(verbs: Any) -> None:
    example = (
        "finishline run --all --profile demo\n"
        "  finishline run --step shadow --profile demo --shadow-duration 10 --bot touch_quoter\n"
        "  finishline run --step 1 --step shadow --shadow-duration 30\n"
        "  finishline run --all --profile demo --source recording:btcusdt.gz --symbols BTCUSDT\n\n"
        + _EXIT_CODES
    )
    run = _verb(verbs, "run", "execute steps of the workflow", example)
    which = run.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="every step, in order")
    which.add_argument(
        "--step",
        action="append",
        nargs="+",
        default=[],
        metavar="N|NAME",
        help="1-8, or a name such as soak or ab_50",
    )
    add_bot(run)
    run.add_argument("--shadow-duration", type=float, metavar="MIN", help="length of the shadow run [min]")
    run.add_argument(
        "--resume",
        action="store_true",
        help="keep steps whose inputs have not changed since they ran; go on with a session that was cut off",
    )
    _add_through(run)
    add_live_options(run)
    _add_common(run)


def _add_steps(verbs: Any) -> None:
    soak = _verb(
        verbs,
        "soak",
        "run the soak test",
        "finishline soak --hours 72\n"
        "  finishline soak --hours 30 --incident feed_gap@2h:40m --incident memory_leak@20h:2h:300\n"
        "  finishline soak --hours 72 --clock realtime --source live:binanceusdm --record soak.gz",
    )
    soak.add_argument("--hours", type=float, metavar="H", help="length [h]")
    add_bot(soak)
    soak.add_argument(
        "--resume",
        action="store_true",
        help="go on with a session that was killed or cut off, as if it had not been; a live one from its last synced second",
    )
    soak.add_argument(
        "--incident",
        action="append",
        default=[],
        metavar="KIND@START:DURATION[:STRENGTH]",
        help="script an incident: feed_gap, latency_spike, rate_limit_storm, memory_leak, volatility_spike, one_sided_book",
    )
    add_live_options(soak)
    _add_common(soak)

    dataset = _verb(
        verbs,
        "dataset",
        "aggregate soak feeds into the calibration dataset",
        "finishline dataset --from 2025-01-15T00:00:00Z --to 2025-01-17T00:00:00Z --interval-min 5",
    )
    dataset.add_argument(
        "--from", dest="from_ts", default="", metavar="ISO", help="first instant (default: all)"
    )
    dataset.add_argument(
        "--to", dest="to_ts", default="", metavar="ISO", help="end, exclusive (default: all)"
    )
    dataset.add_argument("--interval-min", type=int, metavar="MIN", help="length of an interval [min]")
    dataset.add_argument("--feeds", default="", metavar="DIR", help="a desk's own feeds")
    dataset.add_argument(
        "--workers", type=int, metavar="N", help="processes on this machine (default: threads of one)"
    )
    dataset.add_argument(
        "--scheduler", default="", metavar="ADDRESS", help="of a dask cluster instead, tcp://HOST:PORT"
    )
    _add_common(dataset, source=False)

    ab = _verb(
        verbs,
        "ab",
        "run one A/B rollout stage, or measure how often its rules err",
        "finishline ab --rollout-pct 10 --duration-hours 24\n  finishline ab --aa --profile demo\n  "
        "finishline ab --aa --rollout --stages 300\n  finishline ab --plan",
    )
    _add_through(ab)
    which = ab.add_mutually_exclusive_group(required=True)
    which.add_argument("--rollout-pct", type=int, metavar="PCT", help="10, 50 or 100")
    which.add_argument(
        "--aa",
        action="store_true",
        help="A/A: the rules on drawn stages and on replays of the control against itself; exit 1 when they err too often",
    )
    which.add_argument(
        "--plan",
        action="store_true",
        help="hours that a stage needs for a given gain, simulated from the soak's own hours; nothing is run",
    )
    ab.add_argument(
        "--feeds", default="", metavar="DIR", help="with --plan: hours of these feeds (default: the soak's)"
    )
    ab.add_argument(
        "--runs", type=int, default=4, metavar="N", help="with --aa: replays of the control (default: 4)"
    )
    ab.add_argument(
        "--stages",
        type=int,
        default=1000,
        metavar="N",
        help="with --aa or --plan: drawn stages (default: 1000)",
    )
    add_bot(ab, arms=True)
    ab.add_argument(
        "--rollout",
        action="store_true",
        help="with --aa: also whole rollouts, 3 x 24 h and 3 x 72 h, drawn with fifteen kinds of noise",
    )
    ab.add_argument("--duration-hours", type=float, metavar="H", help="length [h]")
    ab.add_argument(
        "--treatment",
        default="",
        metavar="NAME",
        help="parameters of arm B: a file of params/calibrated, or a path",
    )
    add_live_options(ab)
    _add_common(ab)

    daily = _verb(verbs, "daily", "write the daily operations report", "finishline daily --date 2025-01-15")
    daily.add_argument(
        "--date", default="latest", metavar="YYYY-MM-DD", help="default: the latest day with data"
    )
    daily.add_argument("--feeds", default="", metavar="DIR", help="a desk's own feeds")
    daily.add_argument(
        "--catch-up",
        action="store_true",
        help="every finished day that has feeds but no report, and yesterday",
    )
    daily.add_argument(
        "--week", action="store_true", help="roll up the week of --date instead (default: this week)"
    )
    daily.add_argument(
        "--notify", action="store_true", help="run notify.command of params/config.yaml when it fails"
    )
    _add_common(daily, source=False)

    ready = _verb(
        verbs,
        "readiness",
        "collect the acceptance table and the verdict",
        "finishline readiness --json",
    )
    _add_common(ready, source=False)


def _add_baseline(verbs: Any) -> None:
    baseline = _verb(
        verbs,
        "baseline",
        "lock the performance baseline, or validate against it",
        "finishline baseline --lock\n  finishline baseline --validate --rounds 40",
    )
    which = baseline.add_mutually_exclusive_group(required=True)
    which.add_argument("--lock", action="store_true", help="lock artifacts/baseline/stage_budgets.json")
    which.add_argument(
        "--validate", action="store_true", help="measure the locked build and the current one in turns"
    )
    baseline.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="runs of each build (default: 30; 0 compares the budgets only)",
    )
    _add_common(baseline, source=False)


def _add_calibrate(verbs: Any) -> None:
    text = "search the treatment's parameters on the soak's market and judge them on hours that they have not seen"
    example = (
        "finishline calibrate --profile demo --hours 96 --train-hours 48 --trials 96\n"
        "  finishline calibrate --source recording:DIR --symbols ETHUSD --hours 46 --train-hours 23 --unseen-hours 23\n"
        "  finishline calibrate --profile demo --range adaptive_spread.pnl_weight=0 --workers 8\n\n"
        "writes params/calibrated/NAME.yaml, an override for arm B; exit 1 when it does not pass on unseen hours."
    )
    parser = _verb(verbs, "calibrate", text, example)
    parser.add_argument(
        "--name", default="treatment", metavar="NAME", help="of the result (default: treatment)"
    )
    for name, default, what in (
        ("--hours", 96, "market searched [h]"),
        ("--train-hours", 48, "to choose on, in each fold [h]"),
        ("--unseen-hours", 24, "right after them, to be judged on [h]"),
        ("--trials", 96, "half of them spread over the ranges, half near the best"),
    ):
        parser.add_argument(name, type=int, default=default, metavar="N", help=f"{what} (default: {default})")
    parser.add_argument("--seed", type=int, metavar="N", help="default: that of the soak or the profile")
    parser.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="KEY=LOW:HIGH",
        help="another range, or KEY=VALUE to hold it",
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
    parser.add_argument(
        "--scheduler", default="", metavar="URI", help="a dask scheduler, such as tcp://HOST:8786"
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep trials of before (default)",
    )
    _add_common(parser)


def _add_rollback(verbs: Any) -> None:
    rollback = _verb(
        verbs,
        "rollback",
        "the red button: restore flags from the snapshot, or take one of the gradual ways",
        "finishline rollback --reason 'slippage up after the release'\n"
        "  finishline rollback --flag adaptive_spread.enabled --reason 'net_bps down'\n"
        "  finishline rollback --gradual sampling --reason 'tick p95 at 170 ms'",
    )
    rollback.add_argument("--flag", action="append", default=[], metavar="NAME", help="switch this flag off")
    rollback.add_argument(
        "--gradual",
        choices=("taker-cap", "adaptive", "sampling"),
        help="one step of relief: adaptive for money, sampling for the time of a tick; taker-cap loosens a limit "
        "(Prep fails until it is back)",
    )
    rollback.add_argument("--reason", required=True, metavar="TEXT", help="recorded with the change")
    rollback.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_operations(verbs: Any) -> None:
    alerts = _verb(
        verbs,
        "alerts",
        "write alert rules, their unit tests and the dashboard from gates.yaml",
        "finishline alerts --check",
    )
    alerts.add_argument(
        "--check", action="store_true", help="check the rules and run their tests with promtool"
    )
    alerts.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_schedule(verbs: Any) -> None:
    schedule = _verb(
        verbs,
        "schedule",
        "run the daily report every morning",
        "finishline schedule install --kind cron --at 09:00\n  finishline schedule install --kind systemd --at 09:00 --yes\n"
        "  finishline schedule status\n  finishline schedule remove",
    )
    schedule.add_argument("action", choices=("install", "remove", "status"))
    schedule.add_argument("--kind", choices=("cron", "systemd"), help="to install: what runs it")
    schedule.add_argument(
        "--at", default="09:00", metavar="HH:MM", help="this machine's clock (default: 09:00)"
    )
    schedule.add_argument("--yes", action="store_true", help="do not ask")
    schedule.add_argument("--json", action="store_true", help="print the state as JSON")


def _add_others(verbs: Any) -> None:
    status = _verb(verbs, "status", "what ran, what is stale, what is next", "finishline status --json")
    status.add_argument("--json", action="store_true", help="print the result as JSON")
    report = _verb(
        verbs,
        "report",
        "write the HTML pages of the latest records",
        "finishline report --open\n  finishline report --single-file finish-line.html",
    )
    report.add_argument("--open", action="store_true", help="open the index page in a browser")
    report.add_argument(
        "--single-file",
        metavar="FILE",
        help="write everything into this one file as well, for a mail or a ticket",
    )
    lab = _verb(
        verbs,
        "lab",
        "open the notebooks in JupyterLab",
        "finishline lab\n  finishline lab --no-browser --port 8890",
    )
    lab.add_argument("--no-browser", action="store_true", help="only print the address")
    lab.add_argument("--port", type=int, default=0, metavar="PORT", help="default: a free one")
    doctor = _verb(verbs, "doctor", "check this machine and workspace", "finishline doctor")
    doctor.add_argument("--json", action="store_true", help="print the result as JSON")
