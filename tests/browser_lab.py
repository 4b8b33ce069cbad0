"""JupyterLab on a workspace, in a real Chromium: opens a notebook, runs it whole, and counts what its figures draw."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mmlib.engine.orphan import die_with_parent

PATIENCE_MS = 300_000
"""An event is waited for at most so long: a limit for a machine ten times slower, reached only where something is broken."""

SLOWER = 4
"""While the cells run the page is slowed by this: what a kernel sends before a widget is loaded is then really early."""

_DRAWN = """plots => plots.map(plot => {
    const paths = [...plot.querySelectorAll('.scatterlayer path.js-line')].map(path => path.getAttribute('d') || '');
    return {
        title: plot._fullLayout && plot._fullLayout.title ? plot._fullLayout.title.text : '',
        line: paths.reduce((sum, d) => sum + (d.match(/[MLHV]/g) || []).length, 0),
        marks: plot.querySelectorAll('.scatterlayer .points path, .barlayer .point path').length,
        images: plot.querySelectorAll('.heatmaplayer image').length,
        held: (plot.data || []).reduce((sum, t) => sum + (t.y ? t.y.length : 0) + (t.z ? t.z.length : 0), 0),
        names: (plot.data || []).map(trace => trace.name),
        span: plot._fullLayout && plot._fullLayout.xaxis ? plot._fullLayout.xaxis.range : null,
    };
})"""


def chromium() -> str:
    """Where Chromium is; the test is skipped where there is none, or no Playwright to drive it."""
    pytest.importorskip(
        "playwright", reason="Playwright is not installed; no notebook was opened in a browser"
    )
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine; no notebook was opened in a browser")
    return found


@contextmanager
def lab(workspace: Path, log: Path) -> Iterator[str]:
    """Address of a JupyterLab on the notebooks of the workspace; it ends with the block."""
    words = [sys.executable, "-m", "mmlib", "lab", "--no-browser", "--workspace", str(workspace)]
    with (
        log.open("w") as said,
        subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent,
        ) as server,
    ):
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), log.read_text()[-2000:]
            _wait_for(address, server, log)
            yield address
        finally:
            os.killpg(server.pid, 15)
            server.wait(60)


def _wait_for(address: str, server: subprocess.Popen[str], log: Path) -> None:
    """Until the server answers, or has ended."""
    place = urlsplit(address)
    assert place.hostname and place.port
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            socket.create_connection((place.hostname, place.port), timeout=5).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)


@contextmanager
def page(address: str, notebook: str) -> Iterator[Any]:
    """A page of Chromium with the notebook open, run whole to its end."""
    browser_path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        try:
            tab = browser.new_page(viewport={"width": 1500, "height": 7000})
            tab.set_default_timeout(PATIENCE_MS)
            home, _, token = address.partition("/lab")
            tab.goto(f"{home}/lab/tree/{notebook}{token}", wait_until="domcontentloaded")
            slow = tab.context.new_cdp_session(tab)
            slow.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
            run_all(tab)
            slow.send("Emulation.setCPUThrottlingRate", {"rate": 1})
            yield tab
        finally:
            browser.close()


def run_all(tab: Any) -> None:
    """Run > Run All Cells, as a person does it, and wait until no cell is left to run."""
    tab.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-CodeCell").first.wait_for()
    tab.locator("#jp-main-statusbar", has_text="| Idle").wait_for()
    tab.locator(".lm-MenuBar-item", has_text="Run").first.click()
    tab.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    tab.wait_for_function(
        """() => {
            const said = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.textContent);
            return said.length > 0 && said.every(text => /\\[\\d+\\]/.test(text));
        }"""
    )


def drawn(tab: Any) -> list[dict[str, Any]]:
    """What each figure of the page draws, in the page's order: points of its lines and marks, images, points it holds."""
    found: list[dict[str, Any]] = tab.locator(".js-plotly-plot").evaluate_all(_DRAWN)
    return found
