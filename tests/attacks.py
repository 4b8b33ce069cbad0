"""The attack list: what is damaged, hostile or missing, times the place it is put, times the verb that meets it.

Each attack is one call of the command line (or of one gate) and is judged by what the workbook promises: no traceback, no wrong
value, no PASS without data, no secret, no lost line; and what is refused names the file, and what was expected of it.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import os
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zstandard

from mmlib._io import UserError
from mmlib.cli import main
from mmlib.config.load import CONFIG_FILE, load_config, shipped_dir
from mmlib.config.terminal import plain
from mmlib.feeds.writer import FeedWriter
from mmlib.gates.evaluate import Measurement, evaluate, evaluate_series
from mmlib.gates.spec import read_gates
from tests import naive_feeds
from tests.damage import DAMAGES, unpacked
from tests.make_feeds import fills, ticks

FAULTS = (
    "traceback",
    "wrong value",
    "PASS without data",
    "secret",
    "lost line",
    "refused without a name",
    "raw control",
)
NAMES = {"ticks": "pipeline_ticks_20250115.jsonl", "fills": "fills_20250115.jsonl"}
CANARY = "xoxb-9f8e7d6c5b4a-CANARY"


@dataclass
class Said:
    """What a call came to."""

    code: int
    out: str
    err: str
    logs: list[str] = field(default_factory=list)


Judge = Callable[[Path, Said], list[str]]


@dataclass(frozen=True)
class Attack:
    """One attack: what is done to a fresh directory, the words of the command line, and what is a fault of the answer."""

    name: str
    prepare: Callable[[Path], list[str]]
    judge: Judge


def run(attack: Attack, home: Path) -> list[str]:
    """Faults that the attack brings to light; none is how it should be."""
    home.mkdir(parents=True)
    words = attack.prepare(home)
    said = call(words, home) if words else Said(0, "", "")
    faults = attack.judge(home, said)
    text = said.out + said.err + "".join(said.logs)
    if said.code == 3 or said.logs or "Traceback" in text:
        faults.append("traceback")
    if CANARY in text:
        faults.append("secret")
    if plain(text) != text.replace("\r", ""):
        faults.append("raw control")
    return [f"{fault}: {said.code} {(said.err or said.out)[-300:]!r}" for fault in dict.fromkeys(faults)]


def call(words: list[str], home: Path) -> Said:
    """One call of the command line, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as exc:
            code = int(exc.code or 0)
    logs = [path.read_text() for path in home.rglob("finishline-*.log")]
    return Said(code, out.getvalue(), err.getvalue(), logs)


def refused(name: str) -> Judge:
    """It has to be refused, by a line that names the file and what was expected."""

    def judge(_: Path, said: Said) -> list[str]:
        if said.code == 0:
            return ["wrong value"]
        named = said.code == 2 and name in said.err and "expected" in said.err
        return [] if named else ["refused without a name"]

    return judge


# --- parameter files ---

PARAMETERS: dict[str, bytes] = {
    "empty list": b"[]\n",
    "a number": b"7\n",
    "a word": b"hello\n",
    "no UTF-8": b"a: \xff\xfe\n",
    "NUL": b"a: 1\x00\n",
    "a tab": b"a:\n\tb: 1\n",
    "a key twice": b"notify:\n  timeout_s: 1\nnotify:\n  timeout_s: 2\n",
    "an open bracket": b"a: [1, 2\n",
    "an open quote": b"a: 'x\n",
    "an object of Python": b"a: !!python/object/apply:os.system ['true']\n",
    "billion laughs": b"a: &a [x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n",
    "an anchor on itself": b"a: &a [*a]\n",
    "deep": b"a: " + b"[" * 900 + b"]" * 900 + b"\n",
    "an unknown key": b"no_such_key: 1\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "gzip": gzip.compress(b"a: 1\n"),
    "large": b"#" * (9 << 20),
    "a control in a key": b'"\\e]52;c;eA==\\a": 1\n',
    "a secret in a key": f"{CANARY}: 1\n".encode(),
}
PLACES = {
    "params/gates.yaml": ["alerts"],
    "mine.yaml": ["run", "--step", "prep", "--profile", "mine.yaml"],
    "mapping.yaml": ["feeds", "import", "export.csv", "--mapping", "mapping.yaml", "-o", "out"],
}


