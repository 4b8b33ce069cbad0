"""The verbs that execute notebooks, and what goes with them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmlib._io import UserError, shipped_dir
from mmlib.cli.shared import feeds, only_given, show, workspace


def _run(args: argparse.Namespace) -> int:
    from mmlib.workflow.steps import STEPS, select_steps

    names = [name for group in args.step for name in group]
    keys = [step.key for step in (STEPS if args.all else select_steps(names))]
    shadow = {} if args.shadow_duration is None else {"duration_min": args.shadow_duration}
    soak: dict[str, Any] = {}
    if args.bot:
        shadow["bot"] = soak["bot"] = args.bot
    return _execute(args, keys, {"shadow": shadow, "soak": soak}, resume=args.resume, go_on=args.resume)


def _soak(args: argparse.Namespace) -> int:
    if args.incident:
        args.set = [*args.set, f"rehearsal.incidents={json.dumps(args.incident)}"]
    return _execute(
        args, ["soak"], {"soak": only_given(duration_hours=args.hours, bot=args.bot)}, go_on=args.resume
    )


def _dataset(args: argparse.Namespace) -> int:
    from mmlib.workflow.params import check_range

    check_range(args.from_ts, args.to_ts, ("--from", "--to"))
    params = only_given(
        from_ts=args.from_ts,
        to_ts=args.to_ts,
        interval_min=args.interval_min,
        feeds=feeds(args),
        workers=args.workers,
        scheduler=args.scheduler,
    )
    return _execute(args, ["dataset"], {"dataset": params})


def _ab(args: argparse.Namespace) -> int:
    from mmlib.workflow.steps import get_step

    if args.aa:
        return _aa(args)
    if args.plan:
        return _plan(args)
    step = get_step("ab", rollout_pct=args.rollout_pct)
    return _execute(
        args,
        [step.key],
        {
            "ab": only_given(
                duration_hours=args.duration_hours, treatment=args.treatment, bots=args.bot or None
            )
        },
    )


def _plan(args: argparse.Namespace) -> int:
    from mmlib.workflow.ab_plan import plan_stages

    table, said = plan_stages(workspace(args), feeds=feeds(args), stages=args.stages)
    text = "\n".join([table.to_string(index=False), "", f"{said[0].upper()}{said[1:]}."])
    show(args, {"rows": table.to_dict("records"), "sentence": said}, text)
    return 0


def _aa(args: argparse.Namespace) -> int:
    from mmlib.workflow.ab_aa import measure_errors

    done = measure_errors(
        workspace(args),
        profile=args.profile,
        options=_options(args, {"ab": only_given(duration_hours=args.duration_hours)}),
        runs=args.runs,
        stages=args.stages,
        rollout=args.rollout,
        command=args.command,
    )
    show(args, done.to_dict(), done.text())
    return done.returncode


def _daily(args: argparse.Namespace) -> int:
    from mmlib.workflow import operations

    given = only_given(feeds=feeds(args))
    if args.catch_up and args.date != "latest":
        raise UserError("daily: --date and --catch-up were both given; expected one of them")

    if args.week:
        print(operations.write_week(workspace(args), args.date))
        return 0

    def one(day: str) -> int:
        return _execute(args, ["daily_ops"], {"daily_ops": {"date": day, **given}}, operations.day_facts)

    return operations.run_days(
        workspace(args),
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
    facts: Callable[[Path], Mapping[str, str]] | None = None,
    *,
    resume: bool = False,
    go_on: bool = False,
) -> int:
    from mmlib.workflow import ahead
    from mmlib.workflow.steps import get_step

    # before our own imports, which take a second as well
    ahead.prepare(shipped_dir("notebooks") / f"{get_step(key).notebook}.ipynb" for key in keys)
    from mmlib.config.masking import mask_words
    from mmlib.engine.realtime.options import RESUME_ENV
    from mmlib.workflow import verbs
    from mmlib.workflow.provenance import COMMAND_ENV

    options = _options(args, steps)
    os.environ[RESUME_ENV] = "1" if go_on else ""
    os.environ[COMMAND_ENV] = shlex.join(["finishline", *mask_words(args.command)])
    done = verbs.execute(workspace(args), keys, profile=args.profile, options=options, resume=resume)
    more = dict(facts(workspace(args))) if facts is not None else {}
    said = f"\n\n{' - '.join(more.values())}" if more else ""
    show(args, done.to_dict() | more, done.text() + said)
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
        through=getattr(args, "through", False),
    )


def _baseline(args: argparse.Namespace) -> int:
    if args.lock:
        given = only_given(lock=True, rounds=args.rounds)
        return _execute(args, ["baseline_lock"], {"baseline_lock": given})
    from mmlib.workflow import verbs
    from mmlib.workflow.params import check_parameters

    check_parameters(only_given(rounds=args.rounds))
    text, payload, code = verbs.validate_baseline(workspace(args), rounds=args.rounds)
    show(args, payload, text)
    return code


HANDLERS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "soak": _soak,
    "dataset": _dataset,
    "ab": _ab,
    "daily": _daily,
    "readiness": _readiness,
    "baseline": _baseline,
}
