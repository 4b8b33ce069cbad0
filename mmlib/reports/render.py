"""Markdown from templates: the Jinja environment, escaping, tables, and where the numbers come from."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmlib._io import sha256_json, write_atomic
from mmlib.config.masking import mask_text
from mmlib.dtypes import Grade
from mmlib.reports.signs import SIGNS, shown_frame


def write(path: Path, text: str) -> Path:
    """Write a report, its secrets masked: through a temporary file, then renamed."""
    return write_atomic(path, mask_text(text))


_SPECIAL = re.compile(r"[\\`*|~]|\](?=[(\[:])|<(?![ =\d])|^>|&(?=[#\w])|^(?=[#+-]+(?: |$))|(?<!\w)_|_(?!\w)")
_ESCAPED = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "|": "&#124;"}
MISSING = "–"


def md(value: object) -> Markup:
    """Text from data as one line of Markdown that starts no HTML, table cell, link, emphasis or code.

    Missing values (None, NaN, NaT) become a dash.
    """
    if isinstance(value, Markup):
        return value
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return Markup(MISSING)  # noqa: S704
    text = " ".join(str(value).split())
    return Markup(_SPECIAL.sub(lambda found: _ESCAPED.get(found.group(), "\\" + found.group()), text))  # noqa: S704


def code(value: object) -> Markup:
    """Text from data as a code span that it cannot leave; works inside a table cell."""
    text = " ".join(str(value).split())
    if not text:
        return Markup(MISSING)  # noqa: S704
    if not re.search(r"[`|\\]", text):
        return Markup(f"`{text}`")  # noqa: S704
    safe = re.sub(r"[^\w .,:;/=-]", lambda found: f"&#{ord(found.group())};", text)
    return Markup(f"<code>{safe}</code>")  # noqa: S704


def fence(value: object) -> Markup:
    """Text as the body of a fenced block: a run of backticks in it is broken up."""
    return Markup(str(value).replace("```", "'''"))  # noqa: S704


def num(value: object, digits: int = 4) -> str:
    """A number for a reader: ``digits`` significant, thousands apart, a dash when missing or not finite."""
    if value is None or value is pd.NaT or isinstance(value, str):
        return str(value) if isinstance(value, str) else MISSING
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        return MISSING
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    if abs(number) >= 10**digits:
        return f"{number:,.0f}"
    if abs(number) < 1e-3:  # one digit less, and no exponent down to a billionth
        return (
            f"{number:.{1 - math.floor(math.log10(abs(number)))}f}"
            if abs(number) >= 1e-9
            else f"{number:.1g}"
        )
    return f"{number:,.{digits}g}"


def when(value: object) -> str:
    """A time as ``YYYY-MM-DD HH:MM:SS UTC``; text and missing values pass through."""
    if value is None or value is pd.NaT:
        return MISSING
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC) if value.tzinfo else value:%Y-%m-%d %H:%M:%S} UTC"
    return str(value)


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings; cells are escaped when the table is written.

    Attributes:
        headings: column headings; one that ends in ``>`` is right-aligned.
        rows: cells as text, numbers or safe Markup.
        empty: what to say instead of an empty table.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[object]]
    empty: str = "Nothing to show."

    def __bool__(self) -> bool:
        return bool(self.rows)


def table(view: Table) -> Markup:
    """A Markdown table, or the table's own words for having no rows."""
    if not view.rows:
        return Markup(f"_{md(view.empty)}_")  # noqa: S704
    heads = [heading.rstrip(">") for heading in view.headings]
    rules = ["---:" if heading.endswith(">") else "---" for heading in view.headings]
    lines = ["| " + " | ".join(md(heading) for heading in heads) + " |", "| " + " | ".join(rules) + " |"]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in view.rows]
    return Markup("\n".join(lines))  # noqa: S704


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return num(value)
    text = str(md(when(value)) if isinstance(value, datetime) else md(value))
    return (
        ">" + text.removeprefix("&gt;") if text.startswith("&gt;") else text
    )  # no quotation starts inside a row


def frame_table(
    frame: pd.DataFrame, columns: Mapping[str, str], *, empty: str = "No data.", as_code: Collection[str] = ()
) -> Table:
    """A table of a frame's columns, in the order given; columns that are absent are left out, costs are negative.

    Args:
        frame: one row a line.
        columns: column -> heading.
        empty: what to say for a frame without rows.
        as_code: columns shown as code.
    """
    names = [name for name in columns if name in frame.columns]
    frame = shown_frame(frame[names])
    headings = [f"{columns[n]}>" if pd.api.types.is_numeric_dtype(frame[n]) else columns[n] for n in names]
    cells = [[code(v) for v in frame[n]] if n in as_code else frame[n].tolist() for n in names]
    return Table(headings, list(zip(*cells, strict=True)), empty)


