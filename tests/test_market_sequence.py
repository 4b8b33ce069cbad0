"""Sequence numbers decide what is newer: whatever order messages reach a recording or a session in, the book is right."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib._io import UserError
from mmlib.dtypes import EVENT_KIND_MASK, FLAG_BUY, FLAG_EXCH, FLAG_LOCAL, KIND_CLEAR, KIND_TRADE
from mmlib.market.live.books import BookFrames
from mmlib.market.live.sync import BadFrame, SymbolStream
from mmlib.market.live.venues import VENUES
from mmlib.market.opening import open_source
from mmlib.market.quality import quality_of
from mmlib.market.source import Instrument, Source

T0_MS = 1_700_000_000_000
MS = 1_000_000
COIN = Instrument("ABCUSDT", 1.0, 1.0)
Book = tuple[dict[int, float], dict[int, float]]


@dataclass
class Server:
    """An exchange: a book, its diffs as they happened, and a whole book after each of them."""

    futures: bool
    diffs: list[dict[str, Any]] = field(default_factory=list)
    books: list[Book] = field(default_factory=list)  # after each diff

    def play(self, rng: random.Random, n: int) -> Server:
        bids, asks = (
            {80.0: 5.0, 90.0: 5.0},
            {101.0: 5.0, 111.0: 5.0},
        )  # 80 and 111 stay: every snapshot reaches as far
        last = 10
        for at in range(n):
            change: tuple[list[Any], list[Any]] = ([], [])
            for side, book, low in ((0, bids, 86), (1, asks, 101)):
                for price in {rng.randrange(low, low + 5) for _ in range(2)}:
                    qty = rng.choice([0, 1, 2, 3, 9])
                    book[float(price)] = qty
                    change[side].append([f"{price}", f"{qty}"])
            first, before = last + 1, last
            last += rng.randrange(1, 4)
            ms = T0_MS + 10 * at
            data = {
                "e": "depthUpdate",
                "E": ms,
                "s": "ABCUSDT",
                "U": first,
                "u": last,
                "b": change[0],
                "a": change[1],
            }
            self.diffs.append(data | ({"T": ms, "pu": before} if self.futures else {}))
            self.books.append(
                ({int(p): q for p, q in bids.items() if q}, {int(p): q for p, q in asks.items() if q})
            )
        return self

    def snapshot(self, after: int) -> dict[str, Any]:
        """The REST answer that was true right after a diff."""
        bids, asks = self.books[after]
        data = {
            "lastUpdateId": self.diffs[after]["u"],
            "bids": [[f"{p}", f"{bids[p]}"] for p in sorted(bids, reverse=True)],
            "asks": [[f"{p}", f"{asks[p]}"] for p in sorted(asks)],
        }
        return data | ({"T": self.diffs[after]["E"]} if self.futures else {})


def write(path: Path, messages: list[dict[str, Any]]) -> Path:
    """A recording that got the messages in this order, 1 ms apart, all of them later than they happened."""
    local = (T0_MS + 5_000) * MS
    path.write_bytes(
        b"".join(b"%d %s\n" % (local + i * MS, json.dumps(m).encode()) for i, m in enumerate(messages))
    )
    return path


def read(path: Path) -> Source:
    return open_source(f"recording:{path}", "ABCUSDT", instruments={"ABCUSDT": (1.0, 1.0)})


def fold(rows: np.ndarray, processor: int) -> Book:
    """The book that one processor's rows leave, in dictionaries; clears reach as far as they say."""
    sides: Book = ({}, {})
    for row in rows[rows["flags"] & processor != 0]:
        kind, tick = int(row["flags"]) & EVENT_KIND_MASK, int(row["price_ticks"])
        buy = bool(row["flags"] & FLAG_BUY)
        book = sides[0 if buy else 1]
        if kind == KIND_CLEAR:
            for price in [p for p in book if (p >= tick if buy else p <= tick)]:
                del book[price]
        elif kind != KIND_TRADE:
            book[tick] = float(row["qty"])
    return tuple({p: q for p, q in book.items() if q} for book in sides)  # type: ignore[return-value]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    futures=st.booleans(),
    n=st.integers(1, 25),
    taken=st.integers(0, 24),
    late=st.integers(0, 30),
)
def test_a_snapshot_that_comes_late_is_the_book_up_to_date(
    tmp_path_factory: pytest.TempPathFactory, seed: int, futures: bool, n: int, taken: int, late: int
) -> None:
    """The answer of a request overtaken by any number of updates, on spot and futures; before it, nothing else is known."""
    server = Server(futures).play(random.Random(seed), n)
    taken = min(taken, n - 1)
    place = min(taken + 1 + late, n)
    messages = [*server.diffs[:place], server.snapshot(taken), *server.diffs[place:]]
    source = read(write(tmp_path_factory.mktemp("late") / "x.txt", messages))
    rows = np.concatenate(list(source.chunks()))
    assert source.quality["bad_lines"] == source.quality["sequence_gaps"] == 0
    assert source.quality["stale_snapshots"] == (place > taken + 1)
    for processor in (FLAG_LOCAL, FLAG_EXCH):
        assert fold(rows, processor) == server.books[-1]
    arrived = source.start_ns + place * MS  # what was known once the snapshot was there
    assert fold(rows[rows["local_ts_ns"] <= arrived], FLAG_LOCAL) == server.books[max(place - 1, taken)]


