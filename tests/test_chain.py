"""The chain inputs → records → lock → readiness: an edit of any link is noticed, also one that mends the hashes after it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmlib import seal
from mmlib._io import UserError, read_json, sha256_file, sha256_json, write_json
from mmlib.baseline.lock import lock, read_lock
from mmlib.cli import main
from mmlib.dtypes import Grade
from mmlib.workflow.readiness import JSON_PATH, collect, doubts, unconfirmed
from mmlib.workflow.record import open_step
from mmlib.workflow.runs import read_index, runs_dir, update_index
from mmlib.workflow.site import build_site
from tests.test_baseline_lock import budgets, ticks, write_budgets
from tests.workflow_fixtures import decide, record_all, result

FEED = "artifacts/edge/feeds/fills_20250115.jsonl"
INDEX = "artifacts/runs/index.json"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that is READY, with feeds that a step read and files that it wrote."""
    ws = tmp_path_factory.mktemp("ready") / "ws"
    feed, wrote = ws / FEED, ws / "artifacts" / "reports" / "soak.md"
    for path in (feed, wrote):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one line\n")
    record_all(ws, without=("soak",))
    open_step("soak", workspace=ws).finish([result("soak")], grade=Grade.LIVE, inputs=[feed], outputs=[wrote])
    decide(ws)
    return ws


