"""The README's commands as its text has them, and the rules by which a test shortens them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"

# Stated rules, applied to every command in this order: what takes long is made short, what is a place of its own is in the
# test's directory. Nothing else of a command is changed.
RULES = (
    (r"/var/lib/mm-bot/feeds", "feeds"),
    (r"--profile production", "--profile demo"),  # of a desk's evidence, which a test has not
    (r"--hours \d+", "--hours 0.2"),
    (r"@2h:40m", "@2m:5m"),
    (r"--shadow-duration \d+", "--shadow-duration 1"),
    (r"--open\b", ""),  # no browser
)

# Not run here, only read by the parser, with the reason and, where there is one, the test that stands in for it.
PARSED = {
    "finishline run --step shadow --profile production --record": "the live network; tests/test_engine_realtime_session.py",
    "finishline soak --hours 72 --clock realtime --source live:": "the live network; tests/test_engine_realtime_session.py",
    "finishline watch": "a running session; tests/test_workflow_record.py and test_engine_realtime_watching.py",
    "finishline record live:": "the live network; tests/test_market_live_faults.py, on the loopback exchange",
    "finishline calibrate-market": "minutes of fitting; tests/test_market_calibrate.py",
    "finishline run --all --profile demo --set market.preset=mine": "what calibrate-market writes; ci/demo runs a shipped one",
    "finishline ab --plan": "a soak of hours; tests/test_rollout_plan.py",
    "finishline ab --rollout-pct 50 --through": "a stage before it; tests/test_workflow_order.py",
    "finishline ab --aa": "minutes of replays; tests/test_rollout_aa.py",
    "finishline schedule install": "cron or systemd of the machine; tests/test_workflow_schedule.py",
    "finishline calibrate --profile": "minutes of search; tests/test_rollout_calibrate.py",
    "finishline ab --rollout-pct 10 --treatment NAME": "a treatment of one's own; tests/test_rollout_calibrate.py",
    "finishline baseline --validate": "minutes of runs in turns; tests/test_baseline_rounds.py",
    "finishline alerts --check": "promtool, which may be absent; tests/test_ops_alerts.py",
    "finishline lab": "a server that does not end; tests/test_workflow_lab.py",
    "finishline loopback": "a server that does not end; tests/test_market_live_faults.py",
    "finishline soak --hours 72 --bot": "hours of real time; tests/test_paper_session.py",
    "finishline ab --rollout-pct 10 --bot": "hours of real time; tests/test_paper_session.py",
    "finishline exchange --symbols": "a server that does not end; tests/test_paper_survival.py",
    "finishline exchange --check": "a running exchange; tests/test_paper_contract.py",
    "finishline warm": "a minute where nothing is compiled; tests/test_kernel_warming.py",
    "bash ci/wheel": "an environment of its own; ci/bench coldstart",
    "bash ci/demo": "runs in ci/test by itself",
    "bash ci/test": "is what runs this",
}  # fmt: skip


def commands() -> list[str]:
    """Every command line of the README's blocks of code, comments off, continued lines joined."""
    text = re.sub(r" \\\n\s+", " ", README.read_text(encoding="utf-8"))
    found = []
    for line in re.findall(r"(?m)^    ((?:finishline|bash|papermill) .*)$", text):
        command = line.split("  #")[0].split(" # ")[0].strip()
        found.append(command)
    return found


def python_blocks() -> list[str]:
    """Every block of the README that is Python."""
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"(?m)^((?:    .*\n)+)", text)
    return [
        "".join(line[4:] for line in block.splitlines(True)) for block in blocks if "import mmlib" in block
    ]


def reason_not_run(command: str) -> str:
    """Why a command is only parsed; empty for one that runs."""
    return next((why for begin, why in PARSED.items() if command.startswith(begin)), "")


def shortened(command: str) -> list[str]:
    """A command by the rules, as arguments."""
    for pattern, instead in RULES:
        command = re.sub(pattern, instead, command)
    return shlex.split(command)
