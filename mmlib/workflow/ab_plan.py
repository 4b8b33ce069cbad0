"""``finishline ab --plan``: how long a stage must run, from the soak's own hours, before it begins."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mmlib._io import UserError, write_json

SOAK_FEEDS = Path("artifacts") / "edge" / "feeds"
PLAN_FILE = Path("artifacts") / "edge" / "ab" / "plan.json"


def plan_stages(ws: Path, *, feeds: str = "", stages: int = 600) -> tuple[pd.DataFrame, str]:
    """The table and what it says in words; kept in ``artifacts/edge/ab/plan.json``.

    Raises:
        UserError: no feeds, or too few hours in them.
    """
    from mmlib.gates.spec import load_gates
    from mmlib.rollout import plan
    from mmlib.workflow.warming import ensure

    if stages < 1:
        raise UserError(f"--stages {stages}: expected at least 1")
    home = Path(feeds) if feeds else ws / SOAK_FEEDS
    gates = {gate.id: gate for gate in load_gates(ws).step("ab_10")}
    ensure(("feeds",))
    table = plan.plan_of_feeds(home, gates, stages=stages)
    if not len(table):
        raise UserError(
            f"{home}: expected at least {plan.MIN_HOURS} whole hours with fills of arm A; run step 3 (soak), or name feeds"
        )
    said = plan.sentence(table)
    write_json(
        ws / PLAN_FILE,
        {"feeds": str(home), "stages": stages, "sentence": said, "rows": table.to_dict("records")},
    )
    return table, said
