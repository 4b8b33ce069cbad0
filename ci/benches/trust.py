"""Trust: nothing wrong in silence. Attacks, flipped bits in every kind of cached file, pairs of verbs, cases, the README.

    ci/bench trust [--flips N] [--skip-tests]

Every attack of ``tests/attacks.py`` is run and judged; the flips change one bit of one file of a filled cache, or of what an
interrupted soak left, and compare the result with the one without; a real-time session's state, which cannot be made again, has
to be refused by name. Every pair of writing verbs is started at once in one workspace (``tests/verb_pairs.py``). The cases of
``../shared/cases`` and the README's commands are run by their tests. Takes about twenty minutes on two cores; progress is on
standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import trust_farm  # noqa: E402
from report import at_most, bar, finish, machine  # noqa: E402

FLIPS = 40  # of every kind of file


def said(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def attacked(home: Path) -> tuple[int, dict[str, int], dict[str, list[str]]]:
    """How many attacks, how often each fault, and which attack brought it to light."""
    from tests import attacks

    found: dict[str, list[str]] = {}
    todo = attacks.attacks()
    for k, attack in enumerate(todo):
        found[attack.name] = attacks.run(attack, home / str(k))
        if (k + 1) % 50 == 0:
            said(f"attacks: {k + 1} of {len(todo)}")
    return len(todo), attacks.tally(found), {name: faults for name, faults in found.items() if faults}


def digest(*parts: Any) -> str:
    """What a result comes to, to the last bit."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.to_csv().encode() if hasattr(part, "to_csv") else repr(part).encode())
    return total.hexdigest()


def feeds_result(feeds: Path, cache: Path | None) -> str:
    """Ticks, fills, and the intervals of a dataset."""
    from mmlib.feeds.reader import read_feeds
    from mmlib.metrics.dataset import build_dataset

    frames = [read_feeds(feeds, kind, cache_dir=cache).frame for kind in ("ticks", "fills")]
    made = build_dataset(feeds, cache_dir=cache)
    return digest(*frames, made.intervals, sorted(made.summary.items()))


def recording_result(path: Path) -> str:
    """Every row of a recording."""
    from mmlib.market import cache as market_cache
    from mmlib.market.formats import read_any
    from mmlib.market.recorded import ReaderOptions
    from mmlib.market.source import FeedLatency

    found = read_any(path, ReaderOptions("BTCUSDT", 0, None, FeedLatency(5.0, 0.5, 0.0), None))
    for writing in list(market_cache._WRITING.values()):
        writing.exception()  # what is kept is written aside
    return digest(found.events.tobytes(), found.instrument, found.refresh_ms.tobytes())


def flipped(
    what: str, wanted: str, result: Callable[[], str], cache: Path, flips: int
) -> dict[str, dict[str, int]]:
    """Kind of cached file -> how many flips, and after how many the result was as without a cache.

    Args:
        what: is cached. wanted: the result without a cache. result: works it out with one, which lies in ``cache``.
        flips: in each kind.
    """
    assert result() == wanted and result() == wanted, "the cache is wrong before it is damaged"
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(cache.rglob("*")):
        if (
            path.is_file()
            and path.stat().st_size
            and "numba" not in str(path)
            and not path.name.startswith(".")
        ):
            kinds[f"{what}: *{path.suffix}"].append(path)
    rng, out = random.Random(7), {}
    whole = cache.with_name(f"{cache.name}.whole")
    shutil.copytree(cache, whole)
    for kind, paths in kinds.items():
        equal = 0
        for k in range(flips):
            shutil.rmtree(cache)
            shutil.copytree(whole, cache)  # times of change and all
            _flip(rng.choice(paths), rng)
            try:
                equal += result() == wanted
            except Exception as exc:  # a result that does not come is not equal
                said(f"{kind}: flip {k}: {type(exc).__name__}: {exc}")
        out[kind] = {"flips": flips, "equal": equal}
        said(f"{kind}: {equal} of {flips} flips give the same result")
    return out


