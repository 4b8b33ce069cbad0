"""Schedules: what is installed is what runs, nobody else's entry is touched, two runs never collide, days are caught up."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml

from mmlib._io import UserError
from mmlib.cli import main
from mmlib.ops.schedules import Job, cron_lines, service_text, timer_text, without
from mmlib.workflow import catchup, lock, operations, schedule
from mmlib.workflow.arguments import parser

CI = Path(__file__).resolve().parents[1] / "ci" / "schedules"
THEIRS = "# my own\n5 4 * * * /usr/bin/backup --finishline\n"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace, and a crontab and systemctl that only write into it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    tab = tmp_path / "crontab.txt"
    scripts = {
        "crontab": f'if [ "$1" = -l ]; then cat {tab} 2>/dev/null || {{ echo "no crontab for me" >&2; exit 1; }}; '
        f"else cat >{tab}; fi",
        "systemctl": f'echo "$@" >>{tmp_path}/systemctl.log; [ ! -e {tmp_path}/broken ] || {{ echo "no bus" >&2; exit 1; }}',
    }
    for name, text in scripts.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ws = tmp_path / "the desk's 100 % $HOME"
    ws.mkdir()
    return ws


def run(*words: str, ws: Path) -> int:
    return main(["schedule", *words, "--workspace", str(ws)])


def test_cron_comes_and_goes_and_leaves_other_entries_alone(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tab = desk.parent / "crontab.txt"
    tab.write_text(THEIRS)
    assert run("install", "--kind", "cron", "--at", "07:05", "--yes", ws=desk) == 0
    assert capsys.readouterr().out.startswith("This goes into your crontab:")
    once = tab.read_text()
    assert once.startswith(THEIRS)
    assert "\n5 7 * * * " in once
    run("install", "--kind", "cron", "--at", "07:05", "--yes", ws=desk)
    assert tab.read_text() == once
    assert run("status", "--json", ws=desk) == 0
    found = json.loads(capsys.readouterr().out.split("on this machine's clock\n")[-1])
    assert len(found["cron"]) == 1
    assert run("remove", "--yes", ws=desk) == 0
    assert tab.read_text() == THEIRS
    assert run("remove", "--yes", ws=desk) == 0


def test_the_cron_entry_runs_the_right_command_in_a_hostile_path(desk: Path) -> None:
    fake = desk.parent / "python 3"
    fake.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >{desk.parent}/ran.txt\n')
    fake.chmod(0o755)
    entry = cron_lines(Job(str(desk), str(fake), "09:00"))[1]
    command = entry.split(" ", 5)[5].replace(r"\%", "%")  # as cron does
    assert "%" not in entry.replace(r"\%", "")
    subprocess.run(["/bin/sh", "-c", command], check=True)
    words = (desk.parent / "ran.txt").read_text().splitlines()
    assert words == ["-m", "mmlib", "daily", "--catch-up", "--notify", "--workspace", str(desk)]
    assert parser().parse_args(words[2:]).workspace == str(desk)


def test_systemd_units_come_and_go(desk: Path) -> None:
    assert run("install", "--kind", "systemd", "--at", "09:00", "--yes", ws=desk) == 0
    home = desk.parent / "config" / "systemd" / "user"
    service, timer = sorted(home.iterdir())
    assert "OnCalendar=*-*-* 09:00:00\nPersistent=true" in timer.read_text()
    line = next(x for x in service.read_text().splitlines() if x.startswith("ExecStart="))
    assert shlex.split(line.removeprefix("ExecStart="))[-1] == str(desk).replace("%", "%%").replace("$", "$$")
    log = (desk.parent / "systemctl.log").read_text()
    assert f"--user enable --now {timer.name}" in log
    assert run("remove", "--yes", ws=desk) == 0
    assert list(home.iterdir()) == []
    assert f"--user disable --now {timer.name}" in (desk.parent / "systemctl.log").read_text()


def test_systemd_that_does_not_answer_leaves_nothing_behind(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk.parent / "broken").touch()
    assert run("install", "--kind", "systemd", "--yes", ws=desk) == 2
    assert "no bus; expected a running user manager" in capsys.readouterr().err
    assert not any((desk.parent / "config").rglob("*.timer"))


def test_without_an_answer_nothing_is_installed(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("install", "--kind", "cron", ws=desk) == 2
    monkeypatch.setattr(schedule, "asks", lambda yes: lambda plan: False)
    assert run("install", "--kind", "cron", ws=desk) == 0
    assert not (desk.parent / "crontab.txt").exists()
    assert run("install", "--yes", ws=desk) == 2


@pytest.mark.parametrize("at", ["9:00", "24:00", "09:60", "0900", "09:00\n"])
def test_a_time_that_is_none_is_refused(at: str) -> None:
    with pytest.raises(UserError, match="expected HH:MM"):
        Job("/w", "/p", at)


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(UserError, match="printable"):
        Job("/w\n* * * * * rm", "/p", "09:00")


def test_two_workspaces_do_not_share_an_entry() -> None:
    one, two = Job("/a", "/p", "09:00"), Job("/b", "/p", "09:00")
    both = "\n".join([*cron_lines(one), *cron_lines(two)]) + "\n"
    assert without(both, one) == "\n".join(cron_lines(two)) + "\n"


def test_the_shipped_examples_are_what_the_verb_writes() -> None:
    job = Job("/srv/finishline", "/srv/finishline/.venv/bin/python", "09:00")
    assert (CI / "finishline-daily.cron").read_text() == "".join(f"{line}\n" for line in cron_lines(job))
    assert (CI / "finishline-daily.service").read_text() == service_text(job)
    assert (CI / "finishline-daily.timer").read_text() == timer_text(job)


def test_the_workflow_file_runs_commands_that_exist() -> None:
    tree = yaml.safe_load((CI / "github-actions.yml").read_text())
    assert set(tree["jobs"]) == {"test", "nightly", "daily"}
    crons = {entry["cron"] for entry in tree[True]["schedule"]}  # YAML reads `on` as true
    for job in ("nightly", "daily"):
        assert any(f"'{cron}'" in tree["jobs"][job]["if"] for cron in crons)
    steps = [step["run"] for job in tree["jobs"].values() for step in job["steps"] if "run" in step]
    for command in steps:
        for word in shlex.split(command):
            if word.startswith("ci/") and " " not in word:
                assert (CI.parents[1] / word).exists()
        if "finishline " in command:
            parser().parse_args(shlex.split(command.split("finishline ", 1)[1]))


# --- the lock ---------------------------------------------------------------------------------------------------------


def _hold(ws: Path, ready, done) -> None:  # type: ignore[no-untyped-def]
    with lock.alone(ws):
        ready.set()
        done.wait(300)


def test_a_second_run_is_refused_by_name_and_a_killed_one_does_not_block(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(300)
    with pytest.raises(UserError, match=f"held by process {other.pid} on .* since 2"), lock.alone(tmp_path):
        pass
    held = lock.holder(tmp_path)
    assert held is not None
    assert held.pid == other.pid
    assert operations_code(tmp_path) == 2
    other.kill()
    other.join()
    assert lock.holder(tmp_path) is None
    with lock.alone(tmp_path) as stale:
        assert stale == held
    assert f"stale, left by process {held.pid}" in capsys.readouterr().err
    with lock.alone(tmp_path) as stale:
        assert stale is None


def operations_code(ws: Path) -> int:
    return main(["daily", "--workspace", str(ws)])


# --- days and telling ---------------------------------------------------------------------------------------------------


def feed(ws: Path, *days: str) -> None:
    home = ws / "artifacts" / "edge" / "feeds"
    home.mkdir(parents=True, exist_ok=True)
    for day in days:
        (home / f"pipeline_ticks_{day}.jsonl").touch()


def report(ws: Path, *days: str) -> None:
    home = ws / "artifacts" / "reports" / "daily"
    home.mkdir(parents=True, exist_ok=True)
    for day in days:
        (home / f"{day}.md").touch()


def test_missed_days_are_those_with_feeds_and_without_report_and_yesterday(tmp_path: Path) -> None:
    today = date(2025, 1, 20)
    assert catchup.missing_days(tmp_path, today=today) == [date(2025, 1, 19)]
    feed(tmp_path, "20250115", "20250117", "20250120", "20251399")
    report(tmp_path, "2025-01-15", "2025-01-19")
    assert catchup.missing_days(tmp_path, today=today) == [date(2025, 1, 17)]
    assert catchup.missing_days(tmp_path, tmp_path / "none", today=today) == []


def test_every_missing_day_runs_once_and_the_worst_code_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [date(2025, 1, 15), date(2025, 1, 17)]
    monkeypatch.setattr(catchup, "missing_days", lambda ws, feeds: days)
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(catchup, "tell", lambda ws, subject, text: told.append((subject, text)))
    codes = {"2025-01-15": 1, "2025-01-17": 0}
    ran: list[str] = []

    def one(day: str) -> int:
        ran.append(day)
        return codes[day]

    assert operations.run_days(tmp_path, "latest", one, catch_up=True, tell=True) == 1
    assert ran == ["2025-01-15", "2025-01-17"]
    assert told[0][0] == "finishline daily: 2025-01-15: no report (exit code 1)"
    days.clear()
    assert operations.run_days(tmp_path, "latest", one, catch_up=True, tell=True) == 0
    assert len(told) == 1


def test_an_exception_is_told_and_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(catchup, "tell", lambda ws, subject, text: told.append(subject))

    def one(day: str) -> int:
        raise UserError("feeds: no such directory")

    with pytest.raises(UserError):
        operations.run_days(tmp_path, "2025-01-15", one, tell=True)
    assert told == ["finishline daily: 2025-01-15: UserError: feeds: no such directory"]


def test_the_command_gets_the_text_without_a_shell(tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    program = (
        "import os, sys; text = sys.stdin.read() + '|' + os.environ['FINISHLINE_SUBJECT'] + sys.argv[1]; "
        f"open({str(out)!r}, 'w').write(text)"
    )
    command = [sys.executable, "-c", program, "$(touch x); `y`"]
    assert catchup.notify(command, "a $(b)", "text ü", timeout_s=300) == ""
    assert out.read_text() == "a $(b)\n\ntext ü\n|a $(b)$(touch x); `y`"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([], "nobody was told"),
        (["/no/such/program"], "nobody was told"),
        ([sys.executable, "-c", "import sys; sys.exit('bad key')"], "exit code 1 bad key"),
        ([sys.executable, "-c", "import time; time.sleep(600)"], "nobody was told"),
    ],
)
def test_a_command_that_fails_is_said_and_does_not_raise(command: list[str], said: str) -> None:
    assert said in catchup.notify(command, "s", "t", timeout_s=0.5 if "sleep" in str(command) else 300)


def test_the_configured_command_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "params").mkdir()
    out = tmp_path / "told.txt"
    program = f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"
    config = {"notify": {"command": [sys.executable, "-c", program]}}
    (tmp_path / "params" / "config.yaml").write_text(yaml.safe_dump(config))
    catchup.tell(tmp_path, "subject", "text")
    assert out.read_text() == "subject\n\ntext\n"
    (tmp_path / "params" / "config.yaml").write_text("notify: {command: mail}\n")
    catchup.tell(tmp_path, "subject", "text")
    assert "notify.command" in capsys.readouterr().err
