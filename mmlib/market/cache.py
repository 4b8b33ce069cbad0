"""Decoded recordings on disk: EVENT rows as a plain .npy, mapped instead of read, beside what the reader found out.

An entry is keyed by the content of the recording, what the reader was told, and the source of the decoder itself, so a change
of any of them decodes afresh. It lives in ``$FINISHLINE_CACHE`` or the user's cache directory, never in the workspace, and
goes when nobody used it for a month. It is written while the recording is already in use. A cache that cannot be written
costs time, nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np

from mmlib import intact
from mmlib._io import UserError, sha256_json, write_atomic
from mmlib.dtypes import EVENT
from mmlib.market.cachehome import cache_home as cache_home
from mmlib.market.recorded import ReaderOptions, Recording, Span, sha256_of
from mmlib.market.source import Instrument

WORTH_BYTES = 1 << 20
"""Smaller recordings are decoded at once, and leave nothing behind."""
_UNUSED_S = 30 * 86_400.0

_WRITER = ThreadPoolExecutor(1, thread_name_prefix="recording-cache")
_WRITING: dict[Path, Future[None]] = {}

Reader = Callable[[Path, ReaderOptions], Recording]


def read_cached(path: Path, files: Sequence[Path], options: ReaderOptions, reader: Reader) -> Recording:
    """What ``reader`` makes of a recording, from the cache where it is there, and into it where it is not.

    Args:
        path: what the reader is given. files: the files that it reads. options: likewise.

    Raises:
        UserError: as the reader; failures are not kept.
    """
    try:
        if sum(file.stat().st_size for file in files) < WORTH_BYTES:
            return reader(path, options)
        options = replace(options, sha256=sha256_of(files))
    except OSError as exc:
        raise UserError(f"{path}: cannot be read ({exc.strerror}); expected a recording") from exc
    entry = _entry(path, options, reader)
    if entry is None:
        return reader(path, options)
    if entry in _WRITING:
        _WRITING.pop(entry).exception()  # what went wrong there costs time, nothing else
    found = _load(entry)
    if found is None:
        read = reader(path, options)
        read.events.flags.writeable = False
        _WRITING[entry] = _WRITER.submit(_store, entry, read)
        return read
    if options.quarantine_dir is not None:
        for name, text in found.quarantined.items():
            write_atomic(options.quarantine_dir / name, text)
    return found


@cache
def decoder_version() -> str:
    """Hash of the sources that decide what a decoded recording holds."""
    package = Path(__file__).resolve().parents[1]
    names = ("_jit", "columns", "decode", "frame", "jsonline", "rows", "shapes", "words")
    core = [package / "core" / f"{name}.py" for name in names]
    digest = hashlib.sha256(np.__version__.encode())
    for source in [package / "dtypes.py", *core, *sorted((package / "market").glob("*.py"))]:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _entry(path: Path, options: ReaderOptions, reader: Reader) -> Path | None:
    """The entry without suffix; None where no cache can be kept."""
    key = {
        "decoder": decoder_version(),
        "reader": f"{reader.__module__}.{reader.__name__}",
        "name": path.name,  # it stands in the description
        "sha256": options.sha256,
        "symbol": options.symbol,
        "instrument": asdict(options.instrument) if options.instrument else None,
        "base_ms": options.latency.base_ms,
    }
    home = cache_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return home / sha256_json(key)[:40] if os.access(home, os.W_OK) else None


def _load(entry: Path) -> Recording | None:
    """The entry, its rows mapped; None when it is absent or not whole."""
    try:
        facts = intact.read_json(entry.with_suffix(".json"))
        intact.check_file(entry.with_suffix(".npy"))
        events = np.load(entry.with_suffix(".npy"), mmap_mode="r")
        if events.dtype != EVENT or events.shape != (facts.pop("rows"),):
            return None
        found = Recording(
            events=events,
            instrument=Instrument(**facts.pop("instrument")),
            refresh_ms=np.array(facts.pop("refresh_ms"), np.float64),
            quarantined={name: text.encode() for name, text in facts.pop("quarantined").items()},
            span=Span(**facts.pop("span")),
            **facts,
        )
        os.utime(entry.with_suffix(".json"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return found


def _store(entry: Path, read: Recording) -> None:
    """Keep a recording, if it can be kept; the facts come last, so an entry with facts is whole."""
    facts = {
        "rows": len(read.events),
        "instrument": asdict(read.instrument),
        "description": read.description,
        "sha256": read.sha256,
        "refresh_ms": read.refresh_ms.tolist(),
        "refresh_label": read.refresh_label,
        "quality": {name: int(count) for name, count in read.quality.items()},
        "quarantined": {name: text.decode() for name, text in read.quarantined.items()},
        "span": asdict(read.span or Span.of(read.events)),
    }
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=entry.parent, prefix=".", suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            np.save(stream, read.events)
            stream.flush()
            os.fsync(stream.fileno())
        intact.seal_file(Path(temporary), at=entry.with_suffix(".npy"))
        Path(temporary).replace(entry.with_suffix(".npy"))
        intact.write_json(entry.with_suffix(".json"), facts)
        _sweep(entry.parent)
    except (OSError, UserError):
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _sweep(home: Path) -> None:
    """Remove entries that nobody used for long."""
    oldest = time.time() - _UNUSED_S
    for facts in home.glob("*.json"):
        with contextlib.suppress(OSError):
            if facts.stat().st_mtime < oldest:
                facts.unlink()
                intact.drop([facts.with_suffix(".npy")])
