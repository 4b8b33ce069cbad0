"""From an executed notebook to the blocks of a page: prose, results, figures; no code, nothing raw."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mmlib._io import UserError
from mmlib.workflow.light import light_jsonschema
from mmlib.workflow.outputs import frame_html, literal_html, mark_statuses, table_figure_html

_PLOTLY = "application/vnd.plotly.v1+json"
_MARKER = "papermill-error-cell-tag"
_CONTRACT = "# NBVAL_CHECK_OUTPUT"
_TAGS = re.findall(
    r"\w+",
    "a b blockquote br caption code dd div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre s small span strong "
    "sub sup table tbody td tfoot th thead tr ul",
)
_ATTRIBUTES = {
    "*": ["class"],
    "a": ["href"],
    "th": ["scope", "colspan", "rowspan"],
    "td": ["colspan", "rowspan"],
}
_WHOLE = re.compile(r"<(script|style|template|iframe|object)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_ANCHOR = re.compile(r'<a class="anchor-link"[^>]*>.*?</a>', re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One piece of a page: kind html (sanitised), figure (JSON and description), text or error."""

    kind: str
    html: Markup = Markup()  # noqa: RUF009  (immutable)
    text: str = ""
    id: str = ""
    alt: str = ""
    json: Markup = Markup()  # noqa: RUF009  (immutable)


def notebook_blocks(path: Path) -> list[Block]:
    """The blocks of an executed notebook, in order; cells that only check a contract of the code are left out.

    Raises:
        UserError: no readable notebook.
    """
    with light_jsonschema():
        import nbformat
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as exc:  # whatever a damaged file makes nbformat raise
        raise UserError(f"{path}: no readable notebook ({type(exc).__name__})") from exc
    blocks: list[Block] = []
    for number, cell in enumerate(notebook.cells):
        if _MARKER in cell.metadata.get("tags", []):
            continue
        if cell.cell_type == "markdown":
            blocks.append(markdown_block(cell.source))
        elif cell.cell_type == "code" and not cell.source.startswith(_CONTRACT):
            blocks += _outputs(cell.get("outputs", []), number)
    return blocks


def markdown_block(text: str) -> Block:
    """Markdown as sanitised HTML."""
    with light_jsonschema():
        from nbconvert.filters.markdown import markdown2html
    return Block("html", html=sanitise(mark_statuses(_ANCHOR.sub("", str(markdown2html(text))))))


def sanitise(html: str) -> Markup:
    """HTML with nothing but the tags of prose and tables: no scripts, styles, handlers, images."""
    return Markup(_sanitiser().sanitize_html_tags(_WHOLE.sub("", html)))  # noqa: S704  (just sanitised)


def json_script(payload: Any) -> Markup:
    """JSON that is safe inside a script element, whatever text it holds."""
    text = json.dumps(payload, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704  (no character of markup is left)


@cache
def _sanitiser() -> Any:
    with light_jsonschema():
        from nbconvert.preprocessors.sanitize import SanitizeHTML
    return SanitizeHTML(tags=_TAGS, attributes=_ATTRIBUTES, styles=[], strip=True)


def _outputs(outputs: list[Any], cell: int) -> Iterator[Block]:
    for number, output in enumerate(outputs):
        if output.output_type == "stream":
            yield Block("text", text=_plain("".join(output.text)))
        elif output.output_type == "error":
            yield Block("error", text=f"{output.ename}: {_plain(output.evalue)}")
        else:
            block = _display(output.data, f"figure-{cell}-{number}")
            if block is not None:
                yield block


def _display(data: Mapping[str, Any], name: str) -> Block | None:
    """The richest form that a page can carry; records for machines are left out."""
    if any(mime.startswith("application/scrapbook") for mime in data):
        return None
    if _PLOTLY in data:
        rows = table_figure_html(data[_PLOTLY])
        return Block("html", html=sanitise(rows)) if rows else _figure(data[_PLOTLY], name)
    if "text/html" in data:
        return Block("html", html=sanitise(frame_html(_text(data["text/html"]))))
    if "text/markdown" in data:
        return markdown_block(_text(data["text/markdown"]))
    if "text/plain" in data:
        text = _plain(_text(data["text/plain"]))
        prose = literal_html(text)
        return Block("html", html=sanitise(prose)) if prose else Block("text", text=text)
    return None


def _figure(figure: Mapping[str, Any], name: str) -> Block:
    layout = figure.get("layout", {})
    meta = layout.get("meta")
    title = layout.get("title")
    heading = title.get("text") if isinstance(title, Mapping) else title
    alt = meta.get("alt") if isinstance(meta, Mapping) else None
    drawn = {"data": figure.get("data", []), "layout": layout}
    return Block("figure", id=name, alt=str(alt or heading or "Figure"), json=json_script(drawn))


def _plain(text: str) -> str:
    from nbconvert.filters.ansi import strip_ansi

    return str(strip_ansi(text)).rstrip()


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)