def parameters() -> Iterator[Attack]:
    """Every damage of a parameter file, in each kind of parameter file."""
    for place, words in PLACES.items():
        for name, data in PARAMETERS.items():

            def prepare(
                home: Path, place: str = place, words: list[str] = words, data: bytes = data
            ) -> list[str]:
                (home / "export.csv").write_text("a,b\n1,2\n")
                path = home / place
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
                return [*_absolute(words, home), "--workspace", str(home)]

            yield Attack(f"{words[0]}: {place}: {name}", prepare, refused(Path(place).name))

    for name, data in PARAMETERS.items():

        def judge(home: Path, _: Said, data: bytes = data) -> list[str]:
            path = home / CONFIG_FILE
            path.parent.mkdir()
            path.write_bytes(data)
            try:
                load_config(home)
            except UserError as exc:
                return (
                    [] if "config.yaml" in str(exc) and "expected" in str(exc) else ["refused without a name"]
                )
            return ["wrong value"]

        yield Attack(f"configuration: {CONFIG_FILE}: {name}", lambda home: [], judge)


def _absolute(words: list[str], home: Path) -> list[str]:
    files = {"mine.yaml", "mapping.yaml", "export.csv", "out"}
    return [str(home / word) if word in files else word for word in words]


# --- what stands where a file should ---


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


THINGS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "named pipe": lambda path: os.mkfifo(path),
    "loop of links": _loop,
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "directory": lambda path: path.mkdir(),
    "file without a byte": lambda path: path.write_bytes(b""),
}
FILES = {
    "rec.txt": ["replay", "rec.txt", "--symbol", "X", "--orders", "orders.csv", "-o", "fills.csv"],
    "export.csv": ["feeds", "import", "export.csv", "--mapping", "hummingbot", "-o", "out"],
    "map.yaml": ["feeds", "import", "export.csv", "--mapping", "map.yaml", "-o", "out"],
    "mine.yaml": ["run", "--step", "prep", "--profile", "mine.yaml"],
    NAMES["ticks"]: ["feeds", "check", "."],
    "market.txt": ["calibrate-market", "market.txt", "--symbol", "X", "-o", "preset.yaml"],
}


def things() -> Iterator[Attack]:
    """What is no file, or an empty one, where each verb expects a file."""
    for place, words in FILES.items():
        for name, make in THINGS.items():
            if (place, name) == (NAMES["ticks"], "file without a byte"):
                continue  # a day without a tick yet

            def prepare(
                home: Path,
                place: str = place,
                words: list[str] = words,
                make: Callable[[Path], object] = make,
            ) -> list[str]:
                for other in ("orders.csv", "export.csv"):
                    (home / other).write_text("time,side\n")
                (home / place).unlink(missing_ok=True)
                make(home / place)
                names = {*FILES, "fills.csv", "out", "preset.yaml", "."}
                found = [str(home / word) if word in names else word for word in words]
                return [*found, *([] if words[:2] == ["feeds", "check"] else ["--workspace", str(home)])]

            shown = (
                Path(place).name if words[1] != "check" or name not in ("missing", "dangling link") else ""
            )
            yield Attack(f"{words[0]}: {place}: {name}", prepare, refused(shown))


# --- feeds ---


def _real(kind: str, home: Path) -> list[bytes]:
    with FeedWriter(home, "BTCUSDT") as writer:
        writer.ticks(ticks(60, seed=5))
        writer.fills(fills(40, seed=6))
    lines = (home / NAMES[kind]).read_bytes().splitlines()
    for path in home.iterdir():
        path.unlink()
    return lines


def lines() -> Iterator[Attack]:
    """Every damage of lines, in both feeds: good ones are read, bad ones in quarantine, and none is lost."""
    for kind in NAMES:
        for name, (function, bad, suffix) in DAMAGES.items():
            if "megabytes" in name:
                continue

            def prepare(home: Path, kind: str = kind, name: str = name) -> list[str]:
                function, _, suffix = DAMAGES[name]
                feeds = home / "feeds"
                data = function(_real(kind, feeds), random.Random(name))
                (feeds / (NAMES[kind] + suffix)).write_bytes(data)
                return ["feeds", "check", str(feeds), "--json"]

            def judge(
                home: Path, said: Said, kind: str = kind, bad: int = bad, suffix: str = suffix
            ) -> list[str]:
                (one,) = json.loads(said.out)["files"]
                data = unpacked((home / "feeds" / (NAMES[kind] + suffix)).read_bytes(), suffix)
                good, wrong = naive_feeds.read(kind, data)
                seen = sum(one["quarantined"].values()) + one["duplicates"] + one["unfinished"]
                faults = (
                    [] if one["lines"] == len(good) + len(wrong) == one["readable"] + seen else ["lost line"]
                )
                if one["readable"] != len(good) or (bad and said.code == 0 and not one["unfinished"]):
                    faults.append("wrong value")
                return faults

            yield Attack(f"feeds check: {kind}: {name}", prepare, judge)


def _flipped(data: bytes, share: float) -> bytes:
    place = int(len(data) * share)
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


