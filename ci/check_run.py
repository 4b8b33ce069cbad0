"""Check what a run of all steps left in a workspace: records, manifests, every artifact, pages without a network."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mmlib.workflow.record import latest
from mmlib.workflow.runs import read_index
from mmlib.workflow.steps import STEPS

REMOTE = re.compile(
    r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//|@import|url\(\s*["']?https?:""", re.IGNORECASE
)
LOCAL = re.compile(r'(?:src|href)="([^"#:]+)')


def problems(ws: Path) -> Iterator[str]:
    """Everything that is missing or wrong."""
    index, records = read_index(ws), latest(ws)
    for step in STEPS:
        entry = index.get(step.key)
        if entry is None or step.key not in records:
            yield f"{step.key}: did not run"
            continue
        if entry["returncode"] not in (0, 1):
            yield f"{step.key}: {entry['error']}"
        record = records[step.key]
        if not record.gates:
            yield f"{step.key}: recorded no gate"
        for name, digest in record.data.get("outputs", {}).items():
            if digest == "missing":
                yield f"{step.key}: says that it wrote {name}, which is not there"
        for pattern in step.outputs:
            if not any(path.stat().st_size for path in ws.glob(pattern)):
                yield f"{step.key}: expected {pattern}"
    yield from _leftovers(ws)
    yield from _pages(ws / "artifacts" / "html")


def _leftovers(ws: Path) -> Iterator[str]:
    for path in ws.rglob("*"):
        if path.name.endswith(".tmp") or ".partial." in path.name:
            yield f"{path.relative_to(ws)}: half-written"
    for path in ws.rglob("*.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: 1 / 0)
        except (ValueError, ZeroDivisionError):
            yield f"{path.relative_to(ws)}: not strict JSON"


def _pages(home: Path) -> Iterator[str]:
    pages = sorted(home.rglob("*.html"))
    if len(pages) <= len(STEPS):
        yield f"{home}: {len(pages)} pages, expected one a step, one a report and an index"
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if found := REMOTE.search(text):
            yield f"{page.name}: asks the network: {found.group(0)}"
        for address in LOCAL.findall(text):
            if not (page.parent / address).exists():
                yield f"{page.name}: {address} is not there"


def main() -> int:
    """Check the workspace named on the command line; print what is wrong, one line each."""
    found = list(problems(Path(sys.argv[1])))
    print("\n".join(found) if found else "every step executed, every artifact is there")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