def _flip(path: Path, rng: random.Random) -> None:
    """Change one bit; size and time of change stay."""
    from mmlib import intact

    stat, data = path.stat(), bytearray(path.read_bytes())
    place = rng.randrange(len(data) * 8)
    data[place // 8] ^= 1 << (place % 8)
    path.write_bytes(data)
    intact._whole.cache_clear()  # a process reads a file once; the next one finds the bit
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def tests(files: list[Path]) -> dict[str, int]:
    """Outcomes of test files, counted."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    found = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    if done.returncode:
        said(done.stdout[-3000:] + done.stderr[-1000:])
        found.setdefault("failed", 0)
        found["failed"] = max(found["failed"], 1)
    said(f"{' '.join(path.name for path in files)}: {last}")
    return {word: found.get(word, 0) for word in ("passed", "failed", "skipped", "error")}


def of_cases() -> tuple[list[Path], list[str]]:
    """Test files that name a shared case, and the cases that none names."""
    home = ROOT.parent / "shared" / "cases"
    cases = [path.name for path in sorted(home.iterdir()) if path.is_dir()] if home.is_dir() else []
    texts = {path: path.read_text() for path in sorted((ROOT / "tests").glob("test_*.py"))}
    files = [path for path, text in texts.items() if any(case in text for case in cases)]
    return files, [case for case in cases if not any(case in text for text in texts.values())]


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument(
        "--flips", type=int, default=FLIPS, help="bits flipped in every kind of cached file [%(default)s]"
    )
    asked.add_argument(
        "--skip-tests", action="store_true", help="leave out the cases and the README, which their tests run"
    )
    args = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="trust-") as place:
        home = Path(place)
        os.environ["FINISHLINE_CACHE"] = str(home / "cache")
        n, faults, found = attacked(home / "attacks")
        flips = {}
        for of in (all_flips, joined_flips, kernel_flips, soak_flips, realtime_flips):
            flips |= of(home, args.flips)
        pairs, pairs_bad = paired(home / "pairs")
        farm = trust_farm.scheduler_killed(home / "farm")
    bars = [
        bar("attacks", n, 150),
        *(at_most(f"attacks that show a {name}", value, 0) for name, value in faults.items()),
    ]
    bars += [
        bar(f"flips with the same result, {kind}", one["equal"], one["flips"]) for kind, one in flips.items()
    ]
    bars += [bar("pairs of verbs", pairs, 45), at_most("pairs of verbs with a fault", len(pairs_bad), 0)]
    bars.append(at_most("faults of a dataset whose scheduler is killed", len(farm), 0))
    result: dict[str, Any] = {
        "attacks": n,
        "faults": faults,
        "found": found,
        "flips": flips,
        "verb_pairs": pairs,
        "verb_pairs_bad": pairs_bad,
        "scheduler_killed": farm,
    }
    if not args.skip_tests:
        readers, untested = of_cases()
        bars.append(at_most("cases that no test reads", len(untested), 0))
        result["untested"] = untested
        for name, files in (("cases", readers), ("readme", [ROOT / "tests" / "test_readme_commands.py"])):
            if not files:
                said(f"{name}: skipped, ../shared/cases is not here")
                continue
            result[name] = tests(files)
            bars.append(at_most(f"{name}: failed", result[name]["failed"] + result[name]["error"], 0))
            bars.append(bar(f"{name}: passed", result[name]["passed"], 1))
    return finish(
        {"bench": "trust", "machine": machine("numpy", "pandas", "pyarrow"), **result, "bars": bars}
    )


def all_flips(home: Path, flips: int) -> dict[str, dict[str, int]]:
    """Flips in what reading feeds keeps, and in what reading a recording keeps."""
    from mmlib.feeds.writer import FeedWriter
    from mmlib.market import cache as market_cache
    from tests.make_feeds import fills, ticks
    from tests.test_readme_commands import made_up

    feeds = home / "feeds"
    with FeedWriter(feeds, "BTCUSDT") as writer:
        writer.ticks(ticks(600, seed=5))
        writer.fills(fills(60, seed=6))
    kept = home / "kept"
    found = flipped("feeds", feeds_result(feeds, None), lambda: feeds_result(feeds, kept), kept, flips)
    market_cache.WORTH_BYTES = 0  # a short recording is kept as well
    recording, decoded = home / "rec.txt", home / "decoded"
    recording.write_bytes(made_up())
    os.environ["FINISHLINE_CACHE"] = "/proc/nowhere"
    wanted = recording_result(recording)
    os.environ["FINISHLINE_CACHE"] = str(decoded)
    return found | flipped("recordings", wanted, lambda: recording_result(recording), decoded, flips)


def joined_flips(home: Path, flips: int) -> dict[str, dict[str, int]]:
    """Flips in the rows that feeds come to whose files overlap, put in order together."""
    from mmlib.metrics.dataset import build_dataset
    from tests.test_intact import overlapping_feeds

    def dataset(cache: Path | None) -> str:
        made = build_dataset(feeds, cache_dir=cache)
        return digest(made.intervals, sorted(made.summary.items()))

    feeds, whole, kept = home / "overlapping", home / "joined", home / "joined-flipped"
    feeds.mkdir()
    overlapping_feeds(feeds)
    wanted = dataset(None)
    assert dataset(whole) == wanted, "the cache is wrong before it is damaged"
    for worked_out in whole.glob("*.npz"):
        worked_out.unlink()  # or the joined rows would not be needed
    rng, out = random.Random(17), {}
    for path in sorted(whole.glob("together-*")):
        kind, equal = f"joined feeds: *{''.join(path.suffixes)}", 0
        for _ in range(flips):
            shutil.copytree(whole, kept)
            _flip(kept / path.name, rng)
            equal += dataset(kept) == wanted
            shutil.rmtree(kept)
        out[kind] = {"flips": flips, "equal": equal}
        said(f"{kind}: {equal} of {flips} flips give the same result")
    return out


def kernel_flips(home: Path, flips: int) -> dict[str, dict[str, int]]:
    """Flips in a compiled kernel: it is compiled again, once, and gives the same number."""
    from tests.test_kernel_cache import FLIPPED, _package, _python

    place = home / "kernels"
    _package(place)
    code = FLIPPED.format(home=str(place / "mm-finishline"), flips=flips)
    equal = int(_python(code, place, place))
    said(f"kernels: *.kernel: {equal} of {flips} flips are compiled again")
    return {"kernels: *.kernel": {"flips": flips, "equal": equal}}


def paired(home: Path) -> tuple[int, dict[str, list[str]]]:
    """How many pairs of verbs were started at once in one workspace, and what went wrong in which of them."""
    from tests import verb_pairs

    os.environ["XDG_CONFIG_HOME"] = str(home / "config")  # the key of seals
    ws, bad = verb_pairs.workspace(home, "prep", "soak", "dataset", "daily"), {}
    for k, (first, second) in enumerate(verb_pairs.PAIRS):
        if wrong := verb_pairs.faults(ws, first, second):
            bad[f"{first} + {second}"] = wrong
            said(f"{first} + {second}: {'; '.join(wrong)}")
        said(f"pairs of verbs: {k + 1} of {len(verb_pairs.PAIRS)}")
    return len(verb_pairs.PAIRS), bad


def soak_flips(home: Path, flips: int) -> dict[str, dict[str, int]]:
    """Flips in what a soak left that was interrupted in its second symbol: the resumed one ends with the feeds of a whole one.

    A session whose identity is damaged is begun again, with the same feeds.
    """
    from mmlib._io import UserError
    from mmlib.config.models import Config
    from mmlib.engine.session import SessionSpec, run_session
    from mmlib.feeds.same import digests
    from mmlib.market import playback
    from tests.make_feeds import START_NS

    def interrupt(symbol: str, share: float) -> None:
        if symbol == "ETHUSDT" and share > 0.5:
            raise KeyboardInterrupt

    playback.CHUNK_ROWS = 512  # a checkpoint each
    alone = Config.model_validate({"async_batch": {"enabled": False}})
    spec = SessionSpec("simulated", ("BTCUSDT", "ETHUSDT"), ("A",), 60.0, start_ns=START_NS, seed=5)
    wanted = digests(run_session(spec, alone, home / "whole").feeds)
    left = home / "soak"
    with contextlib.suppress(KeyboardInterrupt):
        run_session(spec, alone, left / "feeds", progress=interrupt, checkpoint_s=0.0)
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in sorted((left / "feeds.partial").rglob("*")):
        if path.is_file() and path.stat().st_size:
            kinds[f"soak: {path.name}"].append(path.relative_to(left))
    rng, out = random.Random(11), {}
    for kind, paths in kinds.items():
        equal = 0
        for k in range(flips):
            place = home / f"soak-{k}"
            shutil.copytree(left, place)
            _flip(place / rng.choice(paths), rng)
            try:
                equal += digests(run_session(spec, alone, place / "feeds", resume=True).feeds) == wanted
            except (UserError, OSError, ValueError) as exc:
                said(f"{kind}: flip {k}: {type(exc).__name__}: {exc}")
            shutil.rmtree(place)
        out[kind] = {"flips": flips, "equal": equal}
        said(f"{kind}: {equal} of {flips} flips give the same feeds")
    return out


def realtime_flips(home: Path, flips: int) -> dict[str, dict[str, int]]:
    """Flips in the state of a session on a live market: refused by name, or read as it was written."""
    import numpy as np

    from mmlib._io import UserError
    from mmlib.engine.realtime.checkpoint import Checkpoint, store

    rng, refused, place = random.Random(13), 0, home / "realtime"
    place.mkdir()
    for _ in range(flips):
        store(place, Checkpoint({"files": {}, "counter": 3}, {"BTCUSDT": {"a": np.arange(4)}}))
        _flip(place / "session.npz", rng)
        try:
            Checkpoint.read(place)
        except UserError as exc:
            refused += "session.npz" in str(exc)
    said(f"real-time: session.npz: {refused} of {flips} flips are refused by name")
    return {"real-time: session.npz, refused by name": {"flips": flips, "equal": refused}}


if __name__ == "__main__":
    sys.exit(main())