PACKED: dict[str, Callable[[bytes], bytes]] = {
    **{f"cut at {s:.0%}": lambda data, s=s: data[: int(len(data) * s)] for s in (0.02, 0.3, 0.6, 0.9, 0.999)},
    **{f"a bit flipped at {s:.0%}": lambda data, s=s: _flipped(data, s) for s in (0.2, 0.4, 0.6, 0.8, 0.99)},
    "its checksum zeroed": lambda data: data[:-8] + bytes(4) + data[-4:],
    "rubbish behind": lambda data: data + b"rubbish behind the end",
    "not packed": lambda data: b"just text\n",
    "packed otherwise": lambda data: bz2.compress(b"x" * 400),
    "noise": lambda data: random.Random(1).randbytes(4000),
}


def packed() -> Iterator[Attack]:
    """Damage of compressed files: never clean unless every value is as before."""
    packers = {
        ".gz": lambda data: gzip.compress(data, mtime=0),
        ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    }
    for suffix, pack in packers.items():
        for name, hurt in PACKED.items():
            if suffix == ".zst" and name == "its checksum zeroed":
                continue

            def prepare(
                home: Path, suffix: str = suffix, pack: Callable = pack, hurt: Callable = hurt
            ) -> list[str]:
                feeds = home / "feeds"
                data = b"\n".join(_real("fills", feeds)) + b"\n"
                (feeds / (NAMES["fills"] + suffix)).write_bytes(hurt(pack(data)))
                return ["feeds", "check", str(feeds), "--json"]

            def judge(_: Path, said: Said) -> list[str]:
                if said.code == 2:
                    return [] if NAMES["fills"] in said.err else ["refused without a name"]
                (one,) = json.loads(said.out)["files"]
                return ["wrong value"] if said.code == 0 or one["clean"] else []

            yield Attack(f"feeds check: fills{suffix}: {name}", prepare, judge)


def bombs() -> Iterator[Attack]:
    """A few hundred kilobytes that unfold to gigabytes: refused early, with both limits."""
    for suffix in (".gz", ".zst"):
        for place in ("feed", "import"):

            def prepare(home: Path, suffix: str = suffix, place: str = place) -> list[str]:
                zeros = bytes(1 << 20)
                if suffix == ".gz":
                    packer = zlib.compressobj(9, wbits=31)
                    data = b"".join(packer.compress(zeros) for _ in range(300)) + packer.flush()
                else:
                    data = zstandard.ZstdCompressor().compress(zeros * 300)
                path = home / (NAMES["fills"] if place == "feed" else "trades_pmm.csv")
                path.with_name(path.name + suffix).write_bytes(data)
                if place == "feed":
                    return ["feeds", "check", str(home)]
                words = ["feeds", "import", str(path) + suffix, "--mapping", "hummingbot"]
                return [*words, "-o", str(home / "out"), "--workspace", str(home)]

            def judge(_: Path, said: Said) -> list[str]:
                return (
                    []
                    if said.code in (1, 2) and "bomb" in said.out + said.err
                    else ["refused without a name"]
                )

            yield Attack(f"{place}: decompression bomb{suffix}", prepare, judge)


# --- gates without data ---


def gates() -> Iterator[Attack]:
    """Every gate on no value, no sample and no series."""
    book = read_gates(shipped_dir("params") / "gates.yaml")
    nothing = {
        "no value": Measurement(None, 0),
        "not a number": Measurement(float("nan"), 100, span_s=1e6),
        "a number of no samples": Measurement(0.0, 0, span_s=1e6),
    }
    for gate in book.gates:
        if gate.kind == "threshold":
            for name, measurement in nothing.items():

                def judge(_: Path, __: Said, gate: object = gate, m: Measurement = measurement) -> list[str]:
                    return ["PASS without data"] if str(evaluate(gate, m).status) == "PASS" else []  # type: ignore[arg-type]

                yield Attack(f"gate {gate.id}: {name}", lambda home: [], judge)
        elif gate.kind == "sustained":

            def judge_series(_: Path, __: Said, gate: object = gate) -> list[str]:
                status = str(evaluate_series(gate, np.empty(0, np.int64), np.empty(0)).status)  # type: ignore[arg-type]
                return ["PASS without data"] if status == "PASS" else []

            yield Attack(f"gate {gate.id}: no series", lambda home: [], judge_series)


BRIEF = (parameters, things, packed, bombs, gates)  # lines one by one: tests/test_feeds_kinds_of_damage.py
ALL = (*BRIEF, lines)


def attacks(groups: tuple[Callable[[], Iterator[Attack]], ...] = ALL) -> list[Attack]:
    """The list, or groups of it."""
    return [attack for group in groups for attack in group()]


def tally(faults: dict[str, list[str]]) -> dict[str, int]:
    """How many attacks brought which fault to light."""
    kinds = Counter(fault.partition(":")[0] for found in faults.values() for fault in found)
    return {fault: kinds.get(fault, 0) for fault in FAULTS}
