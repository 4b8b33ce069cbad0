"""What readers meet is shown with what it means, everywhere the same; what makes fills meaningless is refused."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mmlib import cli
from mmlib._io import UserError
from mmlib.dtypes import Grade
from mmlib.market.opening import open_source
from mmlib.market.quality import quality_of
from tests import test_market_tardis as tardis
from tests import test_market_topbook as topbook
from tests.test_market_binance import GOOD, T0_MS, depth, line, save, trade

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
HEAD = "ts_ns,action,order_id,side,price,qty,time_in_force\n"


def at(ms: float) -> int:
    return T0_MS * 10**6 + round(ms * 1e6)


RESTS = f"{HEAD}{at(50)},new,1,buy,99.90,1,GTC\n"
TAKES = f"{HEAD}{at(50)},new,1,sell,,1,IOC\n"


def run(
    capsys: pytest.CaptureFixture[str], home: Path, recordings: list[Path], orders: str, *more: str
) -> tuple[int, str, str]:
    (home / "orders.csv").write_text(orders)
    argv = [
        "replay",
        *map(str, recordings),
        "--symbol",
        "ABCUSDT",
        "--tick-size",
        "0.05",
        "--lot-size",
        "0.1",
    ]
    code = cli.main([*argv, "--orders", str(home / "orders.csv"), "-o", str(home / "fills.csv"), *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def quotes(first: int, last: int, *, futures: bool, skip: int = 0, ms: int = 0) -> list[bytes]:
    """One update a sequence number, 10 ms apart, and a trade at the end; ``skip`` numbers are missing before the last one."""
    numbers = [*range(first, last), last + skip]
    out = []
    for i, n in enumerate(numbers):
        before = {"pu": numbers[i - 1] if i else n - 1} if futures else {}
        if futures and skip and i == len(numbers) - 1:
            before = {"pu": n - 1}
        out.append(depth(ms + 10 * i, [["100.00", f"{1 + i % 3}"]], [["100.05", "1"]], n, n, **before))
    behind, end = numbers[-1] + 1, ms + 10 * len(numbers)
    chained = {"pu": numbers[-1]} if futures else {}
    close = depth(ms + 400, [], [["100.10", "1"]], behind, behind, **chained)
    return [*out, trade(end, "100.00", "0.5", maker=True), close]


# --- lost updates: whatever chains them, a line says how many, and how many fills come after ---


@pytest.mark.parametrize(
    ("lines", "gaps", "lost"),
    [
        (quotes(5, 9, futures=True, skip=5), 1, 5),
        (quotes(5, 9, futures=False, skip=5), 1, 5),
        (quotes(5, 9, futures=False, skip=1), 1, 1),
        (quotes(5, 9, futures=True), 0, 0),
        ([*quotes(5, 9, futures=False, skip=2)[:-1], *quotes(20, 23, futures=False, ms=100)], 2, 2 + 8),
    ],
)
def test_lost_updates_are_told_with_the_fills_behind_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, lines: list[bytes], gaps: int, lost: int
) -> None:
    path = save(tmp_path / "x.txt", lines)
    orders = f"{HEAD}{at(300)},new,1,sell,,1,IOC\n"
    (tmp_path / "actual.csv").write_text(f"exch_ts_ns,order_id,side,price,qty\n{at(310)},1,sell,100,1\n")
    code, out, _ = run(capsys, tmp_path, [path], orders, "--actual", str(tmp_path / "actual.csv"))
    text = f"{gaps} sequence gap{'s' * (gaps > 1)} ({lost} lost update{'s' * (lost != 1)})"
    report = (tmp_path / "fills.agreement.md").read_text()
    assert code == 0
    assert (text in out) == (text in report) == bool(gaps)
    assert ("before 1 of 1 fill" in out) == bool(gaps)
    told = json.loads(run(capsys, tmp_path, [path], orders, "--json")[1])["quality"]
    assert told["status"] == ("limited" if gaps else "good")
    assert [found["counter"] for found in told["findings"]] == ["sequence_gaps"] * bool(gaps)
    assert (told["counts"]["sequence_gaps"], told["counts"]["lost_updates"]) == (gaps, lost)


# --- no trades: an order at rest has no meaning; one that takes has ---

AGGREGATE = line(
    15, {"e": "aggTrade", "E": T0_MS, "T": T0_MS, "s": "ABCUSDT", "p": "100", "q": "1", "m": True}
)
OTHER = line(15, {"e": "trade", "E": T0_MS, "T": T0_MS, "s": "XYZUSDT", "p": "100", "q": "1", "m": True})
BOOKS = [GOOD[0], GOOD[2], depth(300, [["99.90", "1"]], [], 5, 6)]


def without_trades(where: Path, how: str) -> tuple[Path, str]:
    """A recording without trades and its symbol."""
    extra = {"aggregated": AGGREGATE, "of another": OTHER, "off the book": trade(15, X="INSURANCE_FUND")}
    if how in extra:
        return save(where / "x.gz", [BOOKS[0], extra[how], *BOOKS[1:]]), "ABCUSDT"
    if how == "top of book":
        return topbook.save(where / "top", topbook.DEPTH), "ABCUSD"
    if how == "tardis":
        return tardis.save(where, tardis.BOOK, None), "ABCUSDT"
    return save(where / "x.gz", BOOKS), "ABCUSDT"


@pytest.mark.parametrize("how", ["none", "aggregated", "of another", "off the book", "top of book", "tardis"])
def test_a_recording_without_trades_is_worth_no_more_than_a_simulation(tmp_path: Path, how: str) -> None:
    path, symbol = without_trades(tmp_path, how)
    source = open_source(f"recording:{path}", symbol)
    block = quality_of(source.quality, source.instrument.tick_size)
    assert (block.status, source.grade) == ("void", Grade.SIMULATED)
    assert "without trades (expected the @trade stream" in block.findings[0].text


@pytest.mark.parametrize("how", ["none", "aggregated", "of another", "off the book"])
def test_orders_that_rest_are_refused_where_no_trade_can_serve_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, how: str
) -> None:
    path, _ = without_trades(tmp_path, how)
    code, _, err = run(capsys, tmp_path, [path], RESTS)
    assert (code, (tmp_path / "fills.csv").exists()) == (2, False)
    assert "without trades (expected the @trade stream" in err and err.count("\n") == 1
    for orders, more in ((TAKES, ()), (RESTS, ("--accept-void",))):
        code, out, _ = run(capsys, tmp_path, [path], orders, *more)
        assert code == 0 and "quality of the market data: void" in out


# --- prices off the tick: above the stated share fills mean nothing ---


def priced(*prices: str) -> list[bytes]:
    """Bids at these prices, then a trade."""
    books = [depth(10 * i, [[price, "1"]], [["101.00", "1"]], i + 1, i + 1) for i, price in enumerate(prices)]
    n, end = len(prices) + 1, 10 * len(prices)
    return [*books, trade(end, "100.00", maker=True), depth(end + 400, [], [["101.05", "1"]], n, n)]


@pytest.mark.parametrize(
    ("prices", "status"),
    [
        (["100.00"] * 40, "good"),
        (["100.00"] * 200 + ["100.01"], "limited"),  # 1 of 403
        (["100.00"] * 20 + ["100.01", "100.02"], "void"),  # the exchange went to a finer tick
        (["100.03"] * 30, "void"),  # a tick size of another market
        ([f"100.0{n}" for n in range(10)] * 3, "void"),
    ],
)
def test_prices_off_the_tick_are_counted_and_above_the_limit_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, prices: list[str], status: str
) -> None:
    lines = priced(*prices)
    off = sum(round(float(price) * 100) % 5 != 0 for price in prices)
    numbers = 2 * len(prices) + 2
    path = save(tmp_path / "x.txt", lines)
    code, out, err = run(capsys, tmp_path, [path], TAKES)
    text = f"{off} of {numbers} prices"
    assert code == (2 if status == "void" else 0)
    assert (text in out + err) == (off > 0)
    source = open_source(f"recording:{path}", "ABCUSDT", instruments={"ABCUSDT": (0.05, 0.1)})
    assert source.grade is (Grade.SIMULATED if status == "void" else Grade.RECORDING)
    assert "off the tick of 0.05" in err or status != "void"


# --- a clock that was moved: said, and a bot's raw times can be given as they are ---


def behind(by_ms: float, start_ms: int = 0) -> list[bytes]:
    """The bid falls from 100 to 99 after 200 ms; the local clock is behind by ``by_ms`` at messages 3 ms on their way."""

    def heard(raw: bytes, at_ms: int) -> bytes:
        return line(at_ms, json.loads(raw[20:])["data"], lag_ms=3.0 - by_ms)

    s = start_ms
    lines = [
        (depth(s, [["100.00", "5"], ["99.00", "9"]], [["101.00", "5"]], 1, 1), s),
        (trade(s + 100, "100.00", "0.1", maker=True), s + 100),
        (depth(s + 200, [["100.00", "0"]], [], 2, 2), s + 200),
        (trade(s + 300, "99.00", "0.1", maker=True), s + 300),
        (depth(s + 600, [["99.00", "8"]], [], 3, 3), s + 600),
    ]
    return [heard(*one) for one in lines]


@pytest.mark.parametrize("by_ms", [0, 50, 1_300, 200_000])
def test_a_bot_on_the_raw_clock_acts_on_what_it_had_seen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, by_ms: float
) -> None:
    """Sent 20 ms after the fall was seen, on the recording's own clock: it sells at 99, and not at 100 from before."""
    path = save(tmp_path / "x.txt", behind(by_ms))
    orders = f"{HEAD}{at(223 - by_ms)},new,1,sell,,1,IOC\n"
    code, out, _ = run(capsys, tmp_path, [path], orders, "--orders-clock", "raw")
    with (tmp_path / "fills.csv").open() as stream:
        (fill,) = csv.DictReader(stream)
    assert (code, fill["price"]) == (0, "99")
    assert ("local clock moved by" in out) == (by_ms > 3)
    moved = max(by_ms - 3, 0)
    assert int(fill["local_ts_ns"]) == at(223 - by_ms + 20), "fills are told on the clock of the orders"
    assert int(fill["exch_ts_ns"]) == at(223 - by_ms + moved + 10)


