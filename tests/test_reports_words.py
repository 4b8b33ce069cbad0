"""The words of gate results: what a reader sees beside a status must not be open to two readings."""

from __future__ import annotations

import pytest

from mmlib.gates.result import GateResult
from mmlib.reports.words import limit_text, number, reason_text, value_text, window_text
from mmlib.workflow.table import GateTable, explain


def gate(**changes: object) -> dict[str, object]:
    known = {"id": "soak.x", "step": "soak", "status": "PASS", "op": "<", "limit": 0.5, "title": "Hit ratio"}
    return GateResult(**(known | changes)).to_dict()  # type: ignore[arg-type]


def test_a_stop_criterion_reads_as_what_must_not_happen() -> None:
    silent = gate(value=0.4667, sense="stop", for_s=1800.0)
    assert limit_text(silent) == "not < 0.5 for 30 min"
    assert limit_text(gate(sense="stop")) == "not < 0.5"
    assert limit_text(gate(op=">=", limit=1440.0, unit="min")) == "≥ 1,440 min"
    assert "not < 0.5 for 30 min" in repr(GateTable("Soak", "PASS", [silent]))


def test_a_requirement_that_forgives_a_short_miss_says_so() -> None:
    forgiven = gate(op="<=", limit=9.0, unit="%", value=9.647, for_s=600.0)
    assert limit_text(forgiven) == "≤ 9 %, missed under 10 min"


def test_times_in_a_reason_are_read_to_the_minute() -> None:
    fired = "X: fired at 2025-01-19T00:17:00Z; the longest 2.9 h 2025-01-19T13:44:00Z/2025-01-19T16:39:00Z"
    assert reason_text({"reason": fired}) == (
        "X: fired at 2025-01-19 00:17 UTC; the longest 2.9 h 2025-01-19 13:44 – 16:39 UTC"
    )


def test_a_record_of_before_is_read_as_requirements() -> None:
    old = {k: v for k, v in gate(op=">=").items() if k not in ("sense", "for_s")}
    assert GateResult.from_dict(old).sense == "require"
    with pytest.raises(ValueError, match="exactly the keys"):
        GateResult.from_dict(old | {"senses": "stop"})
    with pytest.raises(ValueError, match="for_s"):
        GateResult.from_dict(old | {"for_s": "long"})


def test_passed_stop_criteria_are_counted_and_not_read_as_their_violation() -> None:
    stops = [gate(value=0.4667, sense="stop", title="Cache hit ratio collapsed") for _ in range(5)]
    words = explain([*stops, gate(op=">=", limit=24.0, value=48.0, unit="h", title="Length")])
    assert words == "none of 5 stop criteria fired; Length 48 h"


def test_a_reason_does_not_repeat_value_and_limit() -> None:
    echo = "span_min is 5.76667 min, expected >= 1440 min"
    assert reason_text({"reason": echo}) == ""
    assert (
        reason_text({"reason": f"hold: {echo}; interval -0.1 to 0.3 bps"}) == "hold; interval -0.1 to 0.3 bps"
    )
    assert reason_text({"reason": f"{echo}; ab_10 is FAIL"}) == "ab_10 is FAIL"
    assert reason_text({"reason": "worst: BTCUSDT"}) == "worst: BTCUSDT"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2025-01-15T00:00:00Z/2025-01-16T23:59:58Z", "2025-01-15 00:00 – 2025-01-16 23:59 UTC"),
        ("2025-01-15T00:00:00Z/2025-01-15T01:59:00Z", "2025-01-15 00:00 – 01:59 UTC"),
        ("2025-01-16 UTC", "2025-01-16 UTC"),
        ("A 48/B 48", "A 48/B 48"),
        (None, ""),
    ],
)
def test_windows_are_read_to_the_minute(text: str | None, shown: str) -> None:
    assert window_text(text) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (1440.0, "1,440"),
        (5.766667, "5.767"),
        (28141732.4, "28,141,732"),
        (1109.25, "1,109"),
        (0.000143, "0.00014"),
        (-0.000143, "-0.00014"),
    ],
)
def test_numbers_have_no_more_digits_than_they_need(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_flags_are_yes_or_no() -> None:
    assert value_text(gate(unit="bool", value=0.0)) == "no"
    assert value_text(gate(unit="bool", value=None)) == "–"
    assert value_text(gate(unit="1/min", value=12.0)) == "12 a minute"


def test_terminal_tables_fit_and_keep_what_matters() -> None:
    from mmlib.workflow.show import WIDTH, table

    rows = [("Step 5: A/B 100%", "INCONCLUSIVE", "recording (tiled)", "word " * 90), ("x", "PASS", "–", "")]
    lines = table(("gate", "status", "evidence", "why"), rows).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) == 2 + 3 + 1
    assert lines[4].endswith("…")
    assert lines[3].startswith(" " * 20)
    assert lines[-1].split() == ["x", "PASS", "–"]
    assert table(("a", "b"), []).splitlines()[0] == "a  b"


def test_gates_open_for_one_reason_are_named_together_after_the_violations() -> None:
    short = "BTCUSDT A: covers 5.8 min, at least 24 h needed"
    gates = [
        *[gate(status="NO_DATA", value=0.0, reason=short, title=f"Gate {i}") for i in range(5)],
        gate(status="FAIL", op="<=", value=0.9, title="Share", reason="value is nan"),
    ]
    assert explain(gates) == f"Share FAIL (0.9, asked for ≤ 0.5); Gate 0, Gate 1 and 3 more NO_DATA: {short}"


def test_a_baseline_that_cannot_decide_is_what_to_mend() -> None:
    from mmlib.reports.verdict import judge

    stuck = gate(status="INCONCLUSIVE", reason="tick: ratio 1; no number of candidate values would decide")
    assert "Lock a baseline from a longer session" in judge([stuck]).actions[0]
    assert "Collect more data" in judge([gate(status="INCONCLUSIVE")]).actions[0]
