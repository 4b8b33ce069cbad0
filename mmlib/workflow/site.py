"""The shareable site: a page a step, a page a report, an index; opens from disk and asks no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mmlib import __version__
from mmlib._io import UserError, read_json, write_atomic
from mmlib.dtypes import Status
from mmlib.workflow.pages import Block, markdown_block, notebook_blocks, sanitise
from mmlib.workflow.readiness import JSON_PATH
from mmlib.workflow.record import StepRecord
from mmlib.workflow.runs import runs_dir
from mmlib.workflow.status import StepState, overview
from mmlib.workflow.steps import BY_KEY
from mmlib.workflow.table import GateTable, status_mark
from mmlib.workflow.times import now_iso, readable

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
    pages: dict[str, str] = {}
    for state in states:
        if state.record is not None:
            pages[state.key] = _write_step(ws, home, state, state.record)
    reports = [_write_report(ws, home, path) for path in _reports(ws)]
    steps = [_step_line(state, pages.get(state.key, "")) for state in states]
    page = _render(
        "index.html.j2",
        title="Finish line",
        assets="",
        figures=False,
        verdict=_verdict(ws, pages, states),
        steps=steps,
        reports=reports,
    )
    return write_atomic(home / "index.html", page)


def _write_step(ws: Path, home: Path, state: StepState, record: StepRecord) -> str:
    """Write a step's page into the site and beside its notebook; returns the name of the page."""
    name = f"{BY_KEY[state.key].record}.html"
    blocks = _step_blocks(record, state)
    details = {
        "title": state.title,
        "head": _head(state, record),
        "blocks": blocks,
        "figures": any(b.kind == "figure" for b in blocks),
    }
    write_atomic(home / name, _render("page.html.j2", assets="", **details))
    if record.path is not None and record.path.suffix == ".ipynb" and runs_dir(ws) in record.path.parents:
        beside = record.path.with_suffix(".html")
        write_atomic(beside, _render("page.html.j2", assets="../../html/", **details))
    return name


def _step_blocks(record: StepRecord, state: StepState) -> list[Block]:
    if record.path is not None and record.path.suffix == ".ipynb" and record.path.is_file():
        try:
            return notebook_blocks(record.path)
        except UserError as exc:
            return [Block("error", text=str(exc))]
    table = GateTable(state.title, str(record.status), record.gates)
    heading = Markup("<h1>{}</h1>").format(state.title)
    return [Block("html", html=heading), Block("html", html=sanitise(table._repr_html_()))]


def _write_report(ws: Path, home: Path, path: Path) -> dict[str, str]:
    relative = path.relative_to(ws)
    name = "-".join(relative.with_suffix("").parts).removeprefix("artifacts-").removeprefix("reports-")
    page = f"reports/{name}.html"
    try:
        block = markdown_block(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        block = Block("error", text=f"{relative}: cannot be read ({exc})")
    text = _render("page.html.j2", title=path.stem, assets="../", figures=False, head=None, blocks=[block])
    write_atomic(home / page, text)
    return {"name": relative.as_posix().removeprefix("artifacts/"), "page": page}


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
        "css": _css(str(record.status)),
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
        "css": _css(str(state.status)),
        "grade": str(record.grade or "–") if record else "–",
        "run_id": record.run_id if record else "–",
        "finished": readable(record.finished) if record else "–",
        "note": state.note,
    }


def _verdict(ws: Path, pages: Mapping[str, str], states: Sequence[StepState]) -> dict[str, Any] | None:
    """The last verdict for the index page, None when there is none that can be read."""
    path = ws / JSON_PATH
    if not path.is_file():
        return None
    try:
        found = read_json(path)
        rows = [
            {
                **{name: str(row[name]) for name in ("gate", "requirement", "why", "grade")},
                "status": status_mark(str(row["status"])),
                "css": _css(str(row["status"])),
                "page": pages.get(str(row["step"]), ""),
            }
            for row in found["rows"]
        ]
        created = str(found["created"])
        others = [s.record.finished for s in states if s.record is not None and s.key != "readiness"]
        return {
            "verdict": str(found["verdict"]),
            "css": "pass" if found["verdict"] in ("READY", "REHEARSAL PASSED") else "fail",
            "grade": str(found["grade"] or "none"),
            "required": str(found["evidence_required"]),
            "passed": sum(row["status"] == status_mark(Status.PASS) for row in rows),
            "created": readable(created),
            "stale": any(finished > created for finished in others),
            "rows": rows,
        }
    except (UserError, KeyError, TypeError):
        return None


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


def _css(status: str) -> str:
    return "".join(c for c in status.lower() if c.isalnum())
