"""Every command of the README runs, or is read by the parser where it needs what a test has not; see readme_commands.py."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmlib import cli
from mmlib.config.load import ensure_params
from mmlib.feeds.writer import FeedWriter
from mmlib.gates.spec import load_gates
from mmlib.rollout import aa
from mmlib.workflow.arguments import parser
from tests import make_feeds
from tests.readme_commands import PARSED, commands, python_blocks, reason_not_run, shortened
from tests.test_feeds_import import HUMMINGBOT

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
MINUTE_NS = 60 * 10**9
RUN = [command for command in commands() if not reason_not_run(command)]


def made_up() -> bytes:
    """A minute of a Binance recording for a clone without the real ones."""
    rng, lines, mid = np.random.default_rng(1), [], 60_000.0
    for i in range(600):
        ms, mid = 1_723_161_256_000 + 100 * i, mid + rng.integers(-2, 3) / 10
        levels = [
            [[f"{mid + side * (k + 1) / 10:.1f}", f"{rng.integers(1, 9)}.5"] for k in range(5)]
            for side in (-1, 1)
        ]
        data: dict[str, Any] = {
            "e": "depthUpdate",
            "E": ms,
            "T": ms,
            "s": "BTCUSDT",
            "U": i,
            "u": i,
            "pu": i - 1,
        }
        lines.append((ms, data | {"b": levels[0], "a": levels[1]}))
        price, maker = levels[i % 2][0][0], i % 2 == 0
        trade = {"e": "trade", "E": ms, "T": ms, "s": "BTCUSDT", "t": i, "p": price, "q": "0.1", "m": maker}
        lines.append((ms + 20, trade))
    return b"".join(b"%d %s\n" % (ms * 10**6 + 5_000_000, json.dumps(data).encode()) for ms, data in lines)


def first_minute(path: Path) -> bytes:
    """The lines of the first minute of a recording."""
    with gzip.open(path) as lines:
        first = next(lines)
        end = int(first[:19]) + MINUTE_NS
        return first + b"".join(takewhile(lambda line: int(line[:19]) < end, lines))


def first_rows(path: Path, rows: int) -> bytes:
    with gzip.open(path) as lines:
        return b"".join(line for _, line in zip(range(rows), lines, strict=False))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the README's commands name, recordings cut to their first minute."""
    where = tmp_path_factory.mktemp("readme")
    name = "binance_usdm_btcusdt_20240808.gz"
    minute = first_minute(DATA / name) if DATA.is_dir() else made_up()
    for copy in (name, "btcusdt.gz"):
        (where / copy).write_bytes(gzip.compress(minute, 1))
    at = int(minute[:19]) + 10 * 10**9
    head = "ts_ns,action,order_id,side,price,qty,time_in_force\n"
    (where / "orders.csv").write_text(f"{head}{at},new,1,buy,,0.001,IOC\n{at},new,2,sell,,0.001,IOC\n")
    (where / "actual.csv").write_text(f"exch_ts_ns,order_id,side,price,qty\n{at},1,buy,60000,0.001\n")
    (where / "trades_pmm.csv").write_text(HUMMINGBOT)
    gemini = where / "gemini_ethusd_20210701"
    gemini.mkdir()
    if DATA.is_dir():
        for file in sorted((DATA / gemini.name).iterdir())[:2]:
            if file.name.endswith(".csv.gz"):
                (gemini / file.name).write_bytes(gzip.compress(first_rows(file, 61), 1))
    else:
        from tests.test_market_topbook import DEPTH, TRADES, save

        save(gemini, DEPTH, TRADES)
        for file in list(gemini.iterdir()):
            file.rename(file.with_name(file.name.replace("abc-usd", "eth-usd")))
    for workspace in (where, where / "w1", where / "w2"):
        workspace.mkdir(exist_ok=True)
        ensure_params(workspace)
        for step, name, instead in (
            ("06_baseline_lock", "rounds", "2"),
            ("02_shadow", "duration_min", "1.0"),
        ):
            params = workspace / "params" / "steps" / f"{step}.yaml"
            params.write_text(re.sub(rf"(?m)^{name}: [0-9.]+", f"{name}: {instead}", params.read_text()))
        aa.cached(workspace, load_gates(workspace), stages=4)  # the study of the rules has tests of its own
    (where / "notebooks").symlink_to(ROOT / "notebooks")
    return where


def test_every_command_is_one_of_the_parser() -> None:
    found = commands()
    assert len(found) >= 25
    for command in found:
        words = shortened(command)
        if words[0] == "finishline":
            parser().parse_args(words[1:])
    unused = [begin for begin in PARSED if not any(command.startswith(begin) for command in found)]
    assert unused in ([], ["finishline loopback"]), "what the README no longer says need not be excused"


def write_feeds(directory: Path) -> None:
    with FeedWriter(directory, "BTCUSDT") as writer:
        writer.ticks(make_feeds.ticks(240, 5))
        writer.fills(make_feeds.fills(20, 5, span_ns=200 * make_feeds.SECOND_NS))


@pytest.mark.parametrize("command", RUN)
def test_it_runs_and_ends_as_it_says(
    home: Path, command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """0 or 1 (a gate without enough data), never 2 (bad input) or 3 (a step that failed to execute)."""
    monkeypatch.chdir(home)
    words = shortened(command)
    if "import" in words:  # it wants a directory of its own
        shutil.rmtree(home / "feeds", ignore_errors=True)
    if "feeds:feeds" in words:
        write_feeds(home / "feeds")
    if words[0] == "papermill":
        code = subprocess.run([sys.executable, "-m", *words], check=False, timeout=600).returncode
    else:
        code = cli.main(words[1:])
    said = capfd.readouterr()
    assert code in (0, 1), said.err[-2000:]
    assert code == 0 or "run" in words or "soak" in words or "daily" in words, said.err[-2000:]
    if "--all" in words and "recording:" in command:
        assert "NO_DATA" in said.out and "ERROR" not in said.out


def test_its_python_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    shutil.rmtree(home / "artifacts" / "edge" / "feeds", ignore_errors=True)
    write_feeds(home / "artifacts" / "edge" / "feeds")
    for block in python_blocks():
        exec(compile(block, "README.md", "exec"), {})
