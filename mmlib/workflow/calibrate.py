"""``finishline calibrate``: the search over the soak's market, its table, figure and report, and the parameters it came to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError, inside, sha256_file, write_atomic, write_json

if TYPE_CHECKING:
    from mmlib.config.profiles import Profile
    from mmlib.rollout.calibrate import Calibration, Search

HOME = Path("artifacts") / "edge" / "calibration"
SOAK_FEEDS = Path("artifacts") / "edge" / "feeds"
_HOUR_NS = 3_600_000_000_000
_NAME_CHARS = set("abcdefghijklmnopqrstuvwxyz0123456789_-")


@dataclass(frozen=True)
class Request:
    """What the command line asks for; empty texts and None stand for what the workspace says."""

    name: str = "treatment"
    profile: str = ""
    source: str = ""
    symbols: tuple[str, ...] = ()
    seed: int | None = None
    sets: Mapping[str, Any] = field(default_factory=dict)
    ranges: Sequence[str] = ()
    hours: int = 96
    train_hours: int = 48
    unseen_hours: int = 24
    trials: int = 96
    workers: int = 0
    scheduler: str = ""
    resume: bool = True
    command: str = "finishline calibrate"


@dataclass(frozen=True)
class Calibrated:
    """A finished calibration: what the gates say of the unseen hours, and what was written."""

    name: str
    passed: bool
    sentence: str
    point: Mapping[str, Any] | None
    gates: list[dict[str, Any]]
    choices: list[dict[str, Any]]
    trials: dict[str, int]
    outputs: list[str]

    def to_dict(self) -> dict[str, Any]:
        """For a machine."""
        return dict(vars(self))

    def text(self) -> str:
        """For the terminal."""
        from mmlib.workflow.table import GateTable

        status = "PASS" if self.passed else "NOT PASSED"
        made = f"{self.trials['evaluated']} trials made, {self.trials['reused']} taken from before"
        return "\n".join(
            [
                repr(GateTable(f"Calibration {self.name}", status, self.gates)),
                "",
                self.sentence,
                made,
                *self.outputs,
            ]
        )


def calibrate(ws: Path, asked: Request) -> Calibrated:
    """Search, judge on unseen hours, write.

    Raises:
        UserError: a name, range, length, source or setting that makes no search.
    """
    from mmlib.config.load import ensure_params
    from mmlib.gates.spec import load_gates
    from mmlib.rollout.unseen import judge_unseen, limits_of
    from mmlib.workflow.warming import ensure, families_of

    if not asked.name or not set(asked.name) <= _NAME_CHARS:
        raise UserError(f"--name {asked.name!r}: expected lower-case letters, digits, dashes, underscores")
    if ensure_params(ws):
        sys.stderr.write(f"{ws / 'params'}: was not complete; the shipped parameters were copied\n")
    book = load_gates(ws)
    search, origin = _search(ws, asked)
    ensure(families_of(["soak"], origin["market"]))
    search.limits = limits_of(book)
    done = search.run()
    last = done.choices[-1]
    results, experiment = judge_unseen(book, last, done.money, evidence=origin["market"])
    passed = bool(results) and all(result.passed for result in results)
    outputs = _write(ws, asked, done, results, experiment, origin, passed)
    return Calibrated(
        name=asked.name,
        passed=passed,
        sentence=_sentence(done, passed, asked),
        point=last.point,
        gates=[result.to_dict() for result in results],
        choices=[_choice(choice) for choice in done.choices],
        trials={"evaluated": done.evaluated, "reused": done.reused},
        outputs=[str(path) for path in outputs],
    )


def _search(ws: Path, asked: Request) -> tuple[Search, dict[str, Any]]:
    """The search that the request and the workspace make, and where its market comes from."""
    from mmlib.config.load import SOAK_OVERRIDES_FILE, load_config
    from mmlib.config.profiles import load_profile
    from mmlib.feeds.sidecar import read_sidecar
    from mmlib.rollout.calibrate import Search, next_full_hour_ns, walk_forward
    from mmlib.rollout.searchspace import default_ranges, parse_ranges
    from mmlib.rollout.trials import Store
    from mmlib.workflow.plan import absolute_source

    profile = load_profile(ws, asked.profile) if asked.profile else None
    sidecar = None if asked.source else read_sidecar(ws / SOAK_FEEDS)
    spec = dict(sidecar["spec"]) if sidecar and "spec" in sidecar else {}
    sets = {**(profile.sets if profile else {}), **_stage_sets(profile), **asked.sets}
    overrides = [ws / SOAK_OVERRIDES_FILE] if (ws / SOAK_OVERRIDES_FILE).is_file() else []
    config = load_config(ws, overrides, sets)
    uri = asked.source or spec.get("uri") or (profile.source if profile else "simulated")
    uri = absolute_source(uri, Path.cwd() if asked.source else ws)
    if uri.startswith("feeds:"):
        raise UserError(
            f"--source {uri}: feeds are no market to replay; expected simulated or recording:PATH"
        )
    symbols = asked.symbols or tuple(spec.get("symbols") or (profile.symbols if profile else ()))
    if not symbols:
        raise UserError("--symbols: expected such as BTCUSDT,ETHUSDT; no soak and no profile names any")
    seed = asked.seed if asked.seed is not None else int(spec.get("seed", profile.seed if profile else 7))
    walk_forward(asked.hours, asked.train_hours, asked.unseen_hours)
    ranges = parse_ranges(asked.ranges, default_ranges(config.config.quoting.base_spread_bps))
    market = _market(uri, symbols, config.config, spec, profile, seed)
    store = Store(ws / HOME / "trials")
    if not asked.resume:
        import shutil

        shutil.rmtree(store.home, ignore_errors=True)
    first_ns = next_full_hour_ns(_first_ns(market, symbols, config.config, asked.hours))
    search = Search(
        market=market, config=config.config, symbols=tuple(symbols), first_ns=first_ns, hours=asked.hours,
        train_h=asked.train_hours, unseen_h=asked.unseen_hours, ranges=ranges, trials=asked.trials, seed=seed,
        store=store, workers=asked.workers or os.cpu_count() or 1, scheduler=asked.scheduler, progress=_trials_done,
    )  # fmt: skip
    datasets = sorted((ws / "artifacts/edge/datasets").glob("calib_*.json"))
    origin = {
        "market": f"{uri}, {', '.join(symbols)}, seed {seed}, {asked.hours} h from {_iso(first_ns)}",
        "soak": bool(spec) and not asked.source,
        "dataset": f"{datasets[-1].name} {sha256_file(datasets[-1])[:16]}" if datasets else "",
        "config_sha256": config.sha256,
        "ranges": ranges,
        "simulated": uri == "simulated",
    }
    return search, origin


def _market(
    uri: str, symbols: Sequence[str], config: Any, spec: Mapping[str, Any], profile: Profile | None, seed: int
) -> Any:
    """The market, with its identity: what the soak ran on where nothing else was asked for."""
    from mmlib.engine.window import market_source
    from mmlib.rollout.trials import Market

    if uri == "simulated":
        start_ns = (
            int(spec["start_ns"]) if spec else profile.start_ns if profile else 1_736_899_200_000_000_000
        )
        return Market(uri, seed, start_ns, float(spec.get("offset_s", 0.0)))
    digests = [market_source(uri, symbol, config, seed=seed).sha256 for symbol in symbols]
    return Market(uri, seed, 0, 0.0, "+".join(digests))


def _first_ns(market: Any, symbols: Sequence[str], config: Any, hours: int) -> int:
    """Where every symbol's market has begun.

    Raises:
        UserError: a recording that is shorter than the hours asked for.
    """
    from mmlib.engine.window import market_source
    from mmlib.rollout.calibrate import next_full_hour_ns

    if market.uri == "simulated":
        return int(market.start_ns + market.offset_s * 1e9)
    sources = [market_source(market.uri, symbol, config, seed=market.seed) for symbol in symbols]
    first = max(source.start_ns for source in sources)
    ends = [source.end_ns for source in sources if source.end_ns is not None]
    there = (min(ends) - next_full_hour_ns(first)) // _HOUR_NS if ends else hours
    if hours > there:
        raise UserError(f"--hours {hours}: the recording covers {there} full hours; expected at most that")
    return first


def _stage_sets(profile: Profile | None) -> dict[str, Any]:
    """Settings that the profile gives the A/B stages: the arms have to be calibrated as they will run."""
    return dict((profile.steps.get("ab_10", {}) if profile else {}).get("sets") or {})


def _write(
    ws: Path,
    asked: Request,
    done: Calibration,
    results: Sequence[Any],
    experiment: Any,
    origin: Mapping[str, Any],
    passed: bool,
) -> list[Path]:
    """The parameters, the search table, the figure and the report."""
    from mmlib.config.treatment import CALIBRATED
    from mmlib.figures import calibration as figures
    from mmlib.reports import calibration as reports
    from mmlib.reports.render import Provenance

    home = inside(ws, HOME / asked.name)
    last = done.choices[-1]
    outputs = []
    if last.point is not None:
        text = reports.parameters(
            last, passed=passed, name=asked.name, market=origin["market"], command=asked.command
        )
        outputs.append(write_atomic(inside(ws, CALIBRATED / f"{asked.name}.yaml"), text))
    table = home / "search.parquet"
    table.parent.mkdir(parents=True, exist_ok=True)
    part = table.with_suffix(".parquet.part")
    done.table.to_parquet(part, index=False)
    part.replace(table)
    outputs.append(table)
    rows = json.loads(done.table.to_json(orient="records"))
    outputs.append(
        write_json(home / "search.json", {"trials": rows, "choices": [_choice(c) for c in done.choices]})
    )
    figure = figures.search(done.table, _marks(done))
    outputs.append(write_atomic(home / "search.html", figure.to_html(include_plotlyjs=True)))
    provenance = Provenance(asked.command, None, origin["market"], config_sha256=origin["config_sha256"])
    report = reports.calibration(
        done, results, experiment, provenance, origin=origin, passed=passed, name=asked.name,
        lengths=(asked.hours, asked.train_hours, asked.unseen_hours),
    )  # fmt: skip
    outputs.append(write_atomic(inside(ws, f"artifacts/edge/reports/calibration_{asked.name}.md"), report))
    return outputs


def _marks(done: Calibration) -> Any:
    """The choices as rows: fold, stretch, net_bps, net_se, slippage_bps, slippage_se."""
    import pandas as pd

    rows = []
    for choice in done.choices:
        for stretch, score in (("train", choice.train), ("unseen", choice.unseen)):
            if score is not None:
                rows.append({"fold": choice.fold, "stretch": stretch, **vars(score)})
    return pd.DataFrame(rows, columns=["fold", "stretch", "net_bps", "net_se", "slippage_bps", "slippage_se"])


def _choice(choice: Any) -> dict[str, Any]:
    return {
        "fold": choice.fold,
        "candidates": choice.candidates,
        "point": choice.point,
        "train": None if choice.train is None else _plain(vars(choice.train)),
        "unseen": None if choice.unseen is None else _plain(vars(choice.unseen)),
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in values.items()}


def _sentence(done: Calibration, passed: bool, asked: Request) -> str:
    last = done.choices[-1]
    if last.train is None or last.unseen is None:
        return f"No parameters kept the safety gates on the train hours, of {last.candidates} tried; nothing was written."
    seen, unseen = last.train, last.unseen
    told = (
        f"chosen at {seen.net_bps:+.3f} bps net on {seen.buckets} train hours, {unseen.net_bps:+.3f} bps "
        f"(slippage {unseen.slippage_bps:+.3f}) on the {unseen.buckets} unseen hours after them"
    )
    if passed:
        return f"Passes the A/B acceptance on unseen hours: {told}."
    return f"Does not pass the A/B acceptance on unseen hours: {told}. Do not promote it as calibrated."


def _trials_done(done: int, of: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {of} trials")
        sys.stderr.flush()


def _iso(ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
