"""The shareable site: a front page, a page a step, a report, the history of runs; or all of it in a single file.

It opens from disk and asks no network.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mmlib import __version__
from mmlib._io import write_atomic
from mmlib.ops.facts import read_words
from mmlib.workflow.contents import Page, linked, report_pages, step_line, step_pages
from mmlib.workflow.history import past_runs
from mmlib.workflow.runs import runs_dir
from mmlib.workflow.status import StepState, overview
from mmlib.workflow.steps import BY_KEY
from mmlib.workflow.table import status_mark
from mmlib.workflow.times import now_iso, readable
from mmlib.workflow.verdict import css_of, verdict_of

_HERE = Path(__file__).resolve().parent / "templates"
_TITLE = "Finish line"
_RUNS = "runs.html"


def build_site(ws: Path) -> Path:
    """Write ``artifacts/html`` from the latest records and reports; returns the index page.

    The page of each executed notebook is also written beside it in ``artifacts/runs``.

    Raises:
        UserError: the workspace cannot be written or the index of runs is damaged.
    """
    home = ws / "artifacts" / "html"
    states = overview(ws)
    steps, reports = step_pages(states), report_pages(ws)
    nav = [*((page.title, f"{page.name}.html") for page in steps), ("Runs", _RUNS)]
    _write_assets(home)
    for page in steps:
        write_atomic(home / f"{page.name}.html", _page(page, nav, ""))
        if page.source is not None and page.source.suffix == ".ipynb" and runs_dir(ws) in page.source.parents:
            write_atomic(page.source.with_suffix(".html"), _page(page, nav, "../../html/"))
    for page in linked(reports, "{}.html"):
        write_atomic(home / "reports" / f"{page.name}.html", _page(page, nav, "../"))
    runs = [_run_line(run) for run in past_runs(ws)]
    frame = {"assets": "", "figures": False, "nav": nav}
    write_atomic(home / _RUNS, _render("runs.html.j2", title="Runs", runs=runs, **frame))
    front = _front(ws, states, steps, reports, "{}.html", "reports/{}.html")
    return write_atomic(home / "index.html", _render("index.html.j2", title=_TITLE, **front, **frame))


def build_single(ws: Path, target: Path) -> Path:
    """Write front page, steps and reports as one file that needs no other: for a mail or a ticket.

    Raises:
        UserError: the file cannot be written or the index of runs is damaged.
    """
    states = overview(ws)
    steps, reports = step_pages(states), report_pages(ws)
    pages = [*steps, *linked(reports, "#{}")]
    scripts = (
        [_plotly(), (_HERE / "page.js").read_text(encoding="utf-8")] if any(p.figures for p in pages) else []
    )
    page = _render(
        "single.html.j2",
        title=_TITLE,
        assets="",
        figures=False,
        nav=[(page.title, f"#{page.name}") for page in steps],
        pages=pages,
        scripts=[Markup(script) for script in scripts],  # noqa: S704  (our own and plotly's file)
        hashes=[_csp_hash(script) for script in scripts],
        **_front(ws, states, steps, reports, "#{}", "#{}"),
    )
    return write_atomic(target, page)


def _front(
    ws: Path,
    states: Sequence[StepState],
    steps: Sequence[Page],
    reports: Sequence[Page],
    to_step: str,
    to_report: str,
) -> dict[str, Any]:
    """Values of the front page; ``to_step`` and ``to_report`` make an address of a page's name."""
    there = {page.name for page in steps}
    pages = {s.key: to_step.format(BY_KEY[s.key].record) for s in states if BY_KEY[s.key].record in there}
    listed = [
        {
            "title": page.title,
            "name": page.source.relative_to(ws).as_posix().removeprefix("artifacts/")
            if page.source
            else page.name,
            "page": to_report.format(page.name),
            "day": page.day,
            "health": _health(page),
        }
        for page in reports
    ]
    return {
        "verdict": verdict_of(ws, pages, states),
        "steps": [step_line(state, pages.get(state.key, "")) for state in states],
        "days": [line for line in reversed(listed) if line["day"]],
        "reports": [line for line in listed if not line["day"]],
    }


def _health(page: Page) -> str:
    """The health of a day, from the figures beside its report; empty where there are none."""
    if not page.day or page.source is None:
        return ""
    words = read_words(page.source.with_suffix(".json"))
    return words.health if words else ""


def _page(page: Page, nav: Sequence[tuple[str, str]], assets: str) -> str:
    return _render(
        "page.html.j2",
        title=page.title,
        assets=assets,
        figures=page.figures,
        nav=nav,
        head=page.head,
        blocks=page.blocks,
        prefix="",
    )


def _run_line(run: Any) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "profile": run.profile,
        "started": readable(run.started),
        "seconds": f"{run.seconds:,.0f} s",
        "steps": [
            {
                "title": step.title,
                "page": f"../runs/{step.page}" if step.page else "",
                "status": status_mark(step.status),
                "css": css_of(step.status),
            }
            for step in run.steps
        ],
    }


def _write_assets(home: Path) -> None:
    script = _plotly().encode()
    place = home / "plotly.min.js"
    if not place.is_file() or place.stat().st_size != len(script):
        write_atomic(place, script)
    write_atomic(home / "page.js", (_HERE / "page.js").read_bytes())


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _csp_hash(script: str) -> str:
    """What a content security policy calls a script that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(template: str, **values: Any) -> str:
    css = Markup((_HERE / "page.css").read_text(encoding="utf-8"))  # noqa: S704  (our own file)
    page = _environment().get_template(template)
    shared: Mapping[str, Any] = {"css": css, "version": __version__, "created": readable(now_iso())}
    return page.render(**shared, **values)
