"""Secrets: none in a text that leaves the process, whatever its form; and none in any file of a run that was given them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmlib.config import masking
from mmlib.config.load import ensure_params
from mmlib.config.masking import MASK, mask_strings, mask_text, mask_words, remember
from mmlib.config.terminal import Drawing, Guarded, guarded, plain

SECRETS = {
    "bearer": ("Authorization: Bearer {}", "tok-9f8e7d6c5b4a"),
    "bearer, in a command": ("curl -H 'authorization: bearer {}' x", "abcdefghijkl"),
    "basic": ("Authorization: Basic {}", "dXNlcjpwYXNz"),
    "slack webhook": ("https://hooks.slack.com/services/{}", "T0/B0/xyzXYZ"),
    "discord webhook": ("https://discord.com/api/webhooks/{}", "12/ab"),
    "telegram bot": ("https://api.telegram.org/{}/sendMessage", "bot12345678:AAF-abc_def"),
    "teams webhook": ("https://acme.webhook.office.com/webhookb2/{}", "a-b@c/Incoming"),
    "unknown webhook, by its path": ("https://chat.desk.example/{}", "hooks/q1"),
    "unknown webhook, by its letters": ("https://ops.example/x/{}", "9f8e7d6c5b4a39281706"),
    "unknown webhook, by its query": ("https://ops.example/send?k={}&room=1", "9f8e7d6c5b4a39281706"),
    "password in an address": ("postgres: https://{}@db.example/x", "desk:pw12"),
    "key=value": ("api_key={} rest", "k3y"),
    "json": ('{{"secret": "{}", "n": 1}}', "s3cr3t"),
    "token=": ("token={}", "abc"),
    "jwt": ("got {} from it", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"),
    "aws": ("id {}", "AKIAIOSFODNN7EXAMPLE"),
    "github": ("{}", "ghp_abcdefghijklmnopqrstuvwx12"),
    "stripe": ("{}", "sk_live_abcdefgh1234"),
    "pem": ("x {} y", "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"),
}
PLACES = {
    "alone": "{}",
    "in a sentence": "params/config.yaml:7: notify.command: {}; expected a list",
    "in a traceback": 'Traceback:\n  File "x.py", line 1\nValueError: {}\n',
    "twice": "{0} and {0}",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", SECRETS)
def test_no_form_of_a_secret_passes(kind: str, place: str) -> None:
    form, secret = SECRETS[kind]
    said = PLACES[place].format(form.format(secret))
    masked = mask_text(said)
    assert secret not in masked and MASK in masked
    assert mask_text(masked) == masked, "masking what is masked changes nothing"
    stream = io.StringIO()
    Guarded(stream).write(said)
    assert secret not in stream.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "feeds/fills_20250115.jsonl:7: price: -1; expected a number above 0",
        "http://127.0.0.1:8888/lab?token=abcdef0123456789",
        "https://fapi.binance.com/fapi/v1/exchangeInfo",
        "wss://fstream.binance.com/stream?streams=btcusdt@depth@0ms",
        "sha256 " + "0f" * 32,
        "shadow.hit_ratio: 0.71 >= 0.7, key: expected one of symbol, arm",
        "artifacts/runs/20250115T101112Z-1a2b/02_shadow.ipynb",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_text(text) == text


def test_json_stays_json() -> None:
    tree = {
        "url": "https://hooks.slack.com/services/T0/B0/x",
        "token": "abc123",
        "why": 'api_key="x1"',
        "n": [1, None],
    }
    text = json.dumps(tree)
    assert json.loads(mask_text(text))["n"] == [1, None]
    assert "abc123" not in mask_text(text)
    assert mask_strings(tree)["n"] == [1, None]


def test_words_of_a_command_line() -> None:
    words = [
        "run",
        "--set",
        "notify.command=[curl, -H, 'X: 1']",
        "--set=a.token=xyz",
        "--set",
        "md_cache.ttl_ms=1500",
    ]
    assert mask_words(words) == [
        "run",
        "--set",
        f"notify.command={MASK}",
        f"--set=a.token={MASK}",
        *words[-2:],
    ]


def test_what_is_known_is_masked_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", set())
    remember(
        {
            "notify": {"command": ["/usr/bin/curl", "-d", "@-", "X-Room: desk7 9f8e7d6c5b4a"]},
            "a": {"password": "hunter2!"},
        }
    )
    assert (
        mask_text("said 9f8e7d6c5b4a and hunter2! by /usr/bin/curl")
        == f"said {MASK} and {MASK} by /usr/bin/curl"
    )


HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "title": "\x1b]0;PASS\x1b\\",
    "C1 CSI": "\x9b2J",
    "C1 OSC": "\x9d52;c;eA==\x9c",
    "cursor up": "FAIL\x1b[1A\x1b[2KPASS",
    "return": "FAIL\rPASS",
    "backspace": "FAIL\b\b\b\bPASS",
    "bell": "\a\a",
    "device control": "\x1bP$q\x1b\\",
    "override": "BTC\u202eTDSU",
    "isolate": "\u2066BTC\u2069",
    "line separator": "a\u2028PASS",
    "tags": "BTC\U000e0041",
    "half a pair": "BTC\ud83d",
    "NUL": "a\x00b",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("wrap", [Guarded, Drawing])
def test_no_control_character_reaches_the_terminal(kind: str, wrap: type[Guarded]) -> None:
    stream = io.StringIO()
    text = plain(HOSTILE[kind]) if wrap is Drawing else HOSTILE[kind]
    wrap(stream).write(f"symbol {text}: refused\n")
    said = stream.getvalue()
    assert said.startswith("symbol ") and said.endswith(": refused\n")
    assert all(letter == "\n" or letter.isprintable() for letter in said)
    assert said.count("\n") == 1


def test_what_draws_may_colour_but_not_write_to_the_clipboard() -> None:
    stream = io.StringIO()
    Drawing(stream).write("\x1b[2K\x1b[1;31mFAIL\x1b[0m\x1b]52;c;eA==\x07\r")
    assert stream.getvalue() == "\x1b[2K\x1b[1;31mFAIL\x1b[0m]52;c;eA==\r"


def test_the_streams_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    with guarded(), guarded():
        print("\x1b]52;c;eA==\x07ok", file=sys.stderr)
    assert sys.stdout is before
    assert capsys.readouterr().err == "]52;c;eA==ok\n"


@pytest.mark.slow
def test_no_file_of_a_run_holds_a_secret(tmp_path: Path) -> None:
    """Prep, in a process of its own, with secrets in the configuration and on the command line; every byte is looked at."""
    canaries = ["T0CAN1/B0CAN2/zz9", "CANARY-3f9a8b7c6d", "canary4d5e6f7a8b9c0d1e"]
    ensure_params(tmp_path)
    config = tmp_path / "params" / "config.yaml"
    tree = yaml.safe_load(config.read_text()) or {}
    tree["notify"] = {
        "command": ["curl", "-H", f"X-Desk: {canaries[1]}", f"https://hooks.slack.com/services/{canaries[0]}"]
    }
    config.write_text(yaml.safe_dump(tree))
    words = [
        sys.executable,
        "-m",
        "mmlib",
        "run",
        "--step",
        "prep",
        "--profile",
        "demo",
        "--workspace",
        str(tmp_path),
    ]
    words += [
        "--set",
        f"notify.command=[curl, -H, 'Authorization: Bearer {canaries[2]}', 'https://x.example/in/{canaries[1]}']",
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=600, env=os.environ | {"COLUMNS": "300"}
    )
    assert done.returncode in (0, 1), done.stderr[-2000:]
    said = {"stdout": done.stdout, "stderr": done.stderr}
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != config]
    said |= {str(path.relative_to(tmp_path)): path.read_bytes().decode("utf-8", "replace") for path in files}
    assert any(name.endswith("01_prep.ipynb") for name in said) and any(
        name.endswith(".html") for name in said
    )
    assert [(name, secret) for name, text in said.items() for secret in canaries if secret in text] == []


@pytest.mark.parametrize("one", ["Ab9/", "a_b.c-", "token", "key.", "https://x/", "eyJ", "Bearer "])
def test_megabytes_are_looked_through_once(one: str) -> None:
    """A form that looks again from every letter would take hours here, not seconds."""
    text = one * (2_000_000 // len(one))
    assert "hunter2" not in mask_text(f"{text} password='hunter2'")
