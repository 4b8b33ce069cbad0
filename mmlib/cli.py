"""The command line: parse, call, exit code. Everything heavy is imported inside the handler that needs it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mmlib import __version__
from mmlib._io import UserError

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; no traceback reaches the terminal."""
    args = _parser().parse_args(argv)
    try:
        return int(args.handler(args))
    except UserError as exc:
        _say(f"finishline {args.verb}: {exc}")
        return 2
    except KeyboardInterrupt:
        _say(f"finishline {args.verb}: interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as exc:  # the last resort: one line for the reader, the rest in a file
        where = _keep_traceback(Path(getattr(args, "workspace", ".")))
        _say(f"finishline {args.verb}: unexpected {type(exc).__name__}: {exc}; the traceback is in {where}")
        return 3


# --- parsing ---


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="finishline",
        description="Take a market-making bot to production behind gates: prep, shadow, soak, dataset, A/B, "
        "baseline lock, daily ops, readiness.",
        epilog="examples:\n  finishline run --all --profile demo\n  finishline status\n"
        "  finishline report --open\n\n" + _EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"finishline {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
    _add_run(verbs)
    _add_steps(verbs)
    _add_baseline(verbs)
    _add_rollback(verbs)
    _add_others(verbs)
    return parser


def _verb(
    verbs: Any, name: str, handler: Callable[..., int], text: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=f"examples:\n  {example}"
    )
    parser.set_defaults(handler=handler)
    parser.add_argument(
        "--workspace", default=".", metavar="DIR", help="holds params/, artifacts/, docs/ (default: .)"
    )
    return parser


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
        "finishline run --all --profile demo\n  finishline run --step 1 --step shadow --shadow-duration 30\n"
        "  finishline run --all --profile demo --source recording:btcusdt.gz --symbols BTCUSDT\n\n"
        + _EXIT_CODES
    )
    run = _verb(verbs, "run", _run, "execute steps of the workflow", example)
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
    run.add_argument("--shadow-duration", type=float, metavar="MIN", help="length of the shadow run [min]")
    run.add_argument(
        "--resume", action="store_true", help="keep steps whose inputs have not changed since they ran"
    )
    _add_common(run)