def _early(server: Server) -> list[dict[str, Any]]:
    """The answer overtook the updates that it holds already."""
    return [server.diffs[0], server.snapshot(9), *server.diffs[1:]]


def _twice(server: Server) -> list[dict[str, Any]]:
    """Two connections into one file."""
    return [server.snapshot(0), *(diff for diff in server.diffs for _ in range(2))]


def _behind(server: Server) -> list[dict[str, Any]]:
    """The second connection is three updates behind."""
    out = [server.snapshot(0)]
    for i, diff in enumerate(server.diffs):
        out += [diff, *server.diffs[max(i - 3, 0) : max(i - 2, 0)]]
    return out


def _older_snapshot(server: Server) -> list[dict[str, Any]]:
    """Two answers, the older one last."""
    return [
        *server.diffs[:12],
        server.snapshot(11),
        server.snapshot(4),
        *server.diffs[12:],
        server.snapshot(2),
    ]


def _refreshes(server: Server) -> list[dict[str, Any]]:
    """A session that fetches the book again and again, each answer some updates late."""
    out: list[dict[str, Any]] = []
    for i, diff in enumerate(server.diffs):
        out += [diff, *([server.snapshot(i - 2)] if i > 2 and i % 3 == 0 else [])]
    return out


@pytest.mark.parametrize("futures", [True, False])
@pytest.mark.parametrize("order", [_early, _twice, _behind, _older_snapshot, _refreshes])
def test_what_is_older_never_turns_a_recorded_book_back(tmp_path: Path, order: Any, futures: bool) -> None:
    server = Server(futures).play(random.Random(3), 20)
    source = read(write(tmp_path / "x.txt", order(server)))
    rows = np.concatenate(list(source.chunks()))
    assert source.quality["sequence_gaps"] == source.quality["bad_lines"] == 0
    assert (source.quality["old_updates"] > 0) == (order in (_early, _twice, _behind))
    for processor in (FLAG_LOCAL, FLAG_EXCH):
        assert fold(rows, processor) == server.books[-1]


def test_numbers_that_begin_anew_are_no_old_ones(tmp_path: Path) -> None:
    first, second = Server(True).play(random.Random(1), 5), Server(True).play(random.Random(2), 5)
    later = [d | {"E": d["E"] + 60_000, "T": d["T"] + 60_000} for d in second.diffs]
    messages = [first.snapshot(0), *first.diffs, *later]
    source = read(write(tmp_path / "x.txt", messages))
    assert (source.quality["old_updates"], source.quality["sequence_gaps"]) == (
        1,
        1,
    )  # the snapshot's own, the break
    assert source.quality["lost_updates"] == 0


@pytest.mark.parametrize("name", ["binanceusdm", "binance"])
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), taken=st.integers(0, 19), late=st.integers(0, 20), again=st.integers(0, 19)
)
def test_a_session_takes_snapshots_by_their_numbers(
    name: str, seed: int, taken: int, late: int, again: int
) -> None:
    """One answer joins the stream whenever it comes, and a further, older or newer one never turns the book back."""
    server = Server(name == "binanceusdm").play(random.Random(seed), 20)
    place = min(taken + 1 + late, 20)
    messages = [*server.diffs[:place], server.snapshot(taken), *server.diffs[place:], server.snapshot(again)]
    stream = SymbolStream(VENUES[name], COIN, 10 * MS)
    for i, message in enumerate(messages):
        stream.take(message, (T0_MS + 300 + i) * MS)
    rows = stream.take_rows()
    assert stream.synced and stream.counts["resyncs"] == 0
    clears = np.flatnonzero(
        (rows["flags"] & EVENT_KIND_MASK == KIND_CLEAR) & (rows["flags"] & FLAG_LOCAL != 0)
    )
    assert fold(rows[clears[-1] + 1 :], FLAG_LOCAL) == server.books[-1]


