"""What the site says, apart from how it is laid out: the front page, a page a step, a page a report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mmlib._io import UserError
from mmlib.workflow.pages import Block, markdown_block, notebook_blocks, sanitise
from mmlib.workflow.record import StepRecord
from mmlib.workflow.status import StepState
from mmlib.workflow.steps import BY_KEY
from mmlib.workflow.table import GateTable, status_mark
from mmlib.workflow.times import readable
from mmlib.workflow.verdict import command_again, css_of

_DAYS = "artifacts/reports/daily"
_REPORTS = (
    "artifacts/reports/*.md",
    f"{_DAYS}/*.md",
    "artifacts/md_cache/*.md",
    "artifacts/baseline/*.md",
    "artifacts/edge/reports/*.md",
    "docs/*.md",
)
_LOCAL_LINK = re.compile(r'href="([^"#:][^":]*)"')
_HASHES = ("params_sha256", "config_sha256", "gates_sha256", "code_sha256")


@dataclass(frozen=True)
class Page:
    """One page: its name without suffix, title, head (None: a report) and blocks."""

    name: str
    title: str
    head: dict[str, Any] | None
    blocks: tuple[Block, ...]
    source: Path | None = None
    day: bool = False

    @property
    def figures(self) -> bool:
        """Whether it needs the script that draws."""
        return any(block.kind == "figure" for block in self.blocks)


def step_pages(states: Sequence[StepState]) -> list[Page]:
    """A page for each step that has a record."""
    return [
        Page(
            name=BY_KEY[state.key].record,
            title=state.title,
            head=_head(state, state.record, states),
            blocks=tuple(_step_blocks(state.record, state)),
            source=state.record.path,
        )
        for state in states
        if state.record is not None
    ]


def report_pages(ws: Path) -> list[Page]:
    """A page for each report of the workspace."""
    paths = [path for pattern in _REPORTS for path in sorted(ws.glob(pattern)) if path.is_file()]
    return [_report_page(ws, path) for path in paths]


def linked(pages: Sequence[Page], address: str) -> list[Page]:
    """Report pages whose links to other reports lead to those pages; a link to anything else is plain text.

    Args:
        pages: all reports of the site.
        address: of a page, with ``{}`` for its name.
    """
    names = {page.source.resolve(): page.name for page in pages if page.source is not None}

    def relinked(page: Page, block: Block) -> Block:
        def target(found: re.Match[str]) -> str:
            path = (page.source.parent / found[1]).resolve() if page.source is not None else None
            return f'href="{address.format(names[path])}"' if path in names else ""

        return replace(block, html=Markup(_LOCAL_LINK.sub(target, block.html)))  # noqa: S704  (sanitised before)

    return [replace(page, blocks=tuple(relinked(page, block) for block in page.blocks)) for page in pages]


def step_line(state: StepState, page: str) -> dict[str, str]:
    """A step's row on the front page."""
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


def _report_page(ws: Path, path: Path) -> Page:
    relative = path.relative_to(ws)
    name = "-".join(relative.with_suffix("").parts).removeprefix("artifacts-").removeprefix("reports-")
    title, day = path.stem, relative.parent.as_posix() == _DAYS
    try:
        text = path.read_text(encoding="utf-8")
        block = markdown_block(text)
        title = next((line[2:].strip() for line in text.splitlines() if line.startswith("# ")), "") or title
    except (OSError, UnicodeDecodeError) as exc:
        block = Block("error", text=f"{relative}: cannot be read ({exc})")
    return Page(name, title, None, (block,), path, day)


def _step_blocks(record: StepRecord, state: StepState) -> list[Block]:
    if record.path is not None and record.path.suffix == ".ipynb" and record.path.is_file():
        try:
            return notebook_blocks(record.path)
        except UserError as exc:
            return [Block("error", text=str(exc))]
    table = GateTable(state.title, str(record.status), record.gates)
    heading = Markup("<h1>{}</h1>").format(state.title)
    return [Block("html", html=heading), Block("html", html=sanitise(table._repr_html_()))]


def _head(state: StepState, record: StepRecord, states: Sequence[StepState]) -> dict[str, Any]:
    facts = [
        ("evidence", str(record.grade or "–")),
        ("run", record.run_id),
        ("finished", readable(record.finished)),
    ]
    commands = (
        [("ran as", str(record.data.get("command") or "a notebook run by hand"))] if record.data else []
    )
    commands.append(("run it again", command_again(state.key, states)))
    return {
        "status": status_mark(str(record.status)),
        "css": css_of(str(record.status)),
        "facts": facts,
        "reason": state.why,
        "provenance": [(title, rows) for title, rows in _provenance(record, commands) if rows],
    }


def _provenance(
    record: StepRecord, commands: list[tuple[str, str]]
) -> list[tuple[str, list[tuple[str, str]]]]:
    data = record.data
    hashes = [(name, str(data[name])) for name in _HASHES if name in data]
    return [
        ("Command", commands),
        ("Parameters", _pairs(data.get("params"))),
        ("Configuration and code", hashes),
        ("Read", _pairs(data.get("inputs"))),
        ("Written", _pairs(data.get("outputs"))),
        ("Versions", _pairs(data.get("versions"))),
    ]


def _pairs(value: Any) -> list[tuple[str, str]]:
    return [(str(k), str(v)) for k, v in value.items()] if isinstance(value, Mapping) else []


def _outcome(record: StepRecord | None) -> str:
    """What a step found apart from its gates: the health of the day, the action of an A/B stage."""
    facts = record.data.get("facts") if record else None
    if not isinstance(facts, Mapping):
        return ""
    if "health" in facts:
        return f"{facts.get('date', 'the day')} was {facts['health']}"
    return str(facts.get("action", ""))
