"""The command line: parse, call, exit code. Everything heavy is imported inside the handler that needs it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmlib._io import UserError, shipped_dir
from mmlib.workflow.arguments import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; no traceback reaches the terminal."""
    args = parser().parse_args(argv)
    args.command = sys.argv[1:] if argv is None else list(argv)
    _end_as_interrupted()
    try:
        return _HANDLERS[args.verb](args)
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


# --- verbs that execute notebooks ---


def _run(args: argparse.Namespace) -> int:
    from mmlib.workflow.steps import STEPS, select_steps

    names = [name for group in args.step for name in group]
    keys = [step.key for step in (STEPS if args.all else select_steps(names))]
    shadow = {} if args.shadow_duration is None else {"duration_min": args.shadow_duration}
    return _execute(args, keys, {"shadow": shadow}, resume=args.resume, go_on=args.resume)


def _soak(args: argparse.Namespace) -> int:
    if args.incident:
        args.set = [*args.set, f"rehearsal.incidents={json.dumps(args.incident)}"]
    return _execute(args, ["soak"], {"soak": _given(duration_hours=args.hours)}, go_on=args.resume)


def _dataset(args: argparse.Namespace) -> int:
    from mmlib.workflow.params import check_range

    check_range(args.from_ts, args.to_ts, ("--from", "--to"))
    params = _given(
        from_ts=args.from_ts,
        to_ts=args.to_ts,
        interval_min=args.interval_min,
        feeds=_feeds(args),
        workers=args.workers,
        scheduler=args.scheduler,
    )
    return _execute(args, ["dataset"], {"dataset": params})


def _ab(args: argparse.Namespace) -> int:
    from mmlib.workflow.steps import get_step

    if args.aa:
        return _aa(args)
    step = get_step("ab", rollout_pct=args.rollout_pct)
    return _execute(
        args, [step.key], {"ab": _given(duration_hours=args.duration_hours, treatment=args.treatment)}
    )


def _aa(args: argparse.Namespace) -> int:
    from mmlib.workflow.ab_aa import measure_errors

    done = measure_errors(
        _workspace(args),
        profile=args.profile,
        options=_options(args, {"ab": _given(duration_hours=args.duration_hours)}),
        runs=args.runs,
        stages=args.stages,
        command=args.command,
    )
    print(json.dumps(done.to_dict(), indent=2) if args.json else done.text())
    return done.returncode


def _daily(args: argparse.Namespace) -> int:
    from mmlib.workflow import operations

    given = _given(feeds=_feeds(args))
    if args.catch_up and args.date != "latest":
        raise UserError("daily: --date and --catch-up were both given; expected one of them")

    if args.week:
        print(operations.write_week(_workspace(args), args.date))
        return 0

    def one(day: str) -> int:
        return _execute(args, ["daily_ops"], {"daily_ops": {"date": day, **given}})

    return operations.run_days(
        _workspace(args),
        args.date,
        one,
        feeds=given.get("feeds", ""),
        catch_up=args.catch_up,
        tell=args.notify,
    )


def _readiness(args: argparse.Namespace) -> int:
    return _execute(args, ["readiness"], {})


def _execute(
    args: argparse.Namespace,
    keys: Sequence[str],
    steps: Mapping[str, Mapping[str, Any]],
    *,
    resume: bool = False,
    go_on: bool = False,
) -> int:
    from mmlib.workflow import ahead
    from mmlib.workflow.steps import get_step

    # before our own imports, which take a second as well
    ahead.prepare(shipped_dir("notebooks") / f"{get_step(key).notebook}.ipynb" for key in keys)
    from mmlib.engine.realtime.options import RESUME_ENV
    from mmlib.workflow import verbs
    from mmlib.workflow.provenance import COMMAND_ENV

    options = _options(args, steps)
    os.environ[RESUME_ENV] = "1" if go_on else ""
    os.environ[COMMAND_ENV] = shlex.join(["finishline", *args.command])
    done = verbs.execute(_workspace(args), keys, profile=args.profile, options=options, resume=resume)
    print(json.dumps(done.to_dict(), indent=2) if args.json else done.text())
    return done.returncode


def _options(args: argparse.Namespace, steps: Mapping[str, Mapping[str, Any]]) -> Any:
    """What the command line says of a run, checked."""
    from mmlib.config.load import parse_sets
    from mmlib.workflow.params import check_parameters, check_symbols
    from mmlib.workflow.plan import Options

    for given in steps.values():
        check_parameters(given)
    return Options(
        source=getattr(args, "source", ""),
        symbols=check_symbols(args.symbols) if getattr(args, "symbols", "") else (),
        sets=parse_sets(getattr(args, "set", [])),
        steps=steps,
        clock=getattr(args, "clock", None) or "",
        live_url=getattr(args, "live_url", ""),
        record=getattr(args, "record", ""),
    )


# --- the others ---


def _baseline(args: argparse.Namespace) -> int:
    if args.lock:
        given = _given(lock=True, rounds=args.rounds)
        return _execute(args, ["baseline_lock"], {"baseline_lock": given})
    from mmlib.workflow import verbs
    from mmlib.workflow.params import check_parameters

    check_parameters(_given(rounds=args.rounds))
    text, payload, code = verbs.validate_baseline(_workspace(args), rounds=args.rounds)
    print(json.dumps(payload, indent=2) if args.json else text)
    return code


