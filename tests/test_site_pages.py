"""The HTML site: sanitised, without code, complete without a network, drawn in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from mmlib._io import sha256_file
from mmlib.workflow import runs
from mmlib.workflow.pages import json_script, notebook_blocks, sanitise
from mmlib.workflow.site import build_single, build_site
from tests.workflow_fixtures import decide, record_all, result

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


class Page(HTMLParser):
    """Collects addresses, script elements and event handlers of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.addresses += [str(named[n]) for n in ("src", "href", "data", "action") if named.get(n)]
        self.handlers += [n for n in named if n.startswith("on")]
        if tag == "script":
            self.scripts.append(named)


def make_notebook(ws: Path) -> Path:
    """An executed shadow notebook with prose, tables, a figure, an error and hostile text, indexed as the latest."""
    import plotly.graph_objects as go

    figure = go.Figure(go.Scatter(x=[1, 2, 3], y=[3, 1, 2], name=EVIL))
    figure.update_layout(title=EVIL, meta={"alt": f"Three points {EVIL}"}, height=300)
    new = nbformat.v4
    step = {
        "step": "shadow",
        "status": "PASS",
        "grade": "live",
        "run_id": "r1",
        "finished": "2025-01-15T00:00:00.000Z",
    }
    outputs = [
        new.new_output("display_data", {"application/vnd.plotly.v1+json": json.loads(figure.to_json())}),
        new.new_output(
            "display_data", {"text/html": f"<style>x{{}}</style><table><tr><td>cell {EVIL}</td></tr></table>"}
        ),
        new.new_output("stream", name="stdout", text=f"\x1b[31mprinted {EVIL}\x1b[0m"),
        new.new_output(
            "error", ename="ValueError", evalue=f"bad {EVIL}", traceback=["File secret.py, line 1"]
        ),
        new.new_output("display_data", {"text/plain": "plain text"}),
    ]
    for name, data in (("step", {**step, "params": {"x": EVIL}}), ("gates", [result("shadow").to_dict()])):
        payload = {"name": name, "data": data, "encoder": "json", "version": 1}
        mime = {"application/scrapbook.scrap.json+json": payload}
        outputs.append(
            new.new_output("display_data", mime, metadata={"scrapbook": {"name": name, "data": True}})
        )
    cells = [
        new.new_markdown_cell(
            f"# Shadow\n\nProse with [a link](javascript:alert(3)) and {EVIL}\n\n| a | b |\n|--|--|\n| 1 | 2 |"
        ),
        new.new_code_cell("secret_code = 1", outputs=outputs),
    ]
    path = runs.runs_dir(ws) / "r1" / "02_shadow.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(new.new_notebook(cells=cells), path)
    entry = {
        "run_id": "r1",
        "path": "r1/02_shadow.ipynb",
        "sha256": sha256_file(path),
        "finished": step["finished"],
    }
    runs.update_index(ws, "shadow", entry)
    return path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A workspace with records, hostile reports, a verdict and its pages; returns the directory of the site."""
    record_all(tmp_path, without=("shadow",))
    make_notebook(tmp_path)
    (tmp_path / "artifacts" / "reports").mkdir(parents=True, exist_ok=True)
    (tmp_path / "artifacts" / "reports" / "PREP_LOG.md").write_text(
        f"# Log\n\n{EVIL}\n\n| a |\n|--|\n| b |\n"
    )
    decide(tmp_path)
    return build_site(tmp_path).parent


def test_pages_are_inert_and_complete(site: Path) -> None:
    pages = [*site.rglob("*.html"), *(site.parent / "runs").rglob("*.html")]
    assert len(pages) > 10
    for path in pages:
        page = Page(path.read_text())
        assert page.handlers == []
        for address in page.addresses:
            assert not re.match(r"[a-z]+:|//", address), (path, address)
            assert (path.parent / address.split("#")[0]).exists(), (path, address)
        loose = [s for s in page.scripts if "src" not in s and s.get("type") != "application/json"]
        assert loose == []
        assert "alert(1)>" not in path.read_text()


def test_no_code_no_traceback_no_records(site: Path) -> None:
    text = (site / "02_shadow.html").read_text()
    assert "secret_code" not in text
    assert "secret.py" not in text
    assert "scrapbook" not in text
    assert "ValueError: bad" in text
    assert "\x1b" not in text
    assert 'role="img"' in text
    assert "Three points" in text
    assert "<td>1</td>" in text


def test_page_beside_the_notebook_uses_the_site_s_assets(site: Path) -> None:
    text = (site.parent / "runs" / "r1" / "02_shadow.html").read_text()
    assert 'src="../../html/plotly.min.js"' in text


def test_index_shows_verdict_rows_and_links(site: Path) -> None:
    text = (site / "index.html").read_text()
    assert "READY" in text
    assert text.count('class="status pass"') >= 18
    assert 'href="02_shadow.html"' in text
    assert 'href="reports/PREP_LOG.html"' in text


def test_verdict_older_than_a_step_says_so(site: Path) -> None:
    from mmlib.workflow.record import open_step

    ws = site.parents[1]
    open_step("prep", workspace=ws).finish([result("prep")])
    assert "run readiness again" in build_site(ws).read_text()


def test_site_of_an_empty_workspace(tmp_path: Path) -> None:
    assert "No verdict yet" in build_site(tmp_path).read_text()


def test_damaged_readiness_is_not_a_verdict(tmp_path: Path) -> None:
    path = tmp_path / "artifacts" / "reports" / "readiness.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"verdict": "READY"}')
    assert "No verdict yet" in build_site(tmp_path).read_text()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("<table class='gates' style='x' onclick='y'><tr><td>1</td></tr></table>", 'class="gates"'),
        ("<style>body{display:none}</style>ok", "ok"),
        ("<b>x</b><script>alert(1)</script>", "<b>x</b>"),
        ('<a href="javascript:alert(1)">x</a>', "<a>x</a>"),
        ('<iframe src="https://x.example"></iframe>y', "y"),
        ("<svg/onload=alert(1)>z", "z"),
    ],
)
def test_sanitise(given: str, kept: str) -> None:
    clean = str(sanitise(given))
    assert kept in clean
    for word in ("script", "style", "onclick", "onload", "iframe", "display:none"):
        assert word not in clean


def test_json_script_cannot_leave_its_element() -> None:
    payload = {"x": "</script><!--<script>& \u2028"}
    text = str(json_script(payload))
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == payload


def test_damaged_notebook_becomes_an_error_page(tmp_path: Path) -> None:
    path = make_notebook(tmp_path)
    assert any(b.kind == "figure" for b in notebook_blocks(path))
    path.write_text("{")
    page = (build_site(tmp_path).parent / "02_shadow.html").read_text()
    assert "changed after it was recorded" in page


def open_in_browser(page: Path, scratch: Path) -> tuple[str, list[str]]:
    """The page's elements after its scripts ran without a network, and what the console said."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine; the pages were not opened in a browser")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    )
    flags += (
        "--disable-component-update --disable-sync --proxy-server=127.0.0.1:9 --virtual-time-budget=15000"
    )
    profile = f"--user-data-dir={scratch / 'browser'}"
    command = [browser, *flags.split(), profile, "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.browser
@pytest.mark.slow
def test_figures_are_drawn_from_disk_without_a_network(site: Path, tmp_path: Path) -> None:
    shown, console = open_in_browser(site / "02_shadow.html", tmp_path)
    assert 'data-drawn="yes"' in shown
    assert "svg" in shown
    assert console == []


@pytest.mark.browser
@pytest.mark.slow
def test_one_file_holds_it_all_and_draws_it(site: Path, tmp_path: Path) -> None:
    alone = build_single(site.parents[1], tmp_path / "elsewhere" / "all.html")
    text = alone.read_text()
    page = Page(text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for address in page.addresses:
        assert address.startswith("#"), address
        assert address[1:] in ids, address
    assert page.handlers == []
    assert [s for s in page.scripts if "src" in s] == []
    shown, console = open_in_browser(alone, tmp_path)
    assert 'data-drawn="yes"' in shown
    assert console == []


def test_a_symbol_that_looks_like_markup_stays_text(tmp_path: Path) -> None:
    from mmlib.workflow.record import open_step

    evil = "<script>alert(9)</script>"
    ctx = open_step("soak", workspace=tmp_path)
    ctx.params["symbols"] = [evil]
    ctx.finish([result("soak", "FAIL", title=evil)], facts={"symbol": evil})
    for path in (build_site(tmp_path).parent / "03_soak.html", build_single(tmp_path, tmp_path / "one.html")):
        assert evil not in path.read_text()
        assert "&lt;script&gt;alert(9)" in path.read_text()


def test_a_report_links_to_reports_that_have_a_page(tmp_path: Path) -> None:
    home = tmp_path / "artifacts" / "reports"
    (home / "daily").mkdir(parents=True)
    (home / "PREP_LOG.md").write_text("# Log\n")
    day = "# Day\n\n[log](../PREP_LOG.md) [gone](../GONE.md) [out](../../../../etc/passwd) [web](https://example.org/)\n"
    (home / "daily" / "2025-01-15.md").write_text(day)
    text = (build_site(tmp_path).parent / "reports" / "daily-2025-01-15.html").read_text()
    assert 'href="PREP_LOG.html"' in text
    assert "GONE.md" not in text
    assert "passwd" not in text
    assert 'href="#PREP_LOG"' in build_single(tmp_path, tmp_path / "one.html").read_text()


def test_the_front_page_needs_no_script_and_the_history_names_every_run(site: Path) -> None:
    assert Page((site / "index.html").read_text()).scripts == []
    manifest = {"status": "FAIL", "seconds": 3.0, "profile": "demo", "started": "2025-01-15T00:00:00Z"}
    (site.parent / "runs" / "r1" / "02_shadow.json").write_text(json.dumps(manifest))
    (site.parent / "runs" / "r1" / "03_soak.json").write_text("{")
    build_site(site.parents[1])
    text = (site / "runs.html").read_text()
    assert 'href="../runs/r1/02_shadow.html"' in text
    assert "demo" in text
    assert text.count('class="status fail"') == 1
    assert text.count('class="status error"') == 1


def test_a_page_says_where_its_numbers_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmlib.workflow.record import open_step

    monkeypatch.setenv("FINISHLINE_COMMAND", "finishline run --step <prep>")
    ctx = open_step("prep", workspace=tmp_path)
    ctx.finish([result("prep")])
    text = (build_site(tmp_path).parent / "01_prep.html").read_text()
    for words in ("finishline run --step &lt;prep&gt;", "params/gates.yaml", "numba", "code_sha256"):
        assert words in text


def test_index_says_what_to_do_next_and_what_the_verdict_stands_on(tmp_path: Path) -> None:
    record_all(tmp_path, without=("soak",))
    decide(tmp_path)
    text = build_site(tmp_path).read_text()
    assert "What to do next" in text
    assert "finishline run --step soak" in text
    assert text.index("What to do next") < text.index("Acceptance</h2>")
    assert "not run" in text
    record_all(tmp_path)
    decide(tmp_path, "simulated", rehearsal=True)
    done = build_site(tmp_path).read_text()
    assert "REHEARSAL PASSED" in done
    assert "every row passed on the evidence that was demanded" in done


def test_index_says_how_the_day_was_and_what_a_stage_asks_for(tmp_path: Path) -> None:
    from mmlib.workflow.record import open_step

    facts = {"health": "DEGRADED", "date": "2025-01-16"}
    open_step("daily_ops", workspace=tmp_path).finish([result("daily_ops")], facts=facts)
    open_step("ab", workspace=tmp_path, rollout_pct=10).finish([result("ab_10")], facts={"action": "HOLD<i>"})
    text = build_site(tmp_path).read_text()
    assert "<td>2025-01-16 was DEGRADED</td>" in text
    assert "<td>HOLD&lt;i&gt;</td>" in text
