"""The verbs beside the notebooks: records, recordings, reports, alerts, schedules, the machine."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from mmlib._io import UserError
from mmlib.cli.shared import say, show, workspace


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
    done = calibrate(workspace(args), asked)
    show(args, done.to_dict(), done.text())
    return 0 if done.passed else 1


def _rollback(args: argparse.Namespace) -> int:
    from mmlib.workflow import verbs

    text, payload = verbs.roll_back(workspace(args), args.flag, args.gradual, args.reason)
    show(args, payload, text)
    return 0


def _status(args: argparse.Namespace) -> int:
    from mmlib.workflow import show as tables
    from mmlib.workflow import status

    states = status.overview(workspace(args))
    following = status.next_step(states)
    payload = {"steps": [state.to_dict() for state in states], "next": following or None}
    show(args, payload, tables.states(states, following))
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
        done = market_study.calibrate_market(options, lambda k, n: say(f"pilot {k} of {n}"))
    show(args, done.to_dict(), done.text())
    return 0


def _replay(args: argparse.Namespace) -> int:
    from mmlib.workflow import own_orders

    given = {name: value for name, value in vars(args).items() if name not in ("verb", "workspace", "json")}
    paths = ("orders", "output", "order_latency", "actual")
    given |= {name: Path(given[name]).expanduser() for name in paths if given[name] is not None}
    recordings = tuple(Path(path).expanduser() for path in given.pop("recording"))
    command = shlex.join(["finishline", *args.command])
    done = own_orders.replay(own_orders.ReplayOptions(recordings=recordings, **given | {"command": command}))
    show(args, done.to_dict(), done.text())
    return 0


def _sweep(args: argparse.Namespace) -> int:
    from mmlib.workflow import sweep

    given = {name: value for name, value in vars(args).items() if name not in ("verb", "workspace", "json")}
    recordings = tuple(Path(path).expanduser() for path in given.pop("recording"))
    given |= {"output": Path(args.output).expanduser(), "command": shlex.join(["finishline", *args.command])}
    done = sweep.sweep(sweep.SweepOptions(recordings=recordings, **given))
    show(args, done.to_dict(), done.text())
    return 0


def _feeds_verb(args: argparse.Namespace) -> int:
    from mmlib.metrics.farm import Shown
    from mmlib.workflow import feed_verbs

    if args.action == "schema":
        print(feed_verbs.schema_text(args.kind))
        return 0
    progress = None if args.json else Shown()
    if args.action == "check":
        done = feed_verbs.check(Path(args.directory).expanduser(), args.from_ts, args.to_ts, progress)
    else:
        files = [Path(name).expanduser() for name in args.file]
        output = Path(args.output).expanduser()
        done = feed_verbs.bring(workspace(args), files, args.mapping, output, progress)
    show(args, done.payload, done.text)
    return done.returncode


def _record(args: argparse.Namespace) -> int:
    from mmlib.workflow import live_verbs

    text, payload = live_verbs.record(args)
    show(args, payload, text)
    return 0


def _loopback(args: argparse.Namespace) -> int:
    from mmlib.workflow import live_verbs

    live_verbs.loopback(args)
    return 0


def _exchange(args: argparse.Namespace) -> int:
    from mmlib.workflow import exchange_verb

    if args.check:
        text, payload, code = exchange_verb.check(args)
        show(args, payload, text)
        return code
    exchange_verb.serve(args)
    return 0


def _watch(args: argparse.Namespace) -> int:
    from mmlib.workflow import watch

    return watch.show(workspace(args), once=args.once)


def _report(args: argparse.Namespace) -> int:
    from mmlib.workflow.readiness import JSON_PATH, unconfirmed
    from mmlib.workflow.site import build_single, build_site

    index = build_site(workspace(args))
    if args.single_file:
        index = build_single(workspace(args), Path(args.single_file).expanduser().absolute())
    print(index)
    if wrong := unconfirmed(workspace(args)):
        print(f"the verdict in {JSON_PATH} is not confirmed: {'; '.join(wrong)}", file=sys.stderr)
    if args.open:
        import webbrowser

        webbrowser.open(index.as_uri())
    return 1 if wrong else 0


def _alerts(args: argparse.Namespace) -> int:
    from mmlib.workflow import operations

    done = operations.write_alerts(workspace(args), check=args.check)
    show(args, done.to_dict(), done.text())
    return done.returncode


def _schedule(args: argparse.Namespace) -> int:
    from mmlib.workflow import schedule

    ws = workspace(args)
    job = schedule.the_job(ws, args.at)
    if args.action == "status":
        found = schedule.state(job, ws)
        show(args, found, schedule.state_text(found))
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

    return verbs.open_lab(workspace(args), browser=not args.no_browser, port=args.port)


def _doctor(args: argparse.Namespace) -> int:
    from mmlib.workflow import doctor

    checks = doctor.examine(workspace(args))
    show(args, [check.to_dict() for check in checks], doctor.text(checks))
    return 2 if any(check.ok is False for check in checks) else 0


def _warm(args: argparse.Namespace) -> int:
    from mmlib.workflow import warming
    from mmlib.workflow.warm_arguments import DEMO, FAMILIES

    known = {"demo": DEMO} | {name: (name,) for name in FAMILIES}
    for name in args.family:
        if name not in known:
            raise UserError(f"warm: {name}: no such family of kernels; expected {', '.join(known)}")
    wanted = {name for asked in args.family for name in known[asked]} or set(FAMILIES)
    with warming.Shown() as shown:
        done = warming.warm([name for name in FAMILIES if name in wanted], shown, check=args.check)
    show(args, done.to_dict(), done.text())
    return 1 if done.missing else 0


HANDLERS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "calibrate": _calibrate,
    "rollback": _rollback,
    "status": _status,
    "replay": _replay,
    "sweep": _sweep,
    "record": _record,
    "loopback": _loopback,
    "exchange": _exchange,
    "watch": _watch,
    "calibrate-market": _calibrate_market,
    "feeds": _feeds_verb,
    "report": _report,
    "alerts": _alerts,
    "schedule": _schedule,
    "lab": _lab,
    "doctor": _doctor,
    "warm": _warm,
}
