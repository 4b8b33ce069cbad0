"""The reports up to the soak: verdict first, every number from what was handed in, hostile text harmless."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib.dtypes import Grade, Status
from mmlib.gates.evaluate import GateResult
from mmlib.gates.spec import GateBook, load_gates
from mmlib.market.quality import quality_of
from mmlib.reports import prep, shadow, soak
from mmlib.reports.render import Provenance

HOSTILE = "<img src=x>|`]\n"
STAMP = Provenance(
    "finishline run --step 2",
    Grade.SIMULATED,
    "simulated",
    measured=("Stage durations: a clock.",),
    modelled=("Fetch: lognormal.",),
    run_id="20250115T000000Z",
    created=datetime(2025, 1, 15, 9, tzinfo=UTC),
)


@pytest.fixture(scope="module")
def book() -> GateBook:
    return load_gates(Path(__file__).resolve().parents[1])


def gate(name: str, status: Status, value: float | None = 1.0, **rest: str) -> GateResult:
    return GateResult(
        name, name.split(".")[0], status, value=value, op="<=", limit=2.0, unit="ms", n=3, **rest
    )


def stages() -> pd.DataFrame:
    cells = {"n": [300, 300], "p50_ms": [5.0, 6.0], "p95_ms": [20.0, 33.25], "p99_ms": [30.0, 44.0]}
    return pd.DataFrame({"stage": ["fetch_md", "tick_total"], **cells})


def flags() -> pd.DataFrame:
    cells = {"value": [True, 12.5], "expected": ["true", "at most 9.0"], "ok": [True, False]}
    return pd.DataFrame({"name": ["pipeline.enabled", "taker_cap.max_taker_share_pct"], **cells})


def test_prep_log_states_flags_files_and_what_to_do() -> None:
    text = prep.prep_log(
        [gate("prep.flags", Status.FAIL, reason="taker cap")],
        flags(),
        STAMP,
        files={"params/config.yaml": "a" * 64},
        directories=["artifacts/reports"],
        runbooks={"prep.flags": "Set the flags that differ."},
    )
    assert text.startswith("# Preparation log\n\n**FAIL.**")
    assert "1. prep.flags: Set the flags that differ." in text
    assert "| FAIL | `taker_cap.max_taker_share_pct` | 12.5 | at most 9.0 |" in text
    assert f"| `params/config.yaml` | `{'a' * 64}` |" in text
    assert "| Written | 2025-01-15 09:00:00 UTC |" in text


@pytest.mark.parametrize("status", list(Status))
def test_pre_soak_goes_only_on_pass(status: Status) -> None:
    text = prep.pre_soak_report([gate("prep.flags", Status.PASS), gate("shadow.x", status)], stages(), STAMP)
    assert ("**GO.**" in text) == (status is Status.PASS)
    assert ("**NO GO.**" in text) == (status is not Status.PASS)
    assert ("finishline soak --hours 72" in text) == (status is Status.PASS)
    assert "33.25" in text


def test_pre_soak_without_any_result_is_no_go() -> None:
    text = prep.pre_soak_report([], pd.DataFrame(), STAMP, flags=flags())
    assert "**NO GO.**" in text
    assert "**NO_DATA.**" in text
    assert "No tick was measured." in text


def test_shadow_report_shows_measured_and_modelled() -> None:
    cache = pd.DataFrame({"symbol": ["BTCUSDT"], "n": [300], "hit_ratio": [0.875]})
    text = shadow.shadow_report(
        [gate("shadow.hit_ratio", Status.PASS)],
        stages(),
        STAMP,
        cache=cache,
        quality={"BTCUSDT": quality_of({"bad_lines": 2}, 0.1), "ETHUSDT": quality_of({"rows": 7}, 0.1)},
        settings={"md_cache.ttl_ms": 100},
    )
    assert "**PASS.** Every gate passed. Evidence: simulated." in text
    assert "| BTCUSDT | 300 | 0.875 |" in text
    assert "| BTCUSDT | limits the result | 2 lines refused | what they held is missing" in text
    assert "| ETHUSDT | good | 7 rows, nothing amiss |" in text
    assert "| `md_cache.ttl_ms` | `100` |" in text
    assert "- Measured. Stage durations: a clock." in text
    assert "- Modelled. Fetch: lognormal." in text


def test_visualization_draws_in_proportion_and_says_when_there_is_nothing() -> None:
    ts = pd.date_range("2025-01-15", periods=4, freq="min", tz="UTC")
    cells = {"hit_ratio": [0.5, np.nan, 0.75, 1.0]}
    minutes = pd.DataFrame({"ts": ts, "symbol": "BTCUSDT", "arm": "A", **cells})
    text = shadow.visualization(stages(), minutes, STAMP)
    rows = [line for line in text.splitlines() if line.startswith(("fetch_md", "tick_total")) and "█" in line]
    assert rows[3].count("█") == 32  # p95 of tick_total, the longest
    assert abs(rows[2].count("█") - 32 * 20 / 33.25) <= 1
    assert "▁ ▅█  0.5 to 1" in text
    empty = shadow.visualization(pd.DataFrame(), pd.DataFrame(), STAMP)
    assert "**NO_DATA.**" in empty


def test_soak_start_prints_every_stop_criterion_of_the_gate_file(book: GateBook) -> None:
    text = soak.soak_start(book, STAMP, command="finishline soak --hours 72", hours=72)
    stop_part, _, rest = text.partition("## Requirements")
    for found in book.step("soak"):
        place = stop_part if found.sense == "stop" and found.severity == "critical" else rest
        assert f"`{found.id}`" in place
        assert f"`{found.rule}`" in place
    assert "deadline_miss_pct > 5 % for 10 min" in stop_part
    assert "finishline soak --hours 72" in text
    assert "start only on its GO" in text


def test_soak_start_takes_no_go_from_the_steps_before(book: GateBook) -> None:
    before = [gate("shadow.x", Status.INCONCLUSIVE)]
    assert "**NO GO.**" in soak.soak_start(book, STAMP, command="c", hours=1.0, before=before)
    before = [gate("shadow.x", Status.PASS)]
    assert "**GO.**" in soak.soak_start(book, STAMP, command="c", hours=1.0, before=before)


def test_dashboard_checklist_has_a_box_for_every_rule_with_a_time_course(book: GateBook) -> None:
    text = soak.dashboard_checklist(book, STAMP)
    watched = [g for g in book.step("soak") if g.kind == "sustained"] + list(book.step("daily"))
    assert text.count("- [ ]") == len(watched)
    for found in watched:
        assert f"`{found.rule}`" in text


def test_the_documents_of_the_soak_take_every_limit_from_the_gate_file(book: GateBook) -> None:
    odd = [g.model_copy(update={"limit": 41.125 + k, "for_s": 4260 + 60 * k}) for k, g in enumerate(book)]
    moved = replace(book, gates=tuple(odd))
    start = soak.soak_start(moved, STAMP, command="c", hours=1.0)
    checklist = soak.dashboard_checklist(moved, STAMP)
    for before, now in zip(book.step("soak"), moved.step("soak"), strict=True):
        assert now.rule != before.rule
        assert f"`{now.rule}`" in start and f"`{before.rule}`" not in start
        if now.kind == "sustained":
            assert f"`{now.rule}`" in checklist and f"`{before.rule}`" not in checklist


def test_flags_registry_counts_what_differs() -> None:
    row = {
        "description": "Quoting at all",
        "default": True,
        "current": False,
        "rollback": "finishline rollback",
    }
    text = prep.feature_flags_registry(pd.DataFrame([{"name": "pipeline.enabled", **row}]), STAMP)
    assert "1 of 1 flags differ from their default: `pipeline.enabled`." in text
    assert "| `pipeline.enabled` | Quoting at all | yes | no | finishline rollback |" in text
    assert "no flag is registered" in prep.feature_flags_registry(pd.DataFrame(), STAMP).lower()


def test_hostile_text_never_becomes_html(book: GateBook) -> None:
    stamp = Provenance(HOSTILE, Grade.LIVE, HOSTILE, (HOSTILE,), (HOSTILE,), HOSTILE, HOSTILE, HOSTILE)
    bad = gate("shadow.x", Status.FAIL, reason=HOSTILE, title=HOSTILE)
    frame = stages().assign(symbol=HOSTILE)
    listed = flags().assign(name=HOSTILE, value=HOSTILE, expected=HOSTILE)
    registry = pd.DataFrame(
        [dict.fromkeys(["name", "description", "default", "current", "rollback"], HOSTILE)]
    )
    minutes = pd.DataFrame({"symbol": HOSTILE, "hit_ratio": [0.1, 0.2]})
    texts = [
        prep.prep_log(
            [bad], listed, stamp, files={HOSTILE: HOSTILE}, directories=[HOSTILE], snapshot=HOSTILE
        ),
        prep.pre_soak_report([bad], frame, stamp, flags=listed, soak_command=HOSTILE),
        prep.feature_flags_registry(registry, stamp),
        shadow.shadow_report(
            [bad],
            frame,
            stamp,
            cache=frame,
            quality={HOSTILE: quality_of({HOSTILE: 1}, 0.1)},
            settings={HOSTILE: HOSTILE},
        ),
        shadow.visualization(frame, minutes, stamp),
        soak.soak_start(book, stamp, command=HOSTILE, hours=1, before=[bad], settings={HOSTILE: HOSTILE}),
    ]
    for text in texts:
        assert "<img" not in outside_code(text)


def outside_code(text: str) -> str:
    """The text without code spans and fenced blocks, where Markdown takes everything literally."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            kept.append("".join(line.replace("\\`", "").split("`")[::2]))
    return "\n".join(kept)
