"""The attack list (``tests.attacks``), one test each, and kinds of attack that need a process of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from mmlib._expansion import FREE_BYTES, MOST_RATIO, Bomb, check_expansion
from mmlib._io import regular
from mmlib.engine.realtime.status import SUFFIX
from mmlib.feeds.bounded import Bounded
from mmlib.feeds.writer import FeedWriter
from mmlib.market.live.rest import Refused, RestClient
from mmlib.market.live.venues import VENUES
from mmlib.workflow.runner import sweep
from tests import attacks
from tests.make_feeds import fills, ticks

LIST = attacks.attacks(attacks.BRIEF)


def test_there_are_enough_and_no_two_alike() -> None:
    assert len(LIST) >= 150
    assert len({attack.name for attack in LIST}) == len(LIST)


@pytest.mark.parametrize("attack", LIST, ids=lambda attack: attack.name)
def test_an_attack_is_answered(
    attack: attacks.Attack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINISHLINE_CACHE", str(tmp_path / "cache"))
    assert attacks.run(attack, tmp_path / "home") == []


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+$", r"(a*)*", r"(a|aa)+", r"(?:a?b*)+c", r"(\d+)*x", r"((a+)b?)*", r"(a)\1", r"("],
)
def test_a_pattern_that_may_be_searched_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"match: .*expected"):
        Bounded(pattern)


@pytest.mark.parametrize(
    "pattern", [r"^([-+0-9.eE]+) ?(?:USDT|BUSD)$", r"^(\w+)-", r"(\d{4})", r"a.*b.*c.*(d)"]
)
def test_a_pattern_that_a_mapping_needs_is_taken_up_to_a_length(pattern: str) -> None:
    found = Bounded(pattern)
    found.search("a" * min(found.longest, 50))
    with pytest.raises(ValueError, match="letters; expected at most"):
        found.search("a" * (found.longest + 1))


def test_what_unfolds_too_far_is_refused_with_both_limits() -> None:
    check_expansion(1, FREE_BYTES)
    check_expansion(FREE_BYTES, FREE_BYTES * MOST_RATIO)
    with pytest.raises(Bomb, match=r"decompression bomb; expected at most 300 times"):
        check_expansion(10, FREE_BYTES + 1)


def test_only_what_can_be_read_to_an_end_is_regular(tmp_path: Path) -> None:
    assert regular(tmp_path / "missing") == tmp_path / "missing"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OSError, match="no regular file"):
            regular(path)


SHAPES = {
    "a list": b"[]",
    "no JSON": b"<html>",
    "symbols are a number": b'{"symbols": 7}',
    "a symbol is a word": b'{"symbols": ["BTCUSDT"]}',
    "filters are null": b'{"symbols": [{"symbol": "BTCUSDT", "filters": null}]}',
    "a filter is a word": b'{"symbols": [{"symbol": "BTCUSDT", "filters": ["x"]}]}',
    "too large": b" " * ((1 << 26) + 1),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rules_of_another_shape_are_refused_and_not_fatal(shape: str) -> None:
    async def ask() -> None:
        client = RestClient(VENUES["binanceusdm"], lambda *_: None)
        await client._client.aclose()
        transport = httpx.MockTransport(lambda request: httpx.Response(200, content=SHAPES[shape]))
        client._client = httpx.AsyncClient(base_url="http://127.0.0.1", transport=transport)
        async with client:
            await client.rules()

    with pytest.raises(Refused):
        asyncio.run(ask())


# --- in a process of its own ---


def environment(**given: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | given


def finishline(*words: str, cwd: Path, before: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """The command line, behind a line of shell."""
    line = f'{before} exec "$@"'
    command = ["bash", "-c", line, "bash", sys.executable, "-m", "mmlib", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=600
    )


POOR = {
    "few files": ("ulimit -n 64;", {}),
    "plain C": ("", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    "ascii": ("", {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}),
    "no place for a cache": ("", {"FINISHLINE_CACHE": "/proc/nowhere"}),
    "no home": ("", {"HOME": "/proc", "XDG_CACHE_HOME": "/proc"}),
    "one column": ("", {"TERM": "dumb", "COLUMNS": "1"}),
}


@pytest.mark.parametrize("kind", POOR)
def test_a_machine_that_gives_little_gives_the_same_answer(kind: str, tmp_path: Path) -> None:
    home = tmp_path / "a desk · 你好 dir"
    with FeedWriter(home, "BTCUSDT") as writer:
        writer.ticks(ticks(60, seed=5))
        writer.fills(fills(40, seed=6))
    before, env = POOR[kind]
    done = finishline("feeds", "check", str(home), cwd=tmp_path, before=before, **env)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr[-1000:]
    assert done.stdout.rstrip().endswith(": clean")


MAPPING = """
schema: 1
title: test
format: csv
feeds:
  - kind: fills
    fields:
      ts: {from: t}
      symbol: {value: BTCUSDT}
      arm: {value: A}
      side: {value: buy}
      price: {value: 1.0}
      qty: {value: 1.0}
      liquidity: {value: maker}
      fee: {value: 0.0}
      quote_price: {value: 1.0}
      mid_at_quote: {value: 1.0}
      mid_at_fill: {value: 1.0}
      queue_ahead_qty: {value: 0.0}
      latency_ms: {value: 1.0}
      order_id: {from: id}
      fill_id: {from: id}
