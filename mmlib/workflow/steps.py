"""The table of steps: order, notebook, dependencies, outputs and the acceptance rows of the workflow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mmlib._io import UserError

_NO_PARAMS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Step:
    """One execution of one notebook.

    ``fixed`` are parameters that make the step what it is, ``outputs`` are glob patterns below the workspace,
    ``gate`` and ``requirement`` are the step's row in the final acceptance table (empty: it has none).
    """

    key: str
    number: int
    notebook: str
    record: str  # stem of the executed notebook in artifacts/runs/<run_id>/
    title: str
    gate: str = ""
    requirement: str = ""
    depends: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=lambda: _NO_PARAMS)
    overrides: bool = False  # runs with params/config.soak_overrides.yaml merged in
    after: tuple[str, ...] = ()  # steps of the same run that it follows without building on them
    measures: bool = False  # its durations are results, so nothing runs beside it

    @property
    def family(self) -> str:
        """Name that the stages of one notebook share: ``ab`` for the three A/B stages, else the key."""
        return "ab" if self.key.startswith("ab_") else self.key


ROLLOUT_PCTS = (10, 50, 100)
"""The rollout stages of the workflow [% of units that trade with the treatment]."""

_AB_REQUIREMENT = "Δnet_bps >= +0.2, no regressions"


def _ab(pct: int, depends: tuple[str, ...]) -> Step:
    return Step(
        key=f"ab_{pct}",
        number=5,
        notebook="05_ab",
        record=f"05_ab_{pct}",
        title=f"A/B {pct} %",
        gate=f"Step 5: A/B {pct}%",
        requirement=_AB_REQUIREMENT,
        depends=depends,
        outputs=("artifacts/edge/reports/ab_run_online_*.md",),
        fixed=MappingProxyType({"rollout_pct": pct}),
        overrides=True,
        measures=True,
    )


STEPS: tuple[Step, ...] = (
    Step(
        key="prep",
        number=1,
        notebook="01_prep",
        record="01_prep",
        title="Prep and overrides",
        gate="Step 1: Prep",
        requirement="Config validated, snapshots created",
        outputs=("artifacts/release/FEATURE_FLAGS_SNAPSHOT.json", "artifacts/reports/PREP_LOG.md"),
    ),
    Step(
        key="shadow",
        number=2,
        notebook="02_shadow",
        record="02_shadow",
        title="Shadow",
        gate="Step 2: Shadow 60m",
        requirement="All 4 metrics PASS gates",
        depends=("prep",),
        outputs=(
            "artifacts/baseline/stage_budgets.json",
            "artifacts/baseline/visualization.md",
            "artifacts/md_cache/shadow_report.md",
            "artifacts/reports/PRE_SOAK_REPORT.md",
        ),
        measures=True,
    ),
    Step(
        key="soak",
        number=3,
        notebook="03_soak",
        record="03_soak",
        title="Soak",
        gate="Step 3: Soak 24-72h",
        requirement="No critical stops, metrics in green zone",
        depends=("shadow",),
        outputs=(
            "artifacts/reports/SOAK_START.md",
            "artifacts/reports/SOAK_DASHBOARD_CHECKLIST.md",
            "artifacts/edge/feeds/fills_*.jsonl",
            "artifacts/edge/feeds/pipeline_ticks_*.jsonl",
        ),
        overrides=True,
        measures=True,
    ),
    Step(
        key="dataset",
        number=4,
        notebook="04_dataset",
        record="04_dataset",
        title="Dataset",
        gate="Step 4: Dataset",
        requirement=">= 24h valid data, sanity checks PASS",
        depends=("soak",),
        outputs=("artifacts/edge/datasets/calib_*.json", "artifacts/edge/reports/calib_summary_*.md"),
    ),
    _ab(10, ("dataset",)),
    _ab(50, ("ab_10",)),
    _ab(100, ("ab_50",)),
    Step(
        key="baseline_lock",
        number=6,
        notebook="06_baseline_lock",
        record="06_baseline_lock",
        title="Baseline lock",
        gate="Step 6: CI Lock",
        requirement="Baseline locked, gates active",
        depends=("shadow",),
        outputs=(
            "artifacts/baseline/stage_budgets.locked.json",
            "artifacts/reports/BASELINE_LOCK_REPORT.md",
            "artifacts/reports/CI_GATES_STATUS.md",
            "docs/FEATURE_FLAGS_REGISTRY.md",
        ),
        measures=True,
    ),
    Step(
        key="daily_ops",
        number=7,
        notebook="07_daily_ops",
        record="07_daily_ops",
        title="Daily ops",
        gate="Step 7: Daily Ops",
        requirement="Reports generated, alerts working",
        depends=("soak",),
        outputs=(
            "artifacts/reports/daily/????-??-??.md",
            "artifacts/reports/ALERT_RULES.md",
            "artifacts/alerts/finishline.rules.yml",
            "artifacts/dashboards/finishline.json",
        ),
        after=("baseline_lock",),  # the day is compared with the locked baseline, where there is one
    ),
    Step(
        key="readiness",
        number=8,
        notebook="08_readiness",
        record="08_readiness",
        title="Readiness",
        depends=(
            "prep",
            "shadow",
            "soak",
            "dataset",
            "ab_10",
            "ab_50",
            "ab_100",
            "baseline_lock",
            "daily_ops",
        ),
        outputs=("artifacts/reports/FINISH_LINE_REPORT.md", "artifacts/reports/readiness.json"),
    ),
)
"""Every step in the order in which ``run --all`` executes them."""

BY_KEY: Mapping[str, Step] = MappingProxyType({step.key: step for step in STEPS})
ACCEPTANCE: tuple[Step, ...] = tuple(step for step in STEPS if step.gate)
"""The nine steps that have a row in the final acceptance table."""


def get_step(key: str, *, rollout_pct: int | None = None) -> Step:
    """Return one step by its key; ``ab`` needs the rollout percentage.

    Raises:
        UserError: no such step, or a percentage that is not a rollout stage.
    """
    if rollout_pct is not None and key in ("ab", *(s.key for s in STEPS if s.family == "ab")):
        if isinstance(rollout_pct, bool) or rollout_pct not in ROLLOUT_PCTS:
            raise UserError(f"rollout_pct: {rollout_pct!r} is no rollout stage; expected 10, 50 or 100")
        key = f"ab_{int(rollout_pct)}"
    if key not in BY_KEY:
        raise UserError(f"step {key!r}: unknown; expected one of {', '.join(BY_KEY)}{hint(key, BY_KEY)}")
    return BY_KEY[key]


def select_steps(names: Iterable[str]) -> list[Step]:
    """Turn numbers (``5``), names (``soak``, ``ab``, ``ab_50``) and notebook names into steps, in order.

    Raises:
        UserError: a name that is no step.
    """
    wanted: set[str] = set()
    for name in names:
        text = str(name).strip().lower()
        keys = {s.key for s in STEPS if text in (str(s.number), s.key, s.family, s.notebook, s.record)}
        if not keys:
            known = sorted({s.key for s in STEPS} | {s.notebook for s in STEPS} | {"ab"})
            raise UserError(f"step {name!r}: unknown; expected 1-8 or a step's name{hint(text, known)}")
        wanted |= keys
    return [step for step in STEPS if step.key in wanted]


def hint(text: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the closest known name, empty when none is close."""
    close = difflib.get_close_matches(text, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
