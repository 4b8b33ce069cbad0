"""The shareable site: a page a step, a page a report, an index; opens from disk and asks no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mmlib import __version__
from mmlib._io import UserError, write_atomic
from mmlib.workflow.pages import Block, markdown_block, notebook_blocks, sanitise
from mmlib.workflow.record import StepRecord
from mmlib.workflow.runs import runs_dir
from mmlib.workflow.status import StepState, overview
from mmlib.workflow.steps import BY_KEY
from mmlib.workflow.table import GateTable, status_mark
from mmlib.workflow.times import now_iso, readable
from mmlib.workflow.verdict import css_of, verdict_of

_HERE = Path(__file__).resolve().parent / "templates"
_REPORTS = (
    "artifacts/reports/*.md",
    "artifacts/reports/daily/*.md",
    "artifacts/md_cache/*.md",
    "artifacts/baseline/*.md",
    "artifacts/edge/reports/*.md",
    "docs/*.md",
)
_HASHES = ("params_sha256", "config_sha256", "gates_sha256", "code_sha256")


def build_site(ws: Path) -> Path:
    """Write ``artifacts/html`` from the latest records and reports; returns the index page.

    The page of each executed notebook is also written beside it in ``artifacts/runs``.

    Raises:
        UserError: the workspace cannot be written or the index of runs is damaged.
    """
    home = ws / "artifacts" / "html"
    states = overview(ws)
    _write_assets(home)
    pages = {s.key: f"{BY_KEY[s.key].record}.html" for s in states if s.record is not None}
    nav = [(state.title, pages[state.key]) for state in states if state.key in pages]
    for state in states:
        if state.record is not None:
            _write_step(ws, home, state, state.record, nav)
    reports = [_write_report(ws, home, path, nav) for path in _reports(ws)]
    steps = [_step_line(state, pages.get(state.key, "")) for state in states]
    page = _render(
        "index.html.j2",
        title="Finish line",
        assets="",
        figures=False,
        nav=nav,
        verdict=verdict_of(ws, pages, states),
        steps=steps,
        reports=reports,
    )
    return write_atomic(home / "index.html", page)


def _write_step(
    ws: Path, home: Path, state: StepState, record: StepRecord, nav: Sequence[tuple[str, str]]
) -> None:
    """Write a step's page into the site and beside its notebook."""
    name = f"{BY_KEY[state.key].record}.html"
    blocks = _step_blocks(record, state)
    details = {
        "title": state.title,
        "nav": nav,
        "head": _head(state, record),
        "blocks": blocks,
        "figures": any(b.kind == "figure" for b in blocks),
    }
    write_atomic(home / name, _render("page.html.j2", assets="", **details))
    if record.path is not None and record.path.suffix == ".ipynb" and runs_dir(ws) in record.path.parents:
        beside = record.path.with_suffix(".html")
        write_atomic(beside, _render("page.html.j2", assets="../../html/", **details))


def _step_blocks(record: StepRecord, state: StepState) -> list[Block]:
    if record.path is not None and record.path.suffix == ".ipynb" and record.path.is_file():
        try:
            return notebook_blocks(record.path)
        except UserError as exc:
            return [Block("error", text=str(exc))]
    table = GateTable(state.title, str(record.status), record.gates)
    heading = Markup("<h1>{}</h1>").format(state.title)
    return [Block("html", html=heading), Block("html", html=sanitise(table._repr_html_()))]


def _write_report(ws: Path, home: Path, path: Path, nav: Sequence[tuple[str, str]]) -> dict[str, str]:
    relative = path.relative_to(ws)
    name = "-".join(relative.with_suffix("").parts).removeprefix("artifacts-").removeprefix("reports-")
    page, title = f"reports/{name}.html", path.stem
    try:
        text = path.read_text(encoding="utf-8")
        block = markdown_block(text)
        title = _heading(text) or title
    except (OSError, UnicodeDecodeError) as exc:
        block = Block("error", text=f"{relative}: cannot be read ({exc})")
    details = {"title": title, "assets": "../", "figures": False, "nav": nav, "head": None, "blocks": [block]}
    write_atomic(home / page, _render("page.html.j2", **details))
    return {"title": title, "name": relative.as_posix().removeprefix("artifacts/"), "page": page}


def _heading(markdown: str) -> str:
    """The first heading of a report, empty without one."""
    return next((line[2:].strip() for line in markdown.splitlines() if line.startswith("# ")), "")


def _reports(ws: Path) -> list[Path]:
    return [path for pattern in _REPORTS for path in sorted(ws.glob(pattern)) if path.is_file()]


def _head(state: StepState, record: StepRecord) -> dict[str, Any]:
    facts = [
        ("evidence", str(record.grade or "–")),
        ("run", record.run_id),
        ("finished", readable(record.finished)),
    ]
    given = record.data.get("params", {})
    params = [(str(k), str(v)) for k, v in given.items()] if isinstance(given, Mapping) else []
    params += [(name, str(record.data[name])) for name in _HASHES if name in record.data]
    return {
        "status": status_mark(str(record.status)),
        "css": css_of(str(record.status)),
        "facts": facts,
        "reason": state.why,
        "params": params,
    }


def _step_line(state: StepState, page: str) -> dict[str, str]:
    record = state.record
    return {
        "title": state.title,
        "page": page,
        "status": status_mark(str(state.status)),
        "css": css_of(str(state.status)),
        "grade": str(record.grade or "–") if record else "–",
        "run_id": record.run_id if record else "–",
        "finished": readable(record.finished) if record else "–",
        "note": "; ".join(part for part in (_outcome(record), state.note) if part),
    }


def _outcome(record: StepRecord | None) -> str:
    """What a step found apart from its gates: the health of the day, the action of an A/B stage."""
    facts = record.data.get("facts") if record else None
    if not isinstance(facts, Mapping):
        return ""
    if "health" in facts:
        return f"{facts.get('date', 'the day')} was {facts['health']}"
    return str(facts.get("action", ""))


def _write_assets(home: Path) -> None:
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs().encode()
    place = home / "plotly.min.js"
    if not place.is_file() or place.stat().st_size != len(script):
        write_atomic(place, script)
    write_atomic(home / "page.js", (_HERE / "page.js").read_bytes())


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
    return page.render(css=css, version=__version__, created=readable(now_iso()), **values)