def test_an_answer_from_before_a_break_does_not_turn_a_session_back() -> None:
    server = Server(True).play(random.Random(4), 20)
    stream = SymbolStream(VENUES["binanceusdm"], COIN, 10 * MS)
    for i, message in enumerate([server.snapshot(0), *server.diffs[1:15]]):
        stream.take(message, (T0_MS + 300 + i) * MS)
    stream.restart()
    stream.take_rows()
    stream.take(server.snapshot(3), (T0_MS + 400) * MS)
    assert not stream.synced and stream.needs_snapshot and not stream.has_rows
    stream.take(server.snapshot(16), (T0_MS + 401) * MS)
    assert stream.synced


def test_a_streamed_book_older_than_the_fetched_one_is_passed_over() -> None:
    def book(nonce: int, bid: float) -> dict[str, Any]:
        return {"nonce": nonce, "timestamp": T0_MS + nonce, "bids": [[bid, 1.0]], "asks": [[bid + 1, 1.0]]}

    frames = BookFrames("ABCUSDT")
    assert frames.streamed(book(5, 100.0), 0) and frames.fetched(book(9, 105.0), 0)
    assert frames.fetched(book(7, 102.0), 0) is None  # older than the one fetched
    assert frames.streamed(book(7, 102.0), 0) is None
    assert frames.streamed(book(10, 106.0), 0) is not None
    anew = book(2, 107.0) | {"timestamp": T0_MS + 60_000}  # the exchange began to count anew
    assert frames.streamed(anew, 0) is not None


def in_us(message: dict[str, Any]) -> dict[str, Any]:
    """The same message of a stream with ``timeUnit=MICROSECOND``."""
    return message | {key: message[key] * 1000 for key in ("E", "T") if key in message}


TRADE = {
    "e": "trade",
    "E": T0_MS + 95,
    "T": T0_MS + 95,
    "s": "ABCUSDT",
    "t": 1,
    "p": "101",
    "q": "2",
    "m": False,
}


def trades_of(rng: random.Random, n: int) -> list[dict[str, Any]]:
    """Trades as one connection hears them: several of a millisecond, some after those that they came before."""
    trades = [
        TRADE
        | {
            "E": T0_MS + 95 + i // 3,
            "T": T0_MS + 95 + i // 3,
            "t": 70 + i,
            "q": str(1 + i % 4),
            "m": i % 2 == 0,
        }
        for i in range(n)
    ]
    for i in range(0, n - 2, 7):
        trades[i], trades[i + 1] = trades[i + 1], trades[i]
    return trades


@pytest.mark.parametrize("further", [{}, {"z": None}], ids=["kernel", "full parser"])
@pytest.mark.parametrize("seed", range(6))
def test_a_trade_of_two_connections_counts_once(tmp_path: Path, seed: int, further: dict[str, Any]) -> None:
    """A second connection repeats some or all trades, at once or some later; the recording without them is the oracle."""
    rng = random.Random(seed)
    server = Server(True).play(rng, 6)
    trades = trades_of(rng, 40)
    plain = [server.snapshot(0), *server.diffs, *trades]
    again = trades if seed == 0 else rng.sample(trades, 15)
    doubled: list[dict[str, Any]] = [*plain]
    for one in again:
        at = doubled.index(one)
        doubled.insert(rng.randint(at + 1, min(at + 9, len(doubled))), dict(one))
    # the clock of the recorder: a message that is left out leaves the others at their times
    clock = {id(one): k for k, one in enumerate(doubled)}
    seen, first = set(), []
    for one in doubled:
        key = one.get("t") if one.get("e") == "trade" else id(one)
        if key not in seen:
            first.append(one)
        seen.add(key)
    paths = []
    for name, messages in (("doubled", doubled), ("plain", first)):
        paths.append(tmp_path / f"{name}.txt")
        paths[-1].write_text(
            "".join(f"{(T0_MS + 200) * MS + clock[id(m)] * MS} {json.dumps(m | further)}\n" for m in messages)
        )
    a, b = (read(path) for path in paths)
    assert np.concatenate(list(a.chunks())).tobytes() == np.concatenate(list(b.chunks())).tobytes()
    assert (a.quality["doubled_trades"], b.quality["doubled_trades"]) == (len(again), 0)
    assert a.quality["trades"] == b.quality["trades"] == len(trades)
    found = {one.counter: one for one in quality_of(a.quality, 1.0).findings}
    assert f"{len(again)} trades that came twice" in found["doubled_trades"].text
    assert "doubled_trades" not in {one.counter for one in quality_of(b.quality, 1.0).findings}
    streams = [SymbolStream(VENUES["binanceusdm"], COIN, 10 * MS) for _ in range(2)]
    for stream, messages in zip(streams, (doubled, first), strict=True):
        for one in messages:
            stream.take(one, (T0_MS + 200 + clock[id(one)]) * MS)
    assert streams[0].take_rows().tobytes() == streams[1].take_rows().tobytes()
    assert streams[0].counts["doubled_trades"] == len(again)
    assert streams[0].counts["trades"] == streams[1].counts["trades"] == len(trades)


