"""Cold start: what a newcomer waits for, as multiples of the warm demo of the same run.

A fresh clone of this checkout's HEAD, an empty home, no environment and no compiled kernel; downloads are cached beforehand and
reported apart. The peers are the same demo once more, warm, and the build before the work on this (6ba7115), whose
compile events are counted in the same run. Takes some twenty minutes on two cores; --quick leaves out that build, the wheel and
the verbs that take long.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import compile_events
from coldstart_runs import Ran, newcomer, run, size_mb
from report import at_most, bar, finish, machine

ROOT = Path(__file__).resolve().parents[2]
BEFORE = "6ba7115"
_INSTALL = ["bash", "-c", "source ci/environment.sh; make_environment"]
_VERBS = {
    "help": ["--help"],
    "doctor": ["doctor"],
    "status": ["status"],
    "feeds schema": ["feeds", "schema"],
    "report": ["report"],
    "rollback": ["rollback", "--reason", "bench"],
    "schedule status": ["schedule", "status"],
}
_LONG_VERBS = {
    "feeds check": ["feeds", "check", "artifacts/edge/feeds"],
    "alerts": ["alerts"],
    "readiness": ["readiness"],
    "dataset": ["dataset"],
    "daily": ["daily"],
    "shadow": ["run", "--step", "2", "--shadow-duration", "5"],
    "soak": ["soak", "--hours", "1"],
    "ab": ["ab", "--rollout-pct", "10", "--duration-hours", "2"],
    "ab --aa": ["ab", "--aa", "--profile", "demo"],
    "calibrate": ["calibrate", "--profile", "demo", "--trials", "2"],
    "baseline --validate": ["baseline", "--validate"],
}
_VERB_LIMIT_S = 240.0


def clone(place: Path, commit: str = "HEAD") -> Path:
    """A fresh clone of this checkout."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(place)], check=True)
    subprocess.run(["git", "checkout", "-q", commit], cwd=place, check=True)
    return place


def told(what: str) -> None:
    """One line of progress."""
    print(f"coldstart: {what}", file=sys.stderr, flush=True)


def must(ran: Ran, most: int = 1) -> Ran:
    """Only what executed can be measured."""
    if not 0 <= ran.code <= most:
        raise SystemExit(
            f"{ran.command}: exit code {ran.code}\n{''.join(text for _, text in ran.said)[-3000:]}"
        )
    return ran


def demos(place: Path, downloads: Path, repeats: int) -> tuple[dict[str, Any], float]:
    """The cold demo beside the warm one, and the seconds of the latter."""
    fresh = clone(place / "fresh")
    told("installing once, which downloads everything")
    filling = must(run(_INSTALL, fresh, newcomer(place / "fill", downloads)), 0)
    shutil.rmtree(fresh / ".venv")
    env = newcomer(place / "home", downloads)
    told("cold demo")
    cold = must(
        run(["bash", "ci/demo", "--workspace", str(place / "cold")], fresh, env, place / "cold-events")
    )
    (place / "cold.log").write_text("".join(f"{at:8.2f} {text}" for at, text in cold.said))
    told(f"cold demo: {cold.seconds:.1f} s; warm demo")
    warm = [
        must(
            run(
                ["bash", "ci/demo", "--workspace", str(place / f"warm{k}")],
                fresh,
                env,
                place / f"warm-events{k}",
            )
        )
        for k in range(repeats)
    ]
    base = min(one.seconds for one in warm)
    installed = cold.at("Installed in")
    gap, before = cold.largest_gap()
    found = {
        "download_seconds": round(filling.seconds - installed, 2),
        "cold_seconds": round(cold.seconds, 2),
        "warm_seconds": [round(one.seconds, 2) for one in warm],
        "cold_over_warm": round(cold.seconds / base, 3),
        "install_over_warm": round(installed / base, 3),
        "compile_over_warm": round(cold.compile_wall_s() / base, 3),
        "compile_events": compile_events.summary(cold.events),
        "compiled_when_warm": len(warm[-1].events),
        "largest_gap_seconds": gap,
        "said_before_the_gap": before,
        "environment_mb": size_mb(fresh / ".venv"),
    }
    return found, base


def before(place: Path, downloads: Path) -> dict[str, Any]:
    """Compile events of the demo of the build before, in an environment from its own lock."""
    old = clone(place / "before", BEFORE)
    shutil.copy(ROOT / "ci" / "requirements-build.lock", old / "ci")
    (old / "ci" / "first_import.py").write_text("")
    told("installing the build before")
    script = f"source {ROOT}/ci/environment.sh; make_environment"
    env = newcomer(place / "home-before", downloads)
    must(run(["bash", "-c", script], old, env), 0)
    told("cold demo of the build before")
    command = [".venv/bin/finishline", "run", "--all", "--profile", "demo", "--workspace", str(place / "old")]
    ran = must(run(command, old, env, place / "old-events"))
    return {"seconds": round(ran.seconds, 2), **compile_events.summary(ran.events)}


