"""Other formats into feeds: rows are translated, checked against the contract, and written in order, one file a UTC day."""

from __future__ import annotations

import fnmatch
import mmap
import os
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import fastjsonschema
import numpy as np
import orjson

from mmlib._io import UserError, sha256_file, write_json
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
    if any(found for stem in FILE_STEM.values() for found in output.glob(f"{stem}_*.jsonl*")):
        raise UserError(f"{output}: holds feeds already; expected an empty or new directory")
    chosen = [(path, _rule_of(path, mapping)) for path in files]
    days = _Days(output)
    done: list[ImportedFile] = []
    seen: set[tuple[str, ...]] = set()
    try:
        with told(progress):
            for path, rule in counted(chosen, "files", progress):
                done.append(_one(path, rule, mapping, days, seen, quarantine_dir))
        written = days.finish()
    except OSError as exc:
        raise UserError(
            f"{exc.filename or output}: {exc.strerror or exc}; expected readable files and a writable place"
        ) from exc
    finally:
        days.discard()
    result = Imported(name, sha256, mapping.constants, done, [path.name for path in written])
    write_json(output / REPORT, result.to_dict())
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
                line = {"schema": SCHEMA_VERSION} | line
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
        self._handle.write(orjson.dumps(record, None, orjson.OPT_APPEND_NEWLINE))

    def __exit__(self, *_: object) -> None:
        if self._handle is None:
            self._path.unlink(missing_ok=True)
            return
        self._handle.close()
        self._partial.replace(self._path)


class _Days:
    """The feed files that are being written, in part files beside them until all is well."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._times: dict[Path, array[int]] = {}
        self._lines: dict[Path, list[bytes]] = {}
        self._begun: set[Path] = set()

    def add(self, kind: Kind, ts_ns: int, line: dict[str, Any]) -> None:
        path = self._directory / f".{FILE_STEM[kind]}_{day_text(ts_ns // DAY_NS)}.jsonl.tmp"
        times = {name: to_text(np.array([line[name]]))[0] for name in ("ts", "scheduled_ts") if name in line}
        self._times.setdefault(path, array("q")).append(ts_ns)
        waiting = self._lines.setdefault(path, [])
        waiting.append(orjson.dumps(line | times, None, orjson.OPT_APPEND_NEWLINE))
        if len(waiting) >= _FLUSH:
            self._flush(path)

    def finish(self) -> list[Path]:
        """Bring every day in order and give it its name."""
        done = []
        self._directory.mkdir(parents=True, exist_ok=True)
        for path, times in sorted(self._times.items()):
            self._flush(path)
            ts = np.frombuffer(times, np.int64)
            if (np.diff(ts) < 0).any():
                _reorder(path, np.argsort(ts, kind="stable"))
        for path in sorted(self._times):
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
            done.append(path.rename(path.with_name(path.name.removeprefix(".").removesuffix(".tmp"))))
        self._times.clear()
        return done

    def discard(self) -> None:
        """Remove what did not become a feed."""
        for path in self._times:
            path.unlink(missing_ok=True)

    def _flush(self, path: Path) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if path in self._begun else "wb") as handle:
            handle.writelines(self._lines[path])
        self._begun.add(path)
        self._lines[path].clear()


def _reorder(path: Path, order: np.ndarray) -> None:
    """Rewrite the lines of a file in another order; they are looked up, not held."""
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        ends, at = array("q"), -1
        while (at := data.find(b"\n", at + 1)) >= 0:
            ends.append(at + 1)
        starts = [0, *ends[:-1]]
        sorted_path = path.with_suffix(".sorted")
        with sorted_path.open("wb") as out:
            for k in order.tolist():
                out.write(data[starts[k] : ends[k]])
    sorted_path.replace(path)
