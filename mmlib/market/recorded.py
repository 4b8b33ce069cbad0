"""A recording held in memory (32 bytes a row) as a source: windows and tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmlib._io import sha256_file, sha256_json
from mmlib.dtypes import Grade
from mmlib.market.events import book_before, snapshot_rows
from mmlib.market.source import CHUNK_ROWS, FeedLatency, Instrument

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Span:
    """First and last times of a recording's rows [ns]."""

    exch_first: int
    exch_last: int
    local_first: int
    local_last: int

    @classmethod
    def of(cls, events: np.ndarray) -> Span:
        """The span of EVENT[n], n >= 1."""
        exch_ns, local_ns = events["exch_ts_ns"], events["local_ts_ns"]
        return cls(int(exch_ns.min()), int(exch_ns.max()), int(local_ns.min()), int(local_ns.max()))


@dataclass(frozen=True)
class Recording:
    """What a reader hands over."""

    events: (
        np.ndarray
    )  # EVENT[n], n >= 1, in processing order, with processor flags; may be mapped from a file
    instrument: Instrument
    description: str
    sha256: str
    refresh_ms: np.ndarray  # float64[1001], see `Source.refresh_ms`
    refresh_label: str
    quality: dict[str, int]
    quarantined: Mapping[str, bytes] = field(default_factory=dict)  # file in the quarantine -> JSON Lines
    span: Span | None = None  # of the events, where it is known already


@dataclass(frozen=True)
class ReaderOptions:
    """What every reader is told."""

    symbol: str
    seed: int
    instrument: Instrument | None  # declared by the caller, None to infer it
    latency: FeedLatency
    quarantine_dir: Path | None
    sha256: str = ""  # of what is read, where it is known already

    def sha256_of(self, *files: Path) -> str:
        """SHA-256 of the file, or of the names and hashes of several."""
        return self.sha256 or sha256_of(files)


def sha256_of(files: Sequence[Path]) -> str:
    """SHA-256 of a file, or of the names and hashes of several."""
    if len(files) == 1:
        return sha256_file(files[0])
    return sha256_json({file.name: sha256_file(file) for file in files})


class RecordedSource:
    """One symbol of a recording, played once or several times over."""

    def __init__(self, uri: str, recording: Recording, tiles: int = 1) -> None:
        self.uri = uri
        self.symbol = recording.instrument.symbol
        self.instrument = recording.instrument
        self.sha256 = recording.sha256
        self.refresh_ms = recording.refresh_ms
        self.refresh_label = recording.refresh_label
        self.quality = recording.quality
        self.caveat = ""
        self.grade = Grade.RECORDING if tiles == 1 else Grade.RECORDING_TILED
        self.description = recording.description + (f"; played {tiles} times over" if tiles > 1 else "")
        self._events = recording.events
        self._tiles = tiles
        self._span = recording.span or Span.of(self._events)
        first = min(self._span.exch_first, self._span.local_first)
        last = max(self._span.exch_last, self._span.local_last)
        self._shift_ns = ((last - first) // _SECOND_NS + 1) * _SECOND_NS
        self.start_ns: int = self._span.local_first
        self.end_ns: int | None = self._span.local_last + 1 + (tiles - 1) * self._shift_ns

    def chunks(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[np.ndarray]:
        """See `Source.chunks`; every tile but the first begins with a clear of both sides."""
        last = self._span.local_last
        for k in range(self._tiles):
            shift = k * self._shift_ns
            start = self.start_ns if start_ns is None else start_ns - shift
            end = last + 1 if end_ns is None else end_ns - shift
            if start > last or end <= start:
                continue
            if start > self.start_ns:
                yield from self._window(start, end, shift)
            elif end > self.start_ns:
                if k:
                    yield self._clear(shift)
                yield from self._rows(self._events, self.start_ns, end, shift)

    def _window(self, start: int, end: int, shift: int) -> Iterator[np.ndarray]:
        """A window that begins inside a tile: the book there, then the rows that arrive from then on."""
        inside = self._events[_arrivals(self._events, start, end)]
        if not len(inside):
            return
        opening = book_before(self._events, start)
        opening["exch_ts_ns"] = min(start, int(inside["exch_ts_ns"].min()))
        yield from self._rows(opening, start, end, shift)
        yield from self._rows(inside, start, end, shift)

    def _clear(self, shift: int) -> np.ndarray:
        """A clear of both sides at the beginning of a tile."""
        none = np.zeros(0)
        first_exch = self._span.exch_first
        return snapshot_rows(none, none, none, none, first_exch + shift, self.start_ns + shift)

    def _rows(self, events: np.ndarray, start: int, end: int, shift: int) -> Iterator[np.ndarray]:
        """Copies of rows with local times in ``[start, end)``, shifted, in chunks."""
        whole = events is self._events and start <= self._span.local_first and end > self._span.local_last
        for at in range(0, len(events), CHUNK_ROWS):
            view = events[at : at + CHUNK_ROWS]
            part = np.array(view) if whole else view[_arrivals(view, start, end)]
            if len(part):
                part["exch_ts_ns"] += shift
                part["local_ts_ns"] += shift
                yield part


def _arrivals(events: np.ndarray, start: int, end: int) -> np.ndarray:
    return np.asarray((events["local_ts_ns"] >= start) & (events["local_ts_ns"] < end))


def count_gaps(local_ns: np.ndarray, longest_ns: int = 60 * _SECOND_NS) -> int:
    """How often nothing arrived for longer than ``longest_ns``; ``local_ns`` in any order."""
    return int((np.diff(np.sort(local_ns)) > longest_ns).sum())