def test_a_damaged_trade_does_not_stand_for_its_twin(tmp_path: Path) -> None:
    opening = Server(True).play(random.Random(1), 2).snapshot(0)
    source = read(write(tmp_path / "twin.txt", [opening, TRADE | {"p": "-1"}, TRADE, TRADE]))
    (rows,) = source.chunks()
    assert (rows["flags"] & EVENT_KIND_MASK == KIND_TRADE).sum() == 1
    assert (source.quality["bad_lines"], source.quality["doubled_trades"]) == (1, 1)


def test_trades_whose_ids_begin_anew_or_never_change_are_all_taken(tmp_path: Path) -> None:
    trades = [TRADE | {"E": T0_MS + k, "T": T0_MS + k, "t": k % 3} for k in range(9)]
    source = read(write(tmp_path / "anew.txt", [Server(True).play(random.Random(1), 2).snapshot(0), *trades]))
    assert (source.quality["trades"], source.quality["doubled_trades"]) == (9, 0)


@pytest.mark.parametrize("futures", [True, False])
@pytest.mark.parametrize("which", ["all", "trades", "depth", "from the middle on"])
def test_microseconds_are_read_as_milliseconds_are(tmp_path: Path, which: str, futures: bool) -> None:
    server = Server(futures).play(random.Random(6), 12)
    plain = [*server.diffs[:4], server.snapshot(2), *server.diffs[4:], TRADE]
    wanted = {"trades": lambda m: m.get("e") == "trade", "depth": lambda m: "u" in m, "all": lambda m: True}
    chosen = wanted.get(which, lambda m: m.get("u", 0) > server.diffs[6]["u"])
    a = read(write(tmp_path / "ms.txt", plain))
    b = read(write(tmp_path / "us.txt", [in_us(m) if chosen(m) else m for m in plain]))
    assert np.concatenate(list(a.chunks())).tobytes() == np.concatenate(list(b.chunks())).tobytes()
    assert b.quality["bad_lines"] == 0 and b.quality["trades"] == 1
    streams = [SymbolStream(VENUES["binanceusdm" if futures else "binance"], COIN, 10 * MS) for _ in range(2)]
    for i, message in enumerate(plain):
        for stream, one in zip(streams, (message, in_us(message)), strict=True):
            stream.take(one, (T0_MS + 300 + i) * MS)
    assert streams[0].take_rows().tobytes() == streams[1].take_rows().tobytes()


@pytest.mark.parametrize("unit", [1 / 1000, 10, 100, 10_000, 1_000_000])
def test_times_in_any_other_unit_are_refused_with_the_reason(tmp_path: Path, unit: float) -> None:
    server = Server(True).play(random.Random(6), 5)
    messages = [m | {"T": int(m["T"] * unit), "E": int(m["E"] * unit)} for m in server.diffs]
    with pytest.raises(
        UserError, match="5 of 5 refused lines: exchange time is neither milliseconds nor micro"
    ):
        read(write(tmp_path / "x.txt", messages))
    stream = SymbolStream(VENUES["binanceusdm"], COIN, 10 * MS)
    with pytest.raises(BadFrame, match="milliseconds and in microseconds"):
        stream.take(orjson.loads(orjson.dumps(messages[0])), (T0_MS + 300) * MS)


@pytest.mark.parametrize("place", [0, 3, 8])
@pytest.mark.parametrize("named", [True, False])
def test_a_snapshot_of_no_symbol_is_nobodys_in_a_file_of_several(
    tmp_path: Path, place: int, named: bool
) -> None:
    """Wherever it stands, before the first message of another symbol as well."""
    server = Server(True).play(random.Random(8), 12)
    theirs = {"lastUpdateId": 2**40, "T": T0_MS, "bids": [["900", "1"]], "asks": [["901", "1"]]}
    theirs |= {"s": "XYZUSDT"} if named else {}
    other = TRADE | {"s": "XYZUSDT"}
    messages = [*server.diffs[:place], theirs, *server.diffs[place:], TRADE, other]
    a = read(write(tmp_path / "a.txt", messages))
    b = read(write(tmp_path / "b.txt", [m for m in messages if m is not theirs]))
    assert [c["price_ticks"].tolist() for c in a.chunks()] == [c["price_ticks"].tolist() for c in b.chunks()]
    assert a.quality["old_updates"] == 0 and a.quality["unnamed_snapshots"] == (not named)
