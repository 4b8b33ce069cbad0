"""``finishline ab --aa``: measure how often the rules of a stage err, keep the rates, report them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmlib._io import UserError
from mmlib.workflow.manifest import GATE, OK
from mmlib.workflow.plan import Options, plan
from mmlib.workflow.steps import get_step

MOST = {"rollback": 6.0, "promotion": 5.0, "promotion at any look": 5.0}
"""Most that a statistical rule may err over drawn stages [%]."""
MOST_OF_A_ROLLOUT = 5.0
"""The same over whole rollouts, all stages together [%]; what chance alone can show above it is no failure."""


@dataclass(frozen=True)
class AaDone:
    """What was measured: one row a kind of data, decision and rule; the replays as stages; where it is kept."""

    rates: pd.DataFrame
    pairs: pd.DataFrame
    kept: Path
    report: Path

    @property
    def returncode(self) -> int:
        """1 when a statistical rule erred more often over drawn stages or rollouts than it may."""
        own = self.rates[(self.rates["rule"] == "statistical") & self.rates["data"].str.startswith("drawn")]
        over = [row["rate_pct"] > MOST[row["decision"]] for row in own.to_dict("records")]
        whole = self.rates[self.rates["data"].str.startswith("rollout")]
        over += (whole["lower_pct"] > MOST_OF_A_ROLLOUT).tolist()
        return GATE if any(over) else OK

    def text(self) -> str:
        """For the terminal."""
        lines = [f"{'data':<38} {'decision':<22} {'rule':<12} {'rate':>8}   95 % interval"]
        for row in self.rates.to_dict("records"):
            rate, interval = "–", "no stage could be judged"
            if row["n"]:
                rate = f"{row['rate_pct']:.1f} %"
                interval = f"{row['lower_pct']:.1f} to {row['upper_pct']:.1f} %, {row['hits']} of {row['n']}"
            lines.append(f"{row['data']:<38} {row['decision']:<22} {row['rule']:<12} {rate:>8}   {interval}")
        return "\n".join([*lines, f"kept: {self.kept}", f"report: {self.report}"])

    def to_dict(self) -> dict[str, Any]:
        """For a machine."""
        return {
            "rates": self.rates.astype(object).where(self.rates.notna(), None).to_dict("records"),
            "pairs": self.pairs.to_dict("records"),
            "kept": str(self.kept),
            "report": str(self.report),
            "returncode": self.returncode,
        }


def measure_errors(
    ws: Path,
    *,
    profile: str,
    options: Options,
    runs: int,
    stages: int,
    schedules: int = 8,
    rollout: bool = False,
    command: Sequence[str] = (),
) -> AaDone:
    """Draw stages, replay the control ``runs`` times, and judge all of it with the workspace's gates.

    Each run is judged as twins, and as a switchback under ``schedules`` labellings of its hours. ``rollout`` adds whole
    rollouts of every listed noise (``rollout.rollouts``), as many as ``stages``.

    Raises:
        UserError: bad input, a desk's own feeds as the source (they hold no second control), fewer than two runs.
    """
    from mmlib.config.load import load_config
    from mmlib.engine.session import SessionSpec
    from mmlib.gates.spec import load_gates
    from mmlib.reports import ab as reports
    from mmlib.reports.render import Provenance, write
    from mmlib.rollout import aa, aa_replays, rollouts
    from mmlib.workflow.params import check_parameters
    from mmlib.workflow.record import SOAK_OVERRIDES
    from mmlib.workflow.times import now_iso, stamp_of
    from mmlib.workflow.warming import ensure, families_of

    if runs < 2 or stages < 1:
        raise UserError(f"--runs {runs}, --stages {stages}: expected at least 2 runs and 1 stage")
    params = plan(ws, [get_step("ab_10")], profile=profile, options=options)[0].params
    if str(params["source"]).startswith("feeds:"):
        raise UserError("--source feeds:DIR: holds no second control; expected simulated or recording:PATH")
    checked = check_parameters({k: v for k, v in params.items() if k != "workspace"})
    overrides = [ws / SOAK_OVERRIDES] if (ws / SOAK_OVERRIDES).is_file() else []
    config = load_config(ws, overrides=overrides, sets=params.get("sets") or {}).config
    book = load_gates(ws)
    planned_s = float(params["duration_hours"]) * 3600.0
    spec = SessionSpec.plan(
        checked.source, checked.symbols, ["A"], planned_s, start_ns=checked.start_ns, seed=checked.seed,
        simulated_offset_s=aa_replays.OFFSET_S,
    )  # fmt: skip
    ensure(families_of(["ab_10"], checked.source))
    started = now_iso()
    measured = aa_replays.control_runs(
        spec, config, ws / "artifacts/edge/ab/aa", runs=runs, quarantine=ws / "artifacts/quarantine/ab_aa"
    )
    tables, pairs = aa_replays.judge_runs(
        book, measured, planned_s=planned_s, seed=checked.seed, schedules=schedules
    )
    gates = {gate.id: gate for gate in book.step("ab_10")}
    tables.insert(0, aa.drawn(gates, stages=stages, seed=checked.seed))
    if rollout:
        tables.insert(1, rollouts.rollout_table(gates, rollouts=stages, seed=checked.seed))
    facts = {"hours": 24, "stages": stages, "seed": checked.seed, "source": checked.source, "runs": runs}
    kept = aa.keep(ws, book, tables, facts | {"measured": started})
    rates = pd.concat(tables, ignore_index=True)
    origin = Provenance.of_feeds(
        measured[0].sidecar, shlex.join(["finishline", *command]), gates_sha256=str(book.sha256)
    )
    text = reports.ab_aa(rates, pairs, origin)
    report = write(ws / f"artifacts/edge/reports/ab_aa_{stamp_of(started)}.md", text)
    return AaDone(rates, pairs, kept, report)