def _add_steps(verbs: Any) -> None:
    soak = _verb(verbs, "soak", _soak, "run the soak test", "finishline soak --hours 72")
    soak.add_argument("--hours", type=float, metavar="H", help="length [h]")
    soak.add_argument("--clock", choices=("replay", "realtime"), default="replay", help="default: replay")
    _add_common(soak)

    dataset = _verb(
        verbs,
        "dataset",
        _dataset,
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
    _add_common(dataset, source=False)

    ab = _verb(
        verbs, "ab", _ab, "run one A/B rollout stage", "finishline ab --rollout-pct 10 --duration-hours 24"
    )
    ab.add_argument("--rollout-pct", type=int, required=True, metavar="PCT", help="10, 50 or 100")
    ab.add_argument("--duration-hours", type=float, metavar="H", help="length [h]")
    _add_common(ab)

    daily = _verb(
        verbs, "daily", _daily, "write the daily operations report", "finishline daily --date 2025-01-15"
    )
    daily.add_argument(
        "--date", default="latest", metavar="YYYY-MM-DD", help="default: the latest day with data"
    )
    daily.add_argument("--feeds", default="", metavar="DIR", help="a desk's own feeds")
    _add_common(daily, source=False)

    ready = _verb(
        verbs,
        "readiness",
        _readiness,
        "collect the acceptance table and the verdict",
        "finishline readiness --json",
    )
    _add_common(ready, source=False)


def _add_baseline(verbs: Any) -> None:
    baseline = _verb(
        verbs,
        "baseline",
        _baseline,
        "lock the performance baseline, or validate against it",
        "finishline baseline --lock\n  finishline baseline --validate",
    )
    which = baseline.add_mutually_exclusive_group(required=True)
    which.add_argument("--lock", action="store_true", help="lock artifacts/baseline/stage_budgets.json")
    which.add_argument(
        "--validate", action="store_true", help="compare the current budgets with the locked ones"
    )
    _add_common(baseline, source=False)


def _add_rollback(verbs: Any) -> None:
    rollback = _verb(
        verbs,
        "rollback",
        _rollback,
        "the red button: restore flags from the snapshot, or take one of the gradual ways",
        "finishline rollback --reason 'slippage up after the release'\n"
        "  finishline rollback --flag adaptive_spread.enabled --reason 'net_bps down'\n"
        "  finishline rollback --gradual sampling --reason 'tick p95 at 170 ms'",
    )
    rollback.add_argument("--flag", action="append", default=[], metavar="NAME", help="switch this flag off")
    rollback.add_argument(
        "--gradual", choices=("taker-cap", "adaptive", "sampling"), help="one step of relief"
    )
    rollback.add_argument("--reason", required=True, metavar="TEXT", help="recorded with the change")
    rollback.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_others(verbs: Any) -> None:
    status = _verb(
        verbs, "status", _status, "what ran, what is stale, what is next", "finishline status --json"
    )
    status.add_argument("--json", action="store_true", help="print the result as JSON")
    report = _verb(
        verbs, "report", _report, "write the HTML pages of the latest records", "finishline report --open"
    )
    report.add_argument("--open", action="store_true", help="open the index page in a browser")
    _verb(verbs, "lab", _lab, "open the notebooks in JupyterLab", "finishline lab")
    doctor = _verb(verbs, "doctor", _doctor, "check this machine and workspace", "finishline doctor")
    doctor.add_argument("--json", action="store_true", help="print the result as JSON")


# --- verbs that execute notebooks ---


def _run(args: argparse.Namespace) -> int:
    from mmlib.workflow.steps import STEPS, select_steps

    names = [name for group in args.step for name in group]
    keys = [step.key for step in (STEPS if args.all else select_steps(names))]
    shadow = {} if args.shadow_duration is None else {"duration_min": args.shadow_duration}
    return _execute(args, keys, {"shadow": shadow}, resume=args.resume)


def _soak(args: argparse.Namespace) -> int:
    if args.clock == "realtime":
        raise UserError("--clock realtime: not available in this version; expected replay")
    return _execute(args, ["soak"], {"soak": _given(duration_hours=args.hours)})


def _dataset(args: argparse.Namespace) -> int:
    from mmlib.workflow.params import check_range

    check_range(args.from_ts, args.to_ts, ("--from", "--to"))
    params = _given(
        from_ts=args.from_ts, to_ts=args.to_ts, interval_min=args.interval_min, feeds=_feeds(args)
    )
    return _execute(args, ["dataset"], {"dataset": params})


def _ab(args: argparse.Namespace) -> int:
    from mmlib.workflow.steps import get_step

    step = get_step("ab", rollout_pct=args.rollout_pct)
    return _execute(args, [step.key], {"ab": _given(duration_hours=args.duration_hours)})


def _daily(args: argparse.Namespace) -> int:
    return _execute(args, ["daily_ops"], {"daily_ops": _given(date=args.date, feeds=_feeds(args))})


def _readiness(args: argparse.Namespace) -> int:
    return _execute(args, ["readiness"], {})


def _execute(
    args: argparse.Namespace,
    keys: Sequence[str],
    steps: Mapping[str, Mapping[str, Any]],
    *,
    resume: bool = False,
) -> int:
    from mmlib.config.load import parse_sets
    from mmlib.workflow import verbs
    from mmlib.workflow.params import check_parameters, check_symbols
    from mmlib.workflow.plan import Options

    for given in steps.values():
        check_parameters(given)
    options = Options(
        source=getattr(args, "source", ""),
        symbols=check_symbols(args.symbols) if getattr(args, "symbols", "") else (),
        sets=parse_sets(getattr(args, "set", [])),
        steps=steps,
    )
    done = verbs.execute(_workspace(args), keys, profile=args.profile, options=options, resume=resume)
    print(json.dumps(done.to_dict(), indent=2) if args.json else done.text())
    return done.returncode


# --- the others ---


def _baseline(args: argparse.Namespace) -> int:
    if args.lock:
        return _execute(args, ["baseline_lock"], {"baseline_lock": {"lock": True}})
    from mmlib.workflow import verbs

    text, payload, code = verbs.validate_baseline(_workspace(args))
    print(json.dumps(payload, indent=2) if args.json else text)
    return code


def _rollback(args: argparse.Namespace) -> int:
    from mmlib.workflow import verbs

    text, payload = verbs.roll_back(_workspace(args), args.flag, args.gradual, args.reason)
    print(json.dumps(payload, indent=2, default=str) if args.json else text)
    return 0


def _status(args: argparse.Namespace) -> int:
    from mmlib.workflow import show, status

    states = status.overview(_workspace(args))
    following = status.next_step(states)
    if args.json:
        print(
            json.dumps({"steps": [state.to_dict() for state in states], "next": following or None}, indent=2)
        )
    else:
        print(show.states(states, following))
    return 0


def _report(args: argparse.Namespace) -> int:
    from mmlib.workflow.site import build_site

    index = build_site(_workspace(args))
    print(index)
    if args.open:
        import webbrowser

        webbrowser.open(index.as_uri())
    return 0


def _lab(args: argparse.Namespace) -> int:
    from mmlib.workflow import verbs

    return verbs.open_lab(_workspace(args))


def _doctor(args: argparse.Namespace) -> int:
    from mmlib.workflow import doctor

    checks = doctor.examine(_workspace(args))
    print(json.dumps([check.to_dict() for check in checks], indent=2) if args.json else doctor.text(checks))
    return 0 if all(check.ok for check in checks) else 2


# --- small things ---


def _workspace(args: argparse.Namespace) -> Path:
    from mmlib.workflow.record import resolve_workspace

    given = Path(args.workspace).expanduser()
    return resolve_workspace("." if args.workspace == "." else given.resolve())


def _feeds(args: argparse.Namespace) -> str:
    if not args.feeds:
        return ""
    path = Path(args.feeds).expanduser().resolve()
    if not path.is_dir():
        raise UserError(
            f"{path}: no such directory; expected one with fills_*.jsonl and pipeline_ticks_*.jsonl"
        )
    return str(path)


def _given(**values: Any) -> dict[str, Any]:
    """The options that were given: neither None nor empty."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _say(text: str) -> None:
    print(" ".join(text.split()), file=sys.stderr)


def _keep_traceback(workspace: Path) -> Path:
    """Write the current traceback below the workspace, or where temporary files go when that fails."""
    import tempfile
    import traceback
    from datetime import UTC, datetime

    from mmlib._io import write_atomic

    name = f"finishline-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    text = traceback.format_exc()
    try:
        return write_atomic(workspace / "artifacts" / "logs" / name, text)
    except (UserError, OSError):
        return write_atomic(Path(tempfile.gettempdir()) / name, text)
