"""Other formats into feeds: rows are translated, checked against the contract, and written in order, one file a UTC day."""

from __future__ import annotations

import fnmatch
import glob
import mmap
import os
import shutil
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import fastjsonschema
import numpy as np
import orjson
import psutil

from mmlib._io import UserError, sha256_file, write_json
from mmlib.dtypes import Grade
from mmlib.feeds.foreign import opened, rows
from mmlib.feeds.mapping import BadRow, FeedRule, FormatMapping, Translator
from mmlib.feeds.order import KEYS
from mmlib.feeds.progress import Progress, counted, told
from mmlib.feeds.schema import FILE_STEM, SCHEMA_VERSION, Kind, validator
from mmlib.feeds.timestamps import DAY_NS, day_text, to_text

REPORT = "import.json"
_FLUSH = 4096  # lines


@dataclass
class ImportedFile:
    """What came of one file: ``rows`` is imported + quarantined + duplicates."""

    file: str
    kind: Kind
    sha256: str
    rows: int = 0
    imported: int = 0
    quarantined: int = 0
    duplicates: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """What came of all; ``constants`` were stated by the mapping and read nowhere."""

    mapping: str
    mapping_sha256: str
    constants: dict[str, Any]
    files: list[ImportedFile]
    written: list[str]

    @property
    def clean(self) -> bool:
        """Whether every row was imported."""
        return all(one.imported == one.rows for one in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Builtin types only."""
        return asdict(self) | {"clean": self.clean}


def import_files(
    files: Sequence[Path],
    mapping: FormatMapping,
    output: Path,
    *,
    name: str,
    sha256: str,
    quarantine_dir: Path,
    progress: Progress | None = None,
) -> Imported:
    """Write the feeds of files in another format; nothing is left behind when it fails.

    Rows are sorted by time within a day, for exports often begin with the newest. A fill that agrees with one before in
    ``order.KEYS`` is not written again. ``import.json`` beside the feeds says what they were made from.

    Args:
        files: CSV or JSON Lines, plain, .gz or .zst.
        mapping: what to do with them.
        output: directory for the feeds; it may not hold any.
        name, sha256: of the mapping, for the report.
        quarantine_dir: where rows that could not be translated are kept, ``<file>.quarantine.jsonl``.
        progress: told what is done, and how much of how much.

    Raises:
        UserError: a file cannot be read, lacks a column, or matches no feed of the mapping; ``output`` holds feeds or cannot
            be written.
    """
    output = output.resolve()
    if any(found for stem in FILE_STEM.values() for found in output.glob(f"{stem}_*.jsonl*")):
        raise UserError(f"{output}: holds feeds already; expected an empty or new directory")
    if output.is_dir() and (held := sorted(path.name for path in output.iterdir())):
        raise UserError(f"{output}: holds {held[0]}; expected an empty or new directory")
    chosen = [(path, _rule_of(path, mapping)) for path in files]
    days = _Days(output)
    done: list[ImportedFile] = []
    seen: set[tuple[str, ...]] = set()
    try:
        with told(progress):
            for path, rule in counted(chosen, "files", progress):
                done.append(_one(path, rule, mapping, days, seen, quarantine_dir))
        result = Imported(name, sha256, mapping.constants, done, days.finish())
        write_json(days.place / REPORT, result.to_dict())
        days.commit()
    except OSError as exc:
        place = str(exc.filename or output).replace(str(days.place), str(output))
        reason = exc.strerror or exc
        raise UserError(
            f"{place}: {reason}; nothing was imported; expected readable files and a writable place"
        ) from exc
    finally:
        days.discard()
    return result


def _rule_of(path: Path, mapping: FormatMapping) -> FeedRule:
    for rule in mapping.feeds:
        if fnmatch.fnmatch(path.name, rule.files):
            return rule
    patterns = " or ".join(rule.files for rule in mapping.feeds)
    raise UserError(f"{path}: no feed of the mapping takes it; expected a name like {patterns}")


def _one(
    path: Path,
    rule: FeedRule,
    mapping: FormatMapping,
    days: _Days,
    seen: set[tuple[str, ...]],
    quarantine_dir: Path,
) -> ImportedFile:
    try:
        found = ImportedFile(path.name, rule.kind, sha256_file(path))
    except OSError as exc:
        raise UserError(f"{path}: cannot be read ({exc.strerror}); expected a {mapping.format} file") from exc
    translate = Translator(rule, nested=mapping.format == "jsonl")
    check = validator(rule.kind)
    with _Quarantine(quarantine_dir, path) as bad, opened(path) as handle:
        for number, raw, row in rows(path, handle, rule, mapping):
            found.rows += 1
            try:
                if isinstance(row, str):
                    raise BadRow(row)
                line, ts_ns = translate(row)
                line = {"schema": SCHEMA_VERSION, "source": str(Grade.STATED)} | line
                check(line)
                if rule.kind == "fills":
                    key = tuple(str(line.get(name)) for name in KEYS["fills"])
                    if key in seen:
                        found.duplicates += 1
                        bad.keep(number, translate.repeated, raw)
                        continue
            except BadRow as exc:
                _refuse(found, bad, number, str(exc), raw)
                continue
            except fastjsonschema.JsonSchemaValueException as exc:
                _refuse(
                    found, bad, number, str(exc.message).replace("data.", "").replace("data ", "row "), raw
                )
                continue
            if rule.kind == "fills":
                seen.add(key)
            days.add(rule.kind, ts_ns, line)
            found.imported += 1
    return found


def _refuse(found: ImportedFile, bad: _Quarantine, number: int, reason: str, raw: bytes) -> None:
    found.quarantined += 1
    field_name = reason.partition(":")[0][:60]
    found.reasons[field_name] = found.reasons.get(field_name, 0) + 1
    bad.keep(number, reason, raw)


class _Quarantine:
    """Rows that were refused, ``<directory>/<file>.quarantine.jsonl``; no file without any."""

    def __init__(self, directory: Path, source: Path) -> None:
        self._source = source.name
        self._path = directory / f"{source.name}.quarantine.jsonl"
        self._partial = directory / f".{source.name}.quarantine.tmp"
        self._handle: BinaryIO | None = None

    def __enter__(self) -> _Quarantine:
        return self

    def keep(self, line: int, reason: str, raw: bytes) -> None:
        if self._handle is None:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            self._handle = self._partial.open("wb")
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        record = {"file": self._source, "line": line, "reason": reason, "text": text}
        with _at(self._path):
            self._handle.write(orjson.dumps(record, None, orjson.OPT_APPEND_NEWLINE))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._handle is None:
            if kind is None:
                self._path.unlink(missing_ok=True)
            return
        try:
            with _at(self._path):
                self._handle.close()
            if kind is None:
                self._partial.replace(self._path)
        finally:
            self._partial.unlink(missing_ok=True)


@contextmanager
def _at(path: Path) -> Iterator[None]:
    """Give an error of writing, which knows only of an open file, the file's name."""
    try:
        yield
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, str(path)) from exc