def _calibrate(args: argparse.Namespace) -> int:
    from mmlib.config.load import parse_sets
    from mmlib.workflow.calibrate import Request, calibrate
    from mmlib.workflow.params import check_symbols

    asked = Request(
        name=args.name, profile=args.profile, source=args.source,
        symbols=check_symbols(args.symbols) if args.symbols else (), seed=args.seed, sets=parse_sets(args.set),
        ranges=args.range, hours=args.hours, train_hours=args.train_hours, unseen_hours=args.unseen_hours,
        trials=args.trials, workers=args.workers, scheduler=args.scheduler, resume=args.resume,
        command=shlex.join(["finishline", *args.command]),
    )  # fmt: skip
    done = calibrate(_workspace(args), asked)
    print(json.dumps(done.to_dict(), indent=2) if args.json else done.text())
    return 0 if done.passed else 1


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


def _calibrate_market(args: argparse.Namespace) -> int:
    from mmlib.workflow import market_study

    output = Path(args.output).expanduser() if args.output else None
    options = market_study.MarketOptions(
        Path(args.recording).expanduser(),
        args.symbol,
        output,
        tick_size=args.tick_size,
        lot_size=args.lot_size,
        hours=args.hours,
        seed=args.seed,
    )
    if args.preset:
        if output is not None:
            raise UserError("--preset, -o: expected one of them; a preset that is there is not written again")
        done = market_study.compare_market(options, args.preset)
    else:
        done = market_study.calibrate_market(options, lambda k, n: _say(f"pilot {k} of {n}"))
    print(json.dumps(done.to_dict(), indent=2) if args.json else done.text())
    return 0


def _replay(args: argparse.Namespace) -> int:
    from mmlib.workflow import own_orders

    given = {name: value for name, value in vars(args).items() if name not in ("verb", "workspace", "json")}
    paths = ("orders", "output", "order_latency", "actual")
    given |= {name: Path(given[name]).expanduser() for name in paths if given[name] is not None}
    recordings = tuple(Path(path).expanduser() for path in given.pop("recording"))
    command = shlex.join(["finishline", *args.command])
    done = own_orders.replay(own_orders.ReplayOptions(recordings=recordings, **given | {"command": command}))
    print(json.dumps(done.to_dict(), indent=2) if args.json else done.text())
    return 0


def _feeds_verb(args: argparse.Namespace) -> int:
    from mmlib.workflow import feed_verbs

    if args.action == "schema":
        print(feed_verbs.schema_text(args.kind))
        return 0
    if args.action == "check":
        done = feed_verbs.check(Path(args.directory).expanduser(), args.from_ts, args.to_ts)
    else:
        files = [Path(name).expanduser() for name in args.file]
        done = feed_verbs.bring(_workspace(args), files, args.mapping, Path(args.output).expanduser())
    print(json.dumps(done.payload, indent=2) if args.json else done.text)
    return done.returncode


def _record(args: argparse.Namespace) -> int:
    from mmlib.workflow import live_verbs

    text, payload = live_verbs.record(args)
    print(json.dumps(payload, indent=2) if args.json else text)
    return 0


def _loopback(args: argparse.Namespace) -> int:
    from mmlib.workflow import live_verbs

    live_verbs.loopback(args)
    return 0


def _watch(args: argparse.Namespace) -> int:
    from mmlib.workflow import watch

    return watch.show(_workspace(args), once=args.once)


def _report(args: argparse.Namespace) -> int:
    from mmlib.workflow.site import build_single, build_site

    index = build_site(_workspace(args))
    if args.single_file:
        index = build_single(_workspace(args), Path(args.single_file).expanduser().absolute())
    print(index)
    if args.open:
        import webbrowser

        webbrowser.open(index.as_uri())
    return 0


def _alerts(args: argparse.Namespace) -> int:
    from mmlib.workflow import operations

    done = operations.write_alerts(_workspace(args), check=args.check)
    print(json.dumps(done.to_dict(), indent=2) if args.json else done.text())
    return done.returncode


def _schedule(args: argparse.Namespace) -> int:
    from mmlib.workflow import schedule

    ws = _workspace(args)
    job = schedule.the_job(ws, args.at)
    if args.action == "status":
        found = schedule.state(job, ws)
        print(json.dumps(found, indent=2) if args.json else schedule.state_text(found))
        return 0
    if args.action == "remove":
        print("\n".join(schedule.remove(job, schedule.asks(args.yes))))
        return 0
    if not args.kind:
        raise UserError(f"schedule install: expected --kind {' or '.join(schedule.KINDS)}")
    print("\n".join(schedule.install(job, args.kind, schedule.asks(args.yes))))
    return 0


def _lab(args: argparse.Namespace) -> int:
    from mmlib.workflow import verbs

    return verbs.open_lab(_workspace(args), browser=not args.no_browser, port=args.port)


def _doctor(args: argparse.Namespace) -> int:
    from mmlib.workflow import doctor

    checks = doctor.examine(_workspace(args))
    print(json.dumps([check.to_dict() for check in checks], indent=2) if args.json else doctor.text(checks))
    return 2 if any(check.ok is False for check in checks) else 0


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
        from mmlib.workflow.plan import FEED_FILES

        raise UserError(f"{path}: no such directory; expected one with {FEED_FILES}")
    return str(path)


def _given(**values: Any) -> dict[str, Any]:
    """The options that were given: neither None nor empty."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _end_as_interrupted() -> None:
    """SIGTERM ends a verb as Ctrl-C does, so that a session is closed and not cut."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))


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


_HANDLERS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "soak": _soak,
    "dataset": _dataset,
    "ab": _ab,
    "daily": _daily,
    "readiness": _readiness,
    "baseline": _baseline,
    "calibrate": _calibrate,
    "rollback": _rollback,
    "status": _status,
    "replay": _replay,
    "record": _record,
    "loopback": _loopback,
    "watch": _watch,
    "calibrate-market": _calibrate_market,
    "feeds": _feeds_verb,
    "report": _report,
    "alerts": _alerts,
    "schedule": _schedule,
    "lab": _lab,
    "doctor": _doctor,
}