def test_each_recording_has_its_own_clock(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    paths = [save(tmp_path / "a.txt", behind(50)), save(tmp_path / "b.txt", behind(700, 10_000))]
    times = at(223 - 50), at(10_223 - 700)
    orders = HEAD + "".join(f"{ns},new,{i},sell,,1,IOC\n" for i, ns in enumerate(times))
    assert run(capsys, tmp_path, paths, orders, "--orders-clock", "raw")[0] == 0
    with (tmp_path / "fills.csv").open() as stream:
        fills = list(csv.DictReader(stream))
    assert [fill["price"] for fill in fills] == ["99", "99"]
    assert [int(fill["local_ts_ns"]) for fill in fills] == [ns + 20_000_000 for ns in times]


# --- encodings: no line is lost, or the file is refused with the reason ---

MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("kind", ["plain", "gzip", "gzip cut", "crlf", "blank lines before"])
def test_a_byte_order_mark_costs_no_line(tmp_path: Path, kind: str) -> None:
    content = b"\n".join(GOOD) + b"\n"
    if kind == "crlf":
        content = content.replace(b"\n", b"\r\n")
    if kind == "blank lines before":
        content = b"\n\n" + content
    make: Any = gzip.compress if kind.startswith("gzip") else bytes
    paths = tmp_path / "clean", tmp_path / "marked"
    for path, raw in zip(paths, (content, MARK + content), strict=True):
        path.write_bytes(make(raw)[:-4] if kind == "gzip cut" else make(raw))
    clean, marked = (open_source(f"recording:{path}", "ABCUSDT") for path in paths)
    assert [c.tobytes() for c in marked.chunks()] == [c.tobytes() for c in clean.chunks()]
    assert (marked.quality["byte_order_mark"], marked.quality["bad_lines"]) == (1, clean.quality["bad_lines"])
    assert "byte order mark" in str(quality_of(marked.quality, 0.05).lines())


def test_a_byte_order_mark_before_a_header(tmp_path: Path) -> None:
    for home in (tmp_path / "a", tmp_path / "b"):
        topbook.save(home, topbook.DEPTH, topbook.TRADES)
        tardis.save(home, tardis.BOOK, tardis.TRADES)
    for file in (tmp_path / "b").iterdir():
        raw = file.read_bytes()
        file.write_bytes(gzip.compress(MARK + gzip.decompress(raw)) if raw[:2] == b"\x1f\x8b" else MARK + raw)
    for name, symbol in ((topbook_file(tmp_path), "ABCUSD"), (tardis.BOOK_NAME, "ABCUSDT")):
        a, b = (open_source(f"recording:{tmp_path / home / name}", symbol) for home in "ab")
        assert [c.shape for c in a.chunks()] == [c.shape for c in b.chunks()]


def topbook_file(home: Path) -> str:
    return next(file.name for file in (home / "a").iterdir() if "market-depth" in file.name)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-32-be"])
def test_another_encoding_is_refused_with_the_reason(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes((b"\n".join(GOOD) + b"\n").decode().encode(encoding))
    with pytest.raises(UserError, match="refused lines: ") as caught:
        open_source(f"recording:{path}", "ABCUSDT")
    assert "\n" not in str(caught.value)


# --- the cases as they were found ---

FOUND = {
    "03_microseconds/rec.txt": (["60000"], "good"),
    "04_stale_snapshot/spot.txt": (["59990.1", "59990.2"], "older than the stream"),
    "04_stale_snapshot/rec.txt": (["59990.1", "59990.2"], "older than the stream"),
    "05_pu_gap/rec.txt": (["60000"], "1 sequence gap (5 lost updates)"),
    "06_aggtrade/rec.txt": (None, "without trades (expected the @trade stream"),
    "14_tick_size_changed/rec.txt": (None, "off the tick of 0.1"),
    "14_tick_size_changed/doge.txt": (None, "63 of 364 prices"),
    "16_local_clock_behind/rec.txt": (["60000"], "local clock moved by 1.295 s"),
    "17_encodings/bom.txt": (["60000"], "byte order mark"),
    "17_encodings/crlf.txt": (["60000"], ""),
    "17_encodings/utf16.txt": (None, "does not begin with 19 digits"),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_case_gives_what_its_readme_expects(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    if not CASES.is_dir():
        pytest.skip(f"the cases are absent: {CASES} does not exist (a clone without ../shared)")
    prices, text = FOUND[name]
    doge = name.endswith("doge.txt")
    orders = (CASES / name).with_name("doge_orders.csv" if doge else "orders.csv")
    sizes = ("DOGEUSDT", "0.001", "1") if doge else ("BTCUSDT", "0.1", "0.001")
    argv = ["replay", str(CASES / name), "--orders", str(orders), "-o", str(tmp_path / "out.csv")]
    for flag, value in zip(("--symbol", "--tick-size", "--lot-size"), sizes, strict=True):
        argv += [flag, value]
    code = cli.main(argv)
    said = capsys.readouterr()
    assert text in said.out + said.err
    if prices is None:
        assert (code, (tmp_path / "out.csv").exists()) == (2, False)
        return
    with (tmp_path / "out.csv").open() as stream:
        assert [row["price"] for row in csv.DictReader(stream)] == prices
