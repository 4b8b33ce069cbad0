"""Grafana dashboard of a running session, by the schema's own types: the same metrics and gates as the alerts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmlib._io import write_atomic
from mmlib.gates.rules import high_is_bad
from mmlib.gates.spec import Gate, GateBook
from mmlib.ops.panels import ROWS, Panel, panels

DASHBOARD_FILE = Path("artifacts") / "dashboards" / "finishline.json"
FINE, WARNING, CRITICAL = "#009E73", "#E69F00", "#D55E00"

_WIDTH = 12
_HEIGHT = 8
_STAT_WIDTH = 8


def write_dashboard(path: Path, book: GateBook) -> Path:
    """Write the dashboard as JSON that Grafana imports."""
    return write_atomic(path, dashboard_json(book))


def dashboard_json(book: GateBook) -> str:
    """The dashboard: a row a subject, the limits of the gates drawn, choice of source, symbol and arm."""
    from grafana_foundation_sdk.builders import dashboard as build
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import dashboard as model

    source = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
    board = (
        build.Dashboard("Finish line")
        .uid("finishline")
        .tags(["market making", "finishline"])
        .description("Made from params/gates.yaml by `finishline alerts`.")
        .time("now-6h", "now")
        .timezone("utc")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(build.DatasourceVariable("datasource").label("Source").type("prometheus"))
    )
    for name in ("symbol", "arm"):
        board = board.with_variable(
            build.QueryVariable(name)
            .label(name.capitalize())
            .datasource(source)
            .query(f"label_values(mm_tick_total, {name})")
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    every = panels(book)
    for number, row in enumerate(ROWS):
        board = board.with_row(build.Row(row).id(1000 + number))
        for panel in every:
            if panel.row == row:
                board = board.with_panel(_panel(panel, source))
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def threshold_steps(gates: Sequence[Gate]) -> list[tuple[float | None, str]]:
    """(value from which a colour holds, colour), rising; the first holds from the bottom.

    A metric whose low values are bad is critical up to its limit; one with limits both ways draws the upper ones.
    """
    above = [gate for gate in gates if high_is_bad(gate)]
    colours = {gate.limit: _colour(gate) for gate in sorted(gates, key=lambda g: g.blocking)}
    if above or not gates:
        steps = sorted({gate.limit for gate in above})
        return [(None, FINE), *((limit, colours[limit]) for limit in steps)]
    limits = sorted(colours)
    return [
        (None, colours[limits[0]]),
        *((low, colours[high]) for low, high in pairwise(limits)),
        (limits[-1], FINE),
    ]


def _colour(gate: Gate) -> str:
    return CRITICAL if gate.blocking else WARNING


def _panel(panel: Panel, source: Any) -> Any:
    """A panel's builder."""
    from grafana_foundation_sdk.builders import common as build_common
    from grafana_foundation_sdk.builders import dashboard as build
    from grafana_foundation_sdk.builders import prometheus, stat, timeseries
    from grafana_foundation_sdk.models import common, dashboard

    steps = [dashboard.Threshold(value=value, color=colour) for value, colour in threshold_steps(panel.gates)]
    limits = build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
    made: Any = stat.Panel() if panel.kind == "stat" else timeseries.Panel()
    made = made.id(panel.id).title(panel.title).description(panel.text).datasource(source).unit(panel.unit)
    made = made.thresholds(limits).height(_HEIGHT).span(_STAT_WIDTH if panel.kind == "stat" else _WIDTH)
    if panel.kind != "stat":
        mode = common.GraphTresholdsStyleMode.DASHED if panel.gates else common.GraphTresholdsStyleMode.OFF
        made = made.thresholds_style(build_common.GraphThresholdsStyleConfig().mode(mode))
    for number, (expr, legend) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + number))
        made = made.with_target(query.datasource(source))
    return made
