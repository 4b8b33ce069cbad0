"""``finishline feeds``: check feeds, import other files, print the schemas."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError, inside
from mmlib.feeds.progress import Progress
from mmlib.feeds.schema import KINDS, Kind, schema
from mmlib.feeds.schema import schema_text as shipped_schema
from mmlib.workflow.mappings import find_mapping, load_mapping
from mmlib.workflow.params import check_range
from mmlib.workflow.times import utc_datetime
from mmlib.workflow.warming import ensure

if TYPE_CHECKING:  # they bring numba, which whoever asks for a schema can do without
    from mmlib.feeds.check import FeedCheck, FileCheck
    from mmlib.feeds.importing import Imported

_WIDTH = 1000  # the table takes what it needs
_COLUMNS = (
    *("file", "lines", "readable", "quarantined", "duplicate", "late", "other day"),
    *("from [UTC]", "to [UTC]", "interval [s]", "gaps", "schema"),
)
_WORDS = frozenset({"file", "from [UTC]", "to [UTC]", "schema"})


@dataclass(frozen=True)
class Told:
    """What a verb says: for a person, for a machine, and as the exit code."""

    text: str
    payload: dict[str, Any]
    returncode: int


def schema_text(kind: Kind | None) -> str:
    """The JSON Schema of one feed as shipped, or both by kind."""
    return shipped_schema(kind) if kind else json.dumps({name: schema(name) for name in KINDS}, indent=2)


def check(directory: Path, from_ts: str = "", to_ts: str = "", progress: Progress | None = None) -> Told:
    """Every feed file of a directory in a table, and the reasons of what is in quarantine below it.

    Raises:
        UserError: no such directory, no feeds in it, a file that cannot be read, a range that is none.
    """
    if not directory.is_dir():
        raise UserError(
            f"{directory}: no such directory; expected one with pipeline_ticks_*.jsonl and fills_*.jsonl"
        )
    first, last = check_range(from_ts, to_ts, ("--from", "--to"))
    ensure(("feeds",))
    from mmlib.feeds.check import check_feeds

    found = check_feeds(directory, utc_datetime(first), utc_datetime(last), progress)
    return Told(_check_text(found), found.to_dict(), 0 if found.clean else 1)


def bring(
    ws: Path, files: Sequence[Path], mapping: str, output: Path, progress: Progress | None = None
) -> Told:
    """Import files of another format; refused rows are kept below ``artifacts/quarantine/import`` of the workspace.

    Raises:
        UserError: a mapping or file that is wrong; names file, key and what was expected.
    """
    path = find_mapping(ws, mapping)
    rules, sha256 = load_mapping(path)
    place = inside(ws, "artifacts/quarantine/import")
    if all(file.is_file() for file in files):
        ensure(("feeds",))
    from mmlib.feeds.importing import import_files

    done = import_files(
        files, rules, output, name=path.name, sha256=sha256, quarantine_dir=place, progress=progress
    )
    return Told(_import_text(done, output, place), done.to_dict(), 0 if done.clean else 1)


def _import_text(done: Imported, output: Path, place: Path) -> str:
    lines = [
        f"{one.file}: {one.rows:,} rows, {one.imported:,} {one.kind} imported, {one.quarantined:,} in quarantine, "
        f"{one.duplicates:,} duplicates"
        for one in done.files
    ]
    if not done.clean:
        lines.append(f"quarantine: {place}")
    if done.constants:
        stated = ", ".join(f"{name} = {value}" for name, value in done.constants.items())
        lines.append(f"stated by the mapping, read nowhere: {stated}")
    return "\n".join([*lines, f"feeds: {output} ({', '.join(done.written) or 'none'})"])


def _check_text(found: FeedCheck) -> str:
    rows = [
        (
            one.file,
            *(
                f"{n:,}"
                for n in (one.lines, one.readable, one.bad, one.duplicates, one.out_of_order, one.other_day)
            ),
            *(_second(one.first), _second(one.last)),
            "–" if one.interval_s is None else f"{one.interval_s:g}",
            "–"
            if one.interval_s is None
            else f"{one.gaps:,}" + (f" ({one.gap_s:,.0f} s)" if one.gaps else ""),
            ", ".join(f"v{version}: {n:,}" for version, n in one.schema_versions.items()) or "–",
        )
        for one in found.files
    ]
    notes = [line for one in found.files for line in _notes(one)]
    verdict = (
        "clean" if found.clean else "not clean: bad lines are kept out of every step, and all is counted"
    )
    return "\n".join([_table(rows), *notes, f"{found.directory}: {verdict}"])


def _notes(one: FileCheck) -> list[str]:
    lines = [f"{one.file}: source {source}: {n:,} lines" for source, n in one.sources.items()]
    lines += [
        f"{one.file}: {n:,} × {reason} (first on line {one.examples[reason]:,})"
        for reason, n in sorted(one.quarantined.items(), key=lambda item: -item[1])
    ]
    lines += [
        f"{one.file}: gap of {gap['seconds']:,.0f} s after {_second(gap['from'])} ({gap['symbol']}, arm {gap['arm']})"
        for gap in one.longest_gaps
    ]
    if one.conflicts:
        lines.append(
            f"{one.file}: {one.conflicts:,} fills differ in price or quantity from that of their side, order_id and fill_id"
        )
    if one.other_day:
        lines.append(
            f"{one.file}: {one.other_day:,} lines are of another UTC day than its name: they count for the day of their time, "
            "whatever the name; expected names by UTC"
        )
    if one.damaged:
        lines.append(f"{one.file}: {one.broken}; expected a whole file: copy or pack it again")
    elif one.unfinished:
        lines.append(f"{one.file}: ends within a line; it is still being written, or was cut")
    return [" ".join(line.split()) for line in lines]


def _second(text: str | None) -> str:
    """RFC 3339 text to the second, for a column of UTC times."""
    return "–" if text is None else text[:19].replace("T", " ")


def _table(rows: Sequence[Sequence[str]]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for name in _COLUMNS:
        table.add_column(Text(name), justify="left" if name in _WORDS else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # no markup is read from names
    out = io.StringIO()
    Console(file=out, width=_WIDTH, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
