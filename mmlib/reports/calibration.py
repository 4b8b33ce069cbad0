"""The report of a calibration, and the parameter file that it came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from mmlib.reports.render import Provenance, Table, code, render
from mmlib.reports.verdict import gate_table, judge
from mmlib.rollout.calibrate import Calibration, Choice, Score, as_overrides
from mmlib.rollout.experiment import Experiment

_SHOWN = 10
_FOLD_COLUMNS = {
    "buckets": "Hours>",
    "net_bps": "Net B - A [bps]>",
    "net_se": "± s.e.>",
    "slippage_bps": "Slippage cost, B - A [bps]>",
    "slippage_se": "± s.e.>",
    "taker_share_pct": "Taker B [%]>",
    "deadline_miss_pct": "Misses B [%]>",
}


def parameters(choice: Choice, *, passed: bool, name: str, market: str, command: str) -> str:
    """``params/calibrated/NAME.yaml``: an override file whose head says how much it is worth."""
    assert choice.point is not None and choice.train is not None and choice.unseen is not None
    verdict = (
        "passed the A/B acceptance gates on hours it was not chosen on"
        if passed
        else "did NOT pass the A/B acceptance gates on hours it was not chosen on; not to be promoted as calibrated"
    )
    head = [
        f"Treatment {name}: {verdict}.",
        f"Chosen on {choice.train.buckets} hours ({_figures(choice.train)}),",
        f"judged on the {choice.unseen.buckets} after them ({_figures(choice.unseen)}).",
        f"Market: {market}.",
        f"Made by: {command}",
    ]
    body = yaml.safe_dump(as_overrides(choice.point), sort_keys=False)
    return "".join(f"# {' '.join(line.split())}\n" for line in head) + body


def calibration(
    done: Calibration,
    results: Iterable[Any],
    experiment: Experiment,
    provenance: Provenance,
    *,
    origin: Mapping[str, Any],
    passed: bool,
    name: str,
    lengths: Sequence[int],
) -> str:
    """The report of a calibration.

    Args:
        results: the A/B gates on the unseen hours of the last fold.
        experiment: the paired experiment of those hours.
        origin: market, dataset, ranges; whether the soak's market was taken.
        lengths: hours searched, of a train stretch, of an unseen stretch.
    """
    results = list(results)
    last = done.choices[-1]
    return render(
        "calibration.md.j2",
        provenance,
        name=name,
        passed=passed,
        verdict=judge(results),
        gates=gate_table(results),
        lengths=lengths,
        origin=origin,
        folds=_folds(done.choices),
        chosen=_chosen(last, origin["ranges"]),
        best=_best(done, last.fold),
        n_trials=len(done.table[done.table["fold"] == last.fold]),
        kept=int(done.table.loc[done.table["fold"] == last.fold, "keeps_gates"].sum()),
        buckets=experiment.buckets,
    )


def _figures(score: Score) -> str:
    net, slippage = (
        f"{score.net_bps:+.3f} ± {score.net_se:.3f}",
        f"{score.slippage_bps:+.3f} ± {score.slippage_se:.3f}",
    )
    return f"net {net} bps, slippage {slippage} bps"


def _folds(choices: Sequence[Choice]) -> Table:
    rows: list[tuple[object, ...]] = []
    for choice in choices:
        for stretch, score in (("train", choice.train), ("unseen", choice.unseen)):
            numbers = [None] * 7 if score is None else [getattr(score, name) for name in _FOLD_COLUMNS]
            rows.append((choice.fold + 1, stretch, *numbers))
    return Table(("Fold>", "Stretch", *_FOLD_COLUMNS.values()), rows, "No fold.")


def _chosen(choice: Choice, ranges: Sequence[Any]) -> Table:
    found = choice.point or {}
    rows = [(code(one.key), f"{one.low:g} to {one.high:g}", found.get(one.key)) for one in ranges]
    return Table(("Key", "Searched", "Chosen>"), rows)


def _best(done: Calibration, fold: int) -> Table:
    part = done.table[done.table["fold"] == fold].sort_values(
        ["keeps_gates", "edge"], ascending=False, kind="stable"
    )
    keys = [name for name in part.columns if "." in name]
    shown = part.head(_SHOWN)
    rows = [
        (row["keeps_gates"], row["net_bps"], row["net_se"], row["slippage_bps"], *(row[key] for key in keys))
        for row in shown.to_dict("records")
    ]
    headings = (
        "Keeps the gates",
        "Net [bps]>",
        "± s.e.>",
        "Slippage [bps]>",
        *(f"{key.split('.')[1]}>" for key in keys),
    )
    return Table(headings, rows, "No trial.")