class _Days:
    """The feed files that are being written, in a directory beside theirs that takes its place when all is well.

    Attributes:
        place: the directory they are written to; one rename makes all of them visible, or none.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        _sweep(directory)
        self.place = directory.with_name(f".{directory.name}.importing-{os.getpid()}")
        self._times: dict[Path, array[int]] = {}
        self._lines: dict[Path, list[bytes]] = {}
        self._begun: set[Path] = set()

    def add(self, kind: Kind, ts_ns: int, line: dict[str, Any]) -> None:
        path = self.place / f"{FILE_STEM[kind]}_{day_text(ts_ns // DAY_NS)}.jsonl"
        times = {name: to_text(np.array([line[name]]))[0] for name in ("ts", "scheduled_ts") if name in line}
        self._times.setdefault(path, array("q")).append(ts_ns)
        waiting = self._lines.setdefault(path, [])
        waiting.append(orjson.dumps(line | times, None, orjson.OPT_APPEND_NEWLINE))
        if len(waiting) >= _FLUSH:
            self._flush(path)

    def finish(self) -> list[str]:
        """Bring every day in order; names of the files."""
        self.place.mkdir(parents=True, exist_ok=True)
        for path, times in sorted(self._times.items()):
            self._flush(path)
            ts = np.frombuffer(times, np.int64)
            if (np.diff(ts) < 0).any():
                _reorder(path, np.argsort(ts, kind="stable"))
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
        return sorted(path.name for path in self._times)

    def commit(self) -> None:
        """Make all of them visible at once."""
        self.place.rename(self._directory)

    def discard(self) -> None:
        """Remove what did not become a feed."""
        shutil.rmtree(self.place, ignore_errors=True)

    def _flush(self, path: Path) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        with _at(path), path.open("ab" if path in self._begun else "wb") as handle:
            handle.writelines(self._lines[path])
        self._begun.add(path)
        self._lines[path].clear()


def _sweep(directory: Path) -> None:
    """Remove what imports left that were killed."""
    for left in directory.parent.glob(f".{glob.escape(directory.name)}.importing-*"):
        pid = left.name.rpartition("-")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _reorder(path: Path, order: np.ndarray) -> None:
    """Rewrite the lines of a file in another order; they are looked up, not held."""
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        ends, at = array("q"), -1
        while (at := data.find(b"\n", at + 1)) >= 0:
            ends.append(at + 1)
        starts = [0, *ends[:-1]]
        sorted_path = path.with_suffix(".sorted")
        with _at(path), sorted_path.open("wb") as out:
            for k in order.tolist():
                out.write(data[starts[k] : ends[k]])
    sorted_path.replace(path)