def verbs(place: Path, downloads: Path, quick: bool) -> dict[str, Any]:
    """First words and compile seconds of each verb, every one with an empty kernel cache."""
    found = {}
    program = str(place / "fresh" / ".venv" / "bin" / "finishline")
    for number, (name, words) in enumerate((_VERBS if quick else _VERBS | _LONG_VERBS).items()):
        told(f"verb {name}")
        workspace = place / f"verb{number}"
        shutil.copytree(place / "warm0", workspace)
        where = [] if name in ("help", "feeds schema", "feeds check") else ["--workspace", "."]
        env = newcomer(place / f"verb-home{number}", downloads)
        ran = run([program, *words, *where], workspace, env, place / f"verb-events{number}", _VERB_LIMIT_S)
        found[name] = {
            "first_words_seconds": round(ran.first_words_s, 2),
            "largest_gap_seconds": ran.largest_gap()[0],
            "seconds": round(ran.seconds, 2),
            "compile_cpu_seconds": round(ran.compile_cpu_s(), 2),
            "code": ran.code,
        }
        print(f"{name:22} {json.dumps(found[name])}", file=sys.stderr, flush=True)
    return found


def wheel(place: Path, downloads: Path, base: float) -> dict[str, Any] | None:
    """The demo from the wheel with kernels, in an empty home; None where no wheel can be built."""
    fresh = place / "fresh"
    if not (fresh / "ci" / "wheel").is_file():
        return None
    told("building the wheel")
    env = newcomer(place / "home-wheel", downloads)
    built = run(["bash", "ci/wheel"], fresh, env)
    files = sorted(fresh.glob("dist/*.whl"))
    if built.code or not files:
        return {"failed": "".join(text for _, text in built.said)[-600:]}
    lock = "ci/requirements.lock"
    script = (
        f'source ci/environment.sh; python=$(find_python); "$python" -m venv --without-pip "{place}/wv"; '
        f'get_tools "$python" "{place}/tools"; '
        f'"$uv" pip install -q --python "{place}/wv/bin/python" --require-hashes -r {lock}; '
        f'"$uv" pip install -q --python "{place}/wv/bin/python" --no-deps {files[-1]}'
    )
    must(run(["bash", "-c", script], fresh, env), 0)
    env = newcomer(place / "home-of-wheel", downloads)
    command = [str(place / "wv" / "bin" / "finishline"), "run", "--all", "--profile", "demo"]
    must(run([*command, "--workspace", str(place / "w0")], place, env, place / "wheel-events"))
    ran = must(run([*command, "--workspace", str(place / "w1")], place, newcomer(place / "hw2", downloads)))
    events = compile_events.read(place / "wheel-events")
    return {
        "wheel_mb": round(files[-1].stat().st_size / 1e6, 2),
        "compiled": len(events),
        "over_warm": round(ran.seconds / base, 3),
    }


def loops(place: Path, downloads: Path, rounds: int = 3) -> dict[str, float]:
    """CPU of the hot loops with kernels for x86-64-v3 over native ones, the least of each; both in turns, in the same run."""
    program = [
        str(place / "fresh" / ".venv" / "bin" / "python"),
        str(ROOT / "ci/benches/coldstart_loops.py"),
        "12",
        "4",
    ]
    plain = {"native": {}, "prebuilt": {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}}
    least: dict[str, dict[str, float]] = {kind: {} for kind in plain}
    for turn in range(rounds):
        for kind, more in plain.items():
            told(f"hot loops, {kind}, round {turn + 1} of {rounds}")
            env = newcomer(place / f"home-{kind}", downloads, **more)
            said = must(run(program, place, env), 0).said
            for name, values in json.loads("".join(text for _, text in said).splitlines()[-1]).items():
                least[kind][name] = min([*values, least[kind].get(name, math.inf)])
    return {name: round(least["prebuilt"][name] / took, 4) for name, took in least["native"].items()}


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="without the build before, the wheel and long verbs"
    )
    parser.add_argument(
        "--repeats", type=int, default=2, help="warm demos, of which the quickest counts (default: 2)"
    )
    parser.add_argument("--keep", help="keep logs and workspaces in this directory, which must not exist")
    args = parser.parse_args()
    place = Path(args.keep or tempfile.mkdtemp(prefix="finishline-cold-")).resolve()
    place.mkdir(exist_ok=not args.keep)
    result: dict[str, Any] = {"bench": "coldstart", "machine": machine("numba")}
    try:
        downloads = place / "downloads"
        found, base = demos(place, downloads, args.repeats)
        result |= found
        result["verbs"] = verbs(place, downloads, args.quick)
        slowest = max(one["first_words_seconds"] for one in result["verbs"].values())
        bars = [
            at_most("cold demo over warm demo", found["cold_over_warm"], 2.5),
            at_most("install over warm demo", found["install_over_warm"], 0.6),
            at_most("compile over warm demo", found["compile_over_warm"], 0.8),
            at_most("largest silence of the cold demo, seconds", found["largest_gap_seconds"], 5.0),
            at_most("first words of the slowest verb, seconds", slowest, 2.0),
            at_most("environment of the demo, MB", found["environment_mb"], 1000),
        ]
        if not args.quick:
            result["before"] = old = before(place, downloads)
            share = found["compile_events"]["cpu_s"] / old["cpu_s"] if old["cpu_s"] else math.nan
            bars.append(at_most("CPU of compile events over the build before", round(share, 3), 0.45))
            result["hot_loops"] = slower = loops(place, downloads)
            bars += [at_most(f"{name}, prebuilt over native", ratio, 1.03) for name, ratio in slower.items()]
            result["wheel"] = made = wheel(place, downloads, base)
            whole = made is not None and "compiled" in made
            bars.append(bar("the wheel compiles nothing", whole and made["compiled"] == 0, True))
            bars.append(
                at_most("demo from the wheel over warm demo", made["over_warm"] if whole else 1e9, 1.3)
            )
        result["bars"] = bars
    finally:
        if not args.keep:
            shutil.rmtree(place, ignore_errors=True)
    return finish(result)


if __name__ == "__main__":
    raise SystemExit(main())
