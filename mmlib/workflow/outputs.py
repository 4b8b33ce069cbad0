"""Outputs of cells as a reader wants them: no Python literals, no row numbers, no fourteen digits."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mmlib.reports.words import MISSING, minute_text, number, window_text
from mmlib.workflow.table import status_mark
from mmlib.workflow.times import readable

_FRAME = re.compile(r'<table\b[^>]*class="dataframe"[^>]*>.*?</table>', re.DOTALL)
_ROW = re.compile(r"<tr\b[^>]*>.*?</tr>", re.DOTALL)
_CELL = re.compile(r"<(th|td)\b[^>]*>(.*?)</\1>", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_STATUSES = ("PASS", "FAIL", "INCONCLUSIVE", "NO_DATA", "ERROR")
_UNITS = {"pct": "%", "ms": "ms", "s": "s", "h": "h", "bps": "bps", "mb": "MB", "min": "min"}
_STATUS_CELL = re.compile(rf"<td[^>]*>({'|'.join(_STATUSES)})( \(\w+\))?</td>")
_LONGEST = 20_000


def literal_html(text: str) -> str | None:
    """A displayed Python literal as prose, list or table; None for anything else.

    A text becomes a paragraph, a sequence of texts a list, a mapping a table of two columns; empty is ``None.``.
    """
    if len(text) > _LONGEST:
        return None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, str):
        return f"<p>{html.escape(value)}</p>"
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        items = "".join(f"<li>{html.escape(window_text(item))}</li>" for item in value)
        return f"<ul>{items}</ul>" if items else "<p>None.</p>"
    if isinstance(value, Mapping) and value:
        rows = "".join(
            f'<tr><th scope="row">{html.escape(_fact(str(key)))}</th><td>{html.escape(_said(item))}</td></tr>'
            for key, item in value.items()
        )
        return f'<table class="facts"><tbody>{rows}</tbody></table>'
    return None


def frame_html(text: str) -> str:
    """HTML in which tables that pandas wrote lose their row numbers and their surplus digits."""
    return _FRAME.sub(lambda found: _frame(found.group()), text)


def table_figure_html(figure: Mapping[str, Any]) -> str | None:
    """A figure that holds nothing but one table as a real table; None for any other figure."""
    traces = figure.get("data") or []
    if len(traces) != 1 or traces[0].get("type") != "table":
        return None
    heads = traces[0]["header"]["values"]
    columns = traces[0]["cells"]["values"]
    top = "".join(f'<th scope="col">{_plain(head)}</th>' for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{_marked(_plain(cell))}</td>" for cell in row) + "</tr>"
        for row in zip(*columns, strict=True)
    )
    layout = figure.get("layout") or {}
    title = layout.get("title") or ""
    caption = title.get("text", "") if isinstance(title, Mapping) else title
    return f"<table><caption>{_plain(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def mark_statuses(page: str) -> str:
    """HTML in which table cells that hold nothing but a status get its mark and colour."""
    return _STATUS_CELL.sub(lambda found: f"<td>{_marked(found[1])}{found[2] or ''}</td>", page)


def _frame(table: str) -> str:
    rows = [_CELL.findall(row) for row in _ROW.findall(table)]
    if not rows or not all(rows):
        return table
    if len(rows) == 2 and len(rows[1]) == len(rows[0]) and not any(text for _, text in rows[1][1:]):
        head = [
            first[1] or second[1] for first, second in zip(*rows, strict=True)
        ]  # a named index without rows
        rows = [[("th", text) for text in head]]
    heads, body = _one_heading(rows)
    if not body:
        return "<p>No rows.</p>"
    numbered = [row[0][1] for row in body] == [str(i) for i in range(len(body))] and heads[0] == ""
    first = 1 if numbered else 0
    top = "".join(f'<th scope="col">{_heading(head)}</th>' for head in heads[first:])
    lines = ("".join(f"<{tag}>{_value(text)}</{tag}>" for tag, text in row[first:]) for row in body)
    inner = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{inner}</tbody></table>"


def _one_heading(rows: list[list[tuple[str, str]]]) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """Headings and body; pandas writes the name of an index in a second row of headings."""
    top = [text for _, text in rows[0]]
    if len(rows) > 1 and all(tag == "th" for tag, _ in rows[1]) and len(rows[1]) == len(top):
        return [first or second for first, (_, second) in zip(top, rows[1], strict=True)], rows[2:]
    return top, rows[1:]


def _heading(name: str) -> str:
    """A column's name in words, its unit in brackets: ``cache_age_p95_ms`` is ``cache age p95 [ms]``."""
    words = name.split("_")
    unit = _UNITS.get(words[-1]) if len(words) > 1 else None
    return " ".join(words) if unit is None else f"{' '.join(words[:-1])} [{unit}]"


def _fact(name: str) -> str:
    """A key of a summary in words; a dotted setting or a path stays as it is."""
    return name if re.search(r"[./]", name) else _heading(name)


def _value(text: str) -> str:
    if text in ("NaN", "None", "NaT", "&lt;NA&gt;"):
        return MISSING
    if _NUMBER.fullmatch(text):
        return number(float(text) if any(c in text for c in ".e") else int(text))
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return text
    return readable(text) if len(text) > len("2025-01-15") else text


def _said(value: Any) -> str:
    """A value in words: yes and no, numbers short, sequences with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return ", ".join(_said(item) for item in value) or MISSING
    if isinstance(value, int | float):
        return number(value)
    text = MISSING if value is None else str(value)
    return minute_text(text) if re.match(r"\d{4}-\d\d-\d\dT", text) else text


def _plain(text: Any) -> str:
    """A figure's text, which is escaped already, without the bold that plotly reads."""
    bare = str(text).removeprefix("<b>").removesuffix("</b>")
    return html.escape(html.unescape(bare))


def _marked(text: str) -> str:
    """A status with its mark and colour; other text as it is."""
    if text not in _STATUSES:
        return text
    css = "".join(c for c in text.lower() if c.isalnum())
    return f'<span class="status {css}">{status_mark(text)}</span>'