_STATED = ("Nothing was measured here: every number is what the desk's feeds state.",)


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a report come from; printed in every report.

    Attributes:
        command: what was run, as a person would type it.
        grade: evidence grade, None when the report holds no market data.
        source: market source, e.g. ``simulated`` or ``recording:PATH``.
        measured: what was measured, one sentence each.
        modelled: what comes from a model, one sentence each, naming the model.
        run_id: the run's directory below artifacts/runs, empty outside a run.
        config_sha256, gates_sha256: hashes of what was in force.
        created: when the report was made.
    """

    command: str
    grade: Grade | None = None
    source: str = ""
    measured: Sequence[str] = ()
    modelled: Sequence[str] = ()
    run_id: str = ""
    config_sha256: str = ""
    gates_sha256: str = ""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of_feeds(cls, sidecar: Mapping[str, Any] | None, command: str, **rest: Any) -> Provenance:
        """Provenance of numbers computed from a feeds directory.

        Args:
            sidecar: what the engine wrote beside the feeds (feeds.json); None for a desk's own feeds.
            command: what was run.
            rest: further fields.
        """
        if sidecar is None:
            return cls(command, Grade.STATED, "a desk's own feeds", modelled=_STATED, **rest)
        grade = Grade(sidecar["grade"])
        if sidecar.get("of_desk"):
            return cls(command, grade, str(sidecar["source"]), modelled=_STATED, **rest)
        measured = ("Stage durations: a monotonic clock on the machine that ran the session.",)
        modelled = [f"Book refresh latency: {sidecar.get('refresh_latency') or 'no model was named'}."]
        modelled += [f"{caveat[:1].upper()}{caveat[1:]}." for caveat in sidecar.get("caveats", ())]
        if grade is not Grade.LIVE:
            modelled.append("Fills: the exchange model with queue positions, not an exchange.")
        if grade is Grade.SIMULATED:
            modelled.append(
                f"The market itself: the seeded order-flow simulator, seed {sidecar.get('seed')}."
            )
        return cls(command, grade, str(sidecar.get("source", "")), measured, tuple(modelled), **rest)

    @classmethod
    def of_step(cls, step: Any, sidecar: Mapping[str, Any] | None = None, **rest: Any) -> Provenance:
        """Provenance of an open step: its command, run and hashes, and its feeds when it has any.

        Args:
            step: an open step (``step``, ``source``, ``symbols``, ``params``, ``run_id``, ``config``,
                ``gates``).
            sidecar: what lies beside the feeds the step read or wrote; None for a step without market data.
            rest: further fields, which win.
        """
        known = {
            "run_id": step.run_id,
            "config_sha256": sha256_json(step.config.config.model_dump(mode="json")),
            "gates_sha256": str(step.gates.sha256),
        }
        command = rest.pop("command", "") or command_of(step)
        if sidecar is None:
            return cls(command, **{**known, **rest})
        return replace(cls.of_feeds(sidecar, command, **known), **rest)


def command_of(step: Any) -> str:
    """The command that runs an open step the same way again."""
    words = ["finishline", "run", "--step", step.step]
    if step.step == "daily_ops":
        words = ["finishline", "daily"]
        for name in ("date", "feeds"):
            if step.params.get(name):
                words += [f"--{name}", str(step.params[name])]
    if step.params.get("profile"):
        words += ["--profile", str(step.params["profile"])]
    if step.source:
        words += ["--source", step.source]
    if step.symbols:
        words += ["--symbols", ",".join(step.symbols)]
    for key, value in (step.params.get("sets") or {}).items():
        words += ["--set", f"{key}={value}"]
    return shlex.join(words)


@cache
def environment() -> Environment:
    """The Jinja environment: the package's templates, HTML escaped unless marked safe, no undefined names."""
    env = Environment(
        loader=PackageLoader("mmlib.reports", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    env.filters.update(md=md, code=code, fence=fence, num=num, when=when)
    env.globals.update(table=table, signs=SIGNS)
    return env


def render(template: str, provenance: Provenance, **names: Any) -> str:
    """Text of one report.

    Args:
        template: file name below ``templates/``.
        provenance: printed at its end.
        names: what the template uses.
    """
    text = environment().get_template(template).render(provenance=provenance, **names)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def bullet(items: Iterable[object]) -> Markup:
    """A Markdown list, escaped."""
    return Markup("\n".join(f"- {md(item)}" for item in items))  # noqa: S704
