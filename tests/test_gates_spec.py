"""gates.yaml: what is in it, and what is refused with its file, line and gate named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmlib._io import UserError
from mmlib.gates.metrics import GATE_IDS, METRICS
from mmlib.gates.spec import GATES_FILE, duration_text, load_gates, read_gates

SHIPPED = Path(__file__).parents[1] / GATES_FILE


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """The shipped file with its first ``old`` replaced."""
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / GATES_FILE
    path.parent.mkdir()
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_every_limit_of_the_workflow_is_there_as_written() -> None:
    book = load_gates(SHIPPED.parents[1])
    rules = {
        "shadow.hit_ratio": "hit_ratio >= 0.7",
        "shadow.fetch_md_p95": "fetch_md_p95_ms <= 35 ms",
        "shadow.tick_total_p95": "tick_total_p95_ms <= 150 ms",
        "shadow.deadline_miss": "deadline_miss_pct < 2 %",
        "soak.stop.deadline_miss": "deadline_miss_pct > 5 % for 10 min",
        "soak.stop.hit_ratio": "hit_ratio < 0.5 for 30 min",
        "soak.stop.taker_share": "taker_share_pct > 15 % for 1 h",
        "soak.stop.memory_leak": "rss_slope_mb_per_h > 100 MB/h for 10 min",
        "soak.stop.breaker_open": "breaker_open_s > 300 s",
        "soak.stop.loss": "pnl < -1000 quote for 1 min",
        "soak.warn.tick_p95": "tick_total_p95_ms > 180 ms for 5 min",
        "soak.warn.fetch_md_p95": "fetch_md_p95_ms > 45 ms for 5 min",
        "soak.warn.errors": "errors_per_min > 10 1/min for 5 min",
        "soak.warn.guards": "guard_hard_pct > 50 % for 5 min",
        "dataset.duration": "valid_hours >= 24 h",
        "dataset.duration.minimum": "valid_hours >= 12 h",
        "dataset.finite": "nonfinite_values == 0",
        "dataset.filtered": "filtered_pct < 10 %",
        "ab.safety.slippage": "delta_slippage_bps <= 0 bps, violated for 10 min",
        "ab.safety.taker_share": "taker_share_pct of arm B <= 9 %, violated for 10 min",
        "ab.safety.tick_p95": "tick_p95_regression_pct of arm B <= 10 %, violated for 10 min",
        "ab.safety.deadline_miss": "deadline_miss_pct of arm B < 2 %, violated for 10 min",
        "ab.accept.single_fill": "turning_fills == 0",
        "ab.accept.segments": "harmed_segments == 0",
        "ab.safety.loss": "delta_pnl >= -1000 quote, violated for 10 min",
        "ab.safety.loss_of_b": "pnl of arm B >= -1000 quote, violated for 10 min",
        "ab.accept.net": "delta_net_bps >= 0.2 bps",
        "ci.stage_p95": "stage_p95_regression_pct > 3 %",
        "ci.tick_p95": "tick_p95_regression_pct > 10 %",
        "ci.hit_ratio": "hit_ratio < 0.6",
        "ci.deadline_miss": "deadline_miss_pct > 2 %",
        "daily.net_bps": "net_bps > 0 bps",
        "daily.slippage": "slippage_bps < 3 bps",
        "daily.taker_share": "taker_share_pct < 9 %",
        "daily.stop.taker_share": "taker_share_pct > 12 % for 1 h",
    }
    assert {i: book.get(i).rule for i in rules} == rules
    assert {g.id for g in book} == set(GATE_IDS)
    assert {g.id for g in book if g.severity == "warning"} == {
        "shadow.duration", "soak.warn.tick_p95", "soak.warn.fetch_md_p95", "soak.warn.errors",
        "soak.warn.guards",
        "daily.net_bps", "daily.slippage", "daily.taker_share",
    }  # fmt: skip


def test_the_stages_of_the_experiment_share_their_gates() -> None:
    book = read_gates(SHIPPED)
    assert [g.id for g in book.step("ab_50")] == [g.id for g in book.step("ab")]
    assert {g.step for g in book.step("ab_50")} == {"ab_50"}
    with pytest.raises(UserError, match="did you mean shadow"):
        book.step("shadwo")
    with pytest.raises(UserError, match="ab_20"):
        book.step("ab_20")


def test_a_misspelt_gate_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        UserError, match=re.escape("no gate 'shadow.hit_rato'; did you mean shadow.hit_ratio?")
    ):
        read_gates(SHIPPED).get("shadow.hit_rato")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "metric: hit_ratio",
            "metric: hit_rato",
            r":\d+: gate shadow.hit_ratio: metric: .*did you mean hit_ratio",
        ),
        (
            "id: shadow.hit_ratio",
            "id: shadow.hit_rato",
            r"shadow.hit_ratio is missing; found shadow.hit_rato",
        ),
        ("id: shadow.fetch_md_p95", "id: shadow.hit_ratio", r":\d+: gate shadow.hit_ratio: found twice"),
        (
            "    limit: 0.7",
            "    limmit: 0.7",
            r"gate shadow.hit_ratio: limmit: unknown key; did you mean limit",
        ),
        ("    limit: 0.7\n", "", r"gate shadow.hit_ratio: limit: missing"),
        ("    limit: 0.7", "    limit: .nan", "is not finite; expected a decimal number"),
        ("    limit: 0.7", "    limit: .inf", "is not finite; expected a decimal number"),
        ("    limit: 0.7", "    limit: yes", r"gate shadow.hit_ratio: limit: .*found True"),
        ("    limit: 0.7", "    limit: '0.7'", r"gate shadow.hit_ratio: limit: .*found 0.7"),
        ("    limit: 0.7", "    limit: 1" + "0" * 400, "expected a decimal number"),
        (
            "    limit: 0.7",
            "    limit: 0.7\n    limit: 0.1",
            r":\d+: gates\[4\].limit: duplicate key, first on line \d+",
        ),
        (
            '    op: ">="\n    limit: 0.7',
            '    op: "=>"\n    limit: 0.7',
            r"gate shadow.hit_ratio: op: .*found =>",
        ),
        ('    unit: "1"\n', "    unit: pct\n", "expected '1', the unit of hit_ratio, found 'pct'"),
        ("    step: shadow", "    step: shadwo", "step: .*did you mean shadow"),
        ("    min_n: 100", "    min_n: 0", "min_n"),
        ("    min_n: 100", "    for_s: 60", "only a sustained gate has it"),
        ("    for_s: 600\n", "", "expected for_s and an interval_s above 0"),
        ("    bound: 0.0\n", "", "expected in a comparison gate"),
        ("schema: 1", "schema: 2", "schema: expected 1, found 2"),
        ("schema: 1", "scheme: 1", "'scheme': expected 'schema', 'loss_budget' and 'gates'"),
        (
            "loss_budget: 1000.0",
            "# none",
            "loss_budget: expected what a session or stage may lose, .* found None",
        ),
        ("loss_budget: 1000.0", "loss_budget: -5", "loss_budget: .*above 0.* found -5"),
        ("loss_budget: 1000.0", "loss_budget: .inf", "loss_budget: .inf is not finite"),
        ("limit: -loss_budget", "limit: -los_budget", "limit: .*found -los_budget"),
        (
            "schema: 1",
            "schema: !!python/object/apply:os.system ['true']",
            r":\d+: schema: tag !!python/object/apply:os.system is refused",
        ),
        ("  - id: prep.config", "  - just text\n  - id: prep.config", r":\d+: expected a gate"),
        ("    limit: 0.7", "    limit: [0.7]", "found a list"),
        ("    limit: 0.7", "    limit: &a 0.7\n    for_s: *a", "an alias"),
        ("  - id: prep.config", "  - [\n  - id: prep.config", r":\d+: not YAML"),
        ("    limit: 0.7", "    limit: 0.7\n    [a, b]: 1", r"gates\[4\]: expected text as a key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = edited(tmp_path, old, new)
    with pytest.raises(UserError, match=message) as caught:
        read_gates(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_desk_may_add_its_own_gate(tmp_path: Path) -> None:
    own = SHIPPED.read_text(encoding="utf-8") + (
        "\n  - {id: soak.desk.rss, step: soak, title: Memory, kind: threshold, metric: rss_mb, sense: stop,"
        " op: '>', limit: 4000, unit: MB, severity: warning, source: desk rule, runbook: restart}\n"
    )
    path = tmp_path / "gates.yaml"
    path.write_text(own, encoding="utf-8")
    assert read_gates(path).get("soak.desk.rss").limit == 4000.0
    assert read_gates(path).sha256 != read_gates(SHIPPED).sha256


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"gates: []\nschema: 1\n", b"\xff\xfe", b"- 1\n", b"a: 2025-99-99"]
)
def test_a_file_that_is_no_gate_book_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gates.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_gates(path)


def test_missing_and_unreadable_files_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_gates(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        read_gates(tmp_path)


def test_a_nest_of_aliases_is_refused_quickly(tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    rows = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(UserError, match="an alias"):
        read_gates(path)


def test_every_metric_is_described() -> None:
    assert all(unit and text for unit, text in METRICS.values())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (90, "90 s"),
        (600, "10 min"),
        (3600, "1 h"),
        (5400, "1.5 h"),
        (342.2, "5.7 min"),
        (86400, "24 h"),
    ],
)
def test_durations_read_as_people_write_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