@pytest.fixture
def ws(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, sealed with a key of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ws = tmp_path / "ws"
    shutil.copytree(ready, ws)
    for step, entry in read_index(ws).items():
        update_index(ws, step, entry)
    return ws


def keeping_its_time(path: Path, text: str) -> None:
    """Other content of the same size and time of change."""
    before = path.stat()
    data = text.encode()[: before.st_size].ljust(before.st_size)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def entry_of(ws: Path, step: str) -> dict[str, Any]:
    return dict(read_json(ws / INDEX)["steps"][step])


def with_entry(ws: Path, step: str, **changes: Any) -> None:
    """The index with another entry; None takes a key away."""
    index = read_json(ws / INDEX)
    index["steps"][step] = {k: v for k, v in (index["steps"][step] | changes).items() if v is not None}
    write_json(ws / INDEX, index)


def edited_scrap(ws: Path, step: str, **index: Any) -> None:
    """A record whose gates and status say otherwise, and the index that names its new hash."""
    path = runs_dir(ws) / entry_of(ws, step)["path"]
    record = read_json(path)
    record["step"]["grade"] = "simulated" if record["step"]["grade"] == "live" else "live"
    record["gates"][0]["value"] = 12.5
    write_json(path, record)
    with_entry(ws, step, sha256=sha256_file(path), **index)


def said(ws: Path, **changes: Any) -> None:
    """Another readiness.json, with its own hash mended in its record and in the index."""
    write_json(ws / JSON_PATH, read_json(ws / JSON_PATH) | changes)
    path = runs_dir(ws) / entry_of(ws, "readiness")["path"]
    record = read_json(path)
    record["step"]["outputs"][JSON_PATH] = sha256_file(ws / JSON_PATH)
    write_json(path, record)
    with_entry(ws, "readiness", sha256=sha256_file(path))


EDITS: dict[str, Callable[[Path], Any]] = {
    "feed, size and time kept": lambda ws: keeping_its_time(ws / FEED, "two lines"),
    "feed": lambda ws: (ws / FEED).write_text("other\n"),
    "feed gone": lambda ws: (ws / FEED).unlink(),
    "output, size and time kept": lambda ws: keeping_its_time(ws / "artifacts/reports/soak.md", "x"),
    "record": lambda ws: keeping_its_time(runs_dir(ws) / entry_of(ws, "soak")["path"], "{}"),
    "record and index": lambda ws: edited_scrap(ws, "soak"),
    "record and index without seal": lambda ws: edited_scrap(ws, "soak", seal=None),
    "record and index with another key's seal": lambda ws: edited_scrap(ws, "soak", seal={"key": "0" * 16, "hmac": "0" * 64}),
    "record and index with the seal of another step": lambda ws: edited_scrap(ws, "soak", seal=entry_of(ws, "prep")["seal"]),
    "another step's entry": lambda ws: with_entry(ws, "soak", **entry_of(ws, "prep")),
    "finished": lambda ws: with_entry(ws, "soak", finished="2020-01-01T00:00:00Z"),
    "readiness.json": lambda ws: write_json(ws / JSON_PATH, read_json(ws / JSON_PATH) | {"created": "2030-01-01T00:00:00Z"}),
    "readiness.json, size and time kept": lambda ws: keeping_its_time(
        ws / JSON_PATH, (ws / JSON_PATH).read_text().replace("9", "8")
    ),
    "readiness.json, record and index": lambda ws: said(ws, created="2030-01-01T00:00:00Z"),
    "readiness.json less demanding": lambda ws: said(ws, evidence_required="simulated"),
    "limit": lambda ws: (ws / "params/gates.yaml").write_text(
        (ws / "params/gates.yaml").read_text().replace("limit: 0.7", "limit: 0.1", 1)
    ),
    "setting": lambda ws: (ws / "params/config.yaml").write_text(
        (ws / "params/config.yaml").read_text().replace("base_spread_bps: 4.0", "base_spread_bps: 9.0")
    ),
}  # fmt: skip


def test_without_an_edit_it_is_ready(ws: Path) -> None:
    found = collect(ws)
    assert (found.verdict, found.chain, unconfirmed(ws)) == ("READY", seal.TAMPER_EVIDENT, [])


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_is_noticed(edit: str, ws: Path) -> None:
    EDITS[edit](ws)
    found = doubts(ws)
    assert found
    if "readiness.json" not in edit:
        assert any("verdict: READY was said" in line for line in found)


@pytest.mark.parametrize(
    "edit", ["feed, size and time kept", "record and index", "readiness.json, record and index"]
)
def test_the_report_says_so(edit: str, ws: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EDITS[edit](ws)
    assert main(["report", "--workspace", str(ws)]) == 1
    assert "not confirmed" in capsys.readouterr().err
    page = (ws / "artifacts/html/index.html").read_text()
    assert "NOT CONFIRMED" in page
    assert '<p class="verdict pass">' not in page


def test_a_verdict_written_by_hand_is_not_confirmed(tmp_path: Path) -> None:
    record_all(tmp_path, status="FAIL")
    decide(tmp_path)
    payload = read_json(tmp_path / JSON_PATH)
    for row in payload["rows"]:
        row["status"] = "PASS"
    write_json(tmp_path / JSON_PATH, payload | {"verdict": "READY", "reasons": [], "passed": 9})
    assert any("verdict: READY was said" in line for line in unconfirmed(tmp_path))
    assert '<p class="verdict pass">' not in build_site(tmp_path).read_text()


def test_without_a_key_hashes_still_show_edits_that_forget_one(
    ws: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(ws.parent / "elsewhere"))
    found = collect(ws)
    assert (found.verdict, found.chain) == ("READY", seal.EDIT_EVIDENT)
    assert "no key" in found.chain_why
    for edit in ("feed, size and time kept", "record", "readiness.json", "limit"):
        copy = ws.parent / f"copy {edit}"
        shutil.copytree(ws, copy)
        EDITS[edit](copy)
        assert doubts(copy), edit


@pytest.mark.parametrize("damage", ["others may read", "within the workspace", "a link", "short", "not hex"])
def test_a_key_that_cannot_be_trusted_is_none(damage: str, ws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = seal.home() / seal.KEY_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if damage == "others may read":
        path.chmod(0o640)
    elif damage == "within the workspace":
        shutil.copytree(seal.home(), ws / "config" / "finishline")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(ws / "config"))
    elif damage == "a link":
        path.rename(path.with_suffix(".real"))
        path.symlink_to(path.with_suffix(".real"))
    else:
        path.write_text("ab" if damage == "short" else "z" * 64)
    assert seal.key(ws) is None
    assert collect(ws).chain == seal.EDIT_EVIDENT


def test_a_workspace_that_came_from_elsewhere_is_edit_evident(ws: Path) -> None:
    other = ws.parent / "other"
    shutil.copytree(ws, other)
    index = read_json(other / INDEX)
    for entry in index["steps"].values():
        entry["seal"] = {"key": "f" * 16, "hmac": "0" * 64}
    write_json(other / INDEX, index)
    found = collect(other)
    assert (found.verdict, found.chain) == ("READY", seal.EDIT_EVIDENT)
    assert "not sealed with this user's key" in found.chain_why


@pytest.mark.parametrize("strip", [False, True])
def test_a_lock_edited_with_its_hash_is_refused(strip: bool, ws: Path) -> None:
    write_budgets(ws, budgets(ticks(600)))
    path = lock(ws).path
    payload = read_json(path)
    body = {k: v for k, v in payload.items() if k not in ("sha256", "seal")} | {"unproven": True}
    whole = body | {"sha256": sha256_json(body)} | ({} if strip else {"seal": payload["seal"]})
    write_json(path, whole)
    with pytest.raises(UserError, match="the seal of baseline lock"):
        read_lock(ws)


def test_seals_are_what_the_rules_say(ws: Path) -> None:
    """Oracle: HMAC-SHA-256 written out."""
    secret = bytes.fromhex((seal.home() / seal.KEY_NAME).read_text().strip()).ljust(64, b"\0")
    entry = entry_of(ws, "soak")
    text = json.dumps(
        ["soak", {k: v for k, v in entry.items() if k != "seal"}], sort_keys=True, separators=(",", ":")
    )
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in secret) + text.encode()).digest()
    assert entry["seal"]["hmac"] == hashlib.sha256(bytes(b ^ 0x5C for b in secret) + inner).hexdigest()


def test_nothing_of_the_key_is_in_the_workspace(ws: Path) -> None:
    secret = (seal.home() / seal.KEY_NAME).read_text().strip().encode()
    build_site(ws)
    assert not [path for path in ws.rglob("*") if path.is_file() and secret in path.read_bytes()]