"""
WORDS = ("feeds", "import", "x.csv", "--mapping", "m.yaml", "--workspace", ".", "-o")


def export(home: Path, rows_a_day: int) -> None:
    """An export of nineteen days, and its mapping."""
    rows = [f"2025-01-{day:02d}T00:00:00Z,{day}-{k}" for day in range(1, 20) for k in range(rows_a_day)]
    (home / "x.csv").write_text("\n".join(["t,id", *rows, ""]))
    (home / "m.yaml").write_text(MAPPING)


def days(home: Path) -> int:
    return len(list(home.glob("fills_*.jsonl")))


def test_two_imports_at_once_give_one_whole_set(tmp_path: Path) -> None:
    export(tmp_path, 50)
    command = [sys.executable, "-m", "mmlib", *WORDS, "out"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=tmp_path, env=environment(), **pipes) for _ in range(2)]
    said = [one.communicate(timeout=600)[1] for one in both]
    assert sorted(one.returncode for one in both) == [0, 2] and "Traceback" not in "".join(said), said
    assert days(tmp_path / "out") == 19
    assert not list(tmp_path.glob(".out.importing-*"))


def test_a_full_disk_leaves_nothing_of_an_import_and_is_named(tmp_path: Path) -> None:
    export(tmp_path, 300)
    done = finishline(*WORDS, "out", cwd=tmp_path, before="ulimit -f 40; trap '' XFSZ;")
    assert done.returncode == 2 and "nothing was imported" in done.stderr, done.stderr
    assert str(tmp_path / "out") in done.stderr
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".out", "out"))]


def test_a_killed_import_leaves_no_half_set_and_the_next_sweeps(tmp_path: Path) -> None:
    export(tmp_path, 2000)
    command = [sys.executable, "-m", "mmlib", *WORDS, "out"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL) as killed:
        until = time.monotonic() + 300
        while not list(tmp_path.glob(".out.importing-*/*")) and time.monotonic() < until:
            assert killed.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        killed.kill()
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out.importing-*"))
    assert finishline(*WORDS, "out", cwd=tmp_path).returncode == 0
    assert days(tmp_path / "out") == 19 and not list(tmp_path.glob(".out.importing-*"))


PAIRS = (("alerts", "alerts"), ("alerts", "rollback"), ("rollback", "rollback"))
VERBS = {"alerts": ["alerts"], "rollback": ["rollback", "--reason", "x"]}


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_verbs_at_once_in_one_workspace(pair: tuple[str, str], tmp_path: Path) -> None:
    home = tmp_path / "a desk · 你好"
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    start = [sys.executable, "-m", "mmlib"]
    both = [
        subprocess.Popen([*start, *VERBS[verb], "--workspace", str(home)], env=environment(), **pipes)
        for verb in pair
    ]
    said = [one.communicate(timeout=600)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert not list(home.rglob("*.tmp"))


def test_what_a_killed_run_left_of_a_notebook_is_swept(tmp_path: Path) -> None:
    home = tmp_path / "artifacts" / "runs" / "20250115T000000Z"
    home.mkdir(parents=True)
    ours = home / f".01_prep.{os.getpid()}.partial.ipynb"
    for name in (".01_prep.4194305.partial.ipynb", ".02_shadow.partial.ipynb", ours.name, "01_prep.ipynb"):
        (home / name).write_text("{}")
    sweep(tmp_path)
    assert sorted(path.name for path in home.iterdir()) == [ours.name, "01_prep.ipynb"]


@pytest.mark.parametrize("damage", ["symbols", "gates", "connected", "recent_errors"])
def test_a_damaged_status_is_named_not_fatal(damage: str, tmp_path: Path) -> None:
    status = {"at_ns": time.time_ns(), "pid": os.getpid(), "exchange": "\x1b]52;c;eA==\x07x", "address": "a"}
    status |= {"connected": True, "frames": 1, "rss_mb": 1.0, "share": 0.5}
    status |= {"symbols": {}, "gates": [], "recent_errors": []}
    path = tmp_path / "artifacts" / f"x{SUFFIX}"
    path.parent.mkdir()
    path.write_text(json.dumps(status))
    said = attacks.call(["watch", "--once", "--workspace", str(tmp_path)], tmp_path)
    assert said.code == 0 and "\x1b]" not in said.out
    path.write_text(json.dumps(status | {damage: 7} if damage != "connected" else {**status, "frames": "x"}))
    said = attacks.call(["watch", "--once", "--workspace", str(tmp_path)], tmp_path)
    assert said.code == 2 and path.name in said.err and "expected" in said.err
