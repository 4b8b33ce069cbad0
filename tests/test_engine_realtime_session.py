"""A whole session against the loopback exchange: faults, its recording replayed, signals, a kill and a resumption."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from mmlib._io import UserError
from mmlib.dtypes import Grade
from mmlib.engine.realtime.options import LiveUri
from mmlib.engine.realtime.run import run_live
from mmlib.engine.session import SessionSpec, run_session
from mmlib.feeds.reader import read_feeds
from mmlib.feeds.sidecar import read_sidecar
from mmlib.market.live.rawlog import RawLog
from mmlib.market.opening import open_source
from tests.live_fixtures import CONFIG, SYMBOLS, loopback

pytestmark = pytest.mark.usefixtures("live_kernels")


def fills_of(feeds: Path) -> list[tuple[str, ...]]:
    """Every field as text: a NaN equals itself."""
    rows = read_feeds(feeds, "fills").frame.itertuples(index=False, name=None)
    return sorted(tuple(map(repr, row)) for row in rows)


def spec_of(url: str, record: Path | None, seconds: float, **more: object) -> SessionSpec:
    uri = LiveUri("binanceusdm", url, record).text()
    return SessionSpec(uri, SYMBOLS, ("A", "B"), seconds, seed=3, **more)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Feeds and recording of a session with faults."""
    home = tmp_path_factory.mktemp("live")
    with loopback(rate_per_s=150.0) as host:

        def trouble() -> None:
            while host.exchange.frames_sent < 50:
                time.sleep(0.05)
            for name, amount in (
                ("gap", 1),
                ("garbage", 2),
                ("5xx", 1),
                ("drop", 1),
                ("mute", 0.3),
                ("silence", 0.4),
            ):
                time.sleep(0.7)
                host.hurt(name, amount)

        threading.Thread(target=trouble, daemon=True).start()
        run_session(spec_of(host.url, home / "raw.gz", 6.0), CONFIG, home / "feeds")
    return home / "feeds", home / "raw.gz"


def test_a_session_measures_states_and_counts_the_same_everywhere(session) -> None:
    feeds, _ = session
    stated = read_sidecar(feeds)
    assert stated is not None
    assert (stated["grade"], stated["complete"], stated["stopped_by"]) == ("simulated", True, "duration")
    assert stated["refresh_latency"].startswith("measured")
    ticks, fills = read_feeds(feeds, "ticks").frame, read_feeds(feeds, "fills").frame
    assert len(ticks) == 60 * len(SYMBOLS) * 2 and len(fills) > 5
    assert (ticks["modelled_ms"] == 0.0).all() and (ticks["tick_total_ms"] > 0.0).all()
    for symbol in SYMBOLS:
        mine = ticks[(ticks["symbol"] == symbol) & (ticks["arm"] == "A")]
        quality = stated["quality"][symbol]
        assert quality["ticks"] == len(mine)
        assert quality["cache_misses"] == int((~mine["cache_hit"]).sum()) > 0
        assert mine["cache_hit"].iloc[-5:].any(), (
            "a break of the stream spoils the cache until the next fetch only"
        )
        assert sum(stated["errors"][symbol].values()) == int(mine["errors"].sum())
        told = Counter(
            {tuple(key.split("_")[1:]): n for key, n in quality.items() if key.startswith("fills_")}
        )
        own = fills[fills["symbol"] == symbol]
        assert told == Counter(zip(own["arm"], own["liquidity"], strict=True))
    events = sum((Counter(of) for of in stated["errors"].values()), Counter())
    assert {"ERR_BAD_FRAME", "ERR_SEQUENCE_GAP"} <= set(events)
    assert events["ERR_WS_DISCONNECT"] == 1  # one socket, though it carried every symbol
    assert stated["tick_compute"]["compute"]["n"] == len(ticks) // 2


def test_its_recording_replayed_gives_its_fills(session, tmp_path: Path) -> None:
    feeds, raw = session
    spec = SessionSpec(f"recording:{raw}", SYMBOLS, ("A", "B"), 6.0, seed=3)
    again = run_session(spec, CONFIG, tmp_path / "again")
    assert fills_of(again.feeds) == fills_of(feeds)
    assert again.grade is Grade.SIMULATED
    columns = ["symbol", "arm", "ts", "mid", "inventory", "cache_hit", "errors"]
    for one, other in zip(
        *(
            read_feeds(place, "ticks")
            .frame.sort_values(["symbol", "arm", "ts"])[columns]
            .itertuples(index=False)
            for place in (feeds, again.feeds)
        ),
        strict=True,
    ):
        assert tuple(map(str, one)) == tuple(map(str, other))


def test_any_reader_takes_the_recording_but_not_for_more_than_it_is(session) -> None:
    _, raw = session
    source = open_source(f"recording:{raw}", "ETHUSDT")
    assert source.grade is Grade.SIMULATED
    assert source.quality["events"] > 100 and source.quality["bad_lines"] <= 2


SCRIPT = """
import sys
from pathlib import Path
from mmlib.engine.realtime.run import run_live
from mmlib.engine.session import SessionSpec
from tests.live_fixtures import CONFIG, SYMBOLS

def main():
    uri, feeds, seconds, resume = sys.argv[1:]
    spec = SessionSpec(uri, SYMBOLS, ("A", "B"), float(seconds), seed=3)
    session = run_live(spec, CONFIG, Path(feeds), resume=resume == "1")
    print(session.facts["stopped_by"])

main()
"""


def start(uri: str, feeds: Path, seconds: float, resume: bool) -> subprocess.Popen[str]:
    arguments = [
        sys.executable,
        "-c",
        textwrap.dedent(SCRIPT),
        uri,
        str(feeds),
        str(seconds),
        str(int(resume)),
    ]
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
    )


def wait_for_ticks(directory: Path, n: int) -> None:
    for _ in range(6000):
        if sum(path.read_bytes().count(b"\n") for path in directory.glob("pipeline_ticks_*")) >= n:
            return
        time.sleep(0.05)
    pytest.fail("no ticks")


def test_a_killed_session_goes_on_without_a_torn_or_doubled_line_and_replays_to_its_fills(
    tmp_path: Path,
) -> None:
    feeds, raw = tmp_path / "feeds", tmp_path / "raw.gz"
    partial = tmp_path / "feeds.partial"
    with loopback(rate_per_s=150.0) as host:
        uri = LiveUri("binanceusdm", host.url, raw).text()
        killed = start(uri, feeds, 6.0, resume=False)
        wait_for_ticks(partial, 60)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=100)
        lines_at_kill = sum(path.read_bytes().count(b"\n") for path in partial.glob("pipeline_ticks_*"))
        newest = max(partial.glob("pipeline_ticks_*"))
        with newest.open("ab") as handle:
            handle.write(b'{"schema":1,"ts":"2025')  # a line that the kill tore
        with raw.open("ab") as handle:
            handle.write(b"\x1f\x8b torn member")
        resumed = start(uri, feeds, 6.0, resume=True)
        out, err = resumed.communicate(timeout=900)
    assert (out.strip(), resumed.returncode) == ("duration", 0), err
    for kind, key in (("ticks", ["symbol", "arm", "scheduled_ts"]), ("fills", ["symbol", "arm", "fill_id"])):
        read = read_feeds(feeds, kind)
        assert not len(read.quarantine)
        assert not read.frame.duplicated(key).any()
    ticks = read_feeds(feeds, "ticks").frame
    assert len(ticks) > lines_at_kill - 4 * 11 * 2  # at most the last synced second went
    stated = read_sidecar(feeds)
    assert stated["complete"] and {run["resumed"] for run in stated["quality"].values()} == {1}
    spec = SessionSpec(f"recording:{raw}", SYMBOLS, ("A", "B"), 6.0, seed=3)
    again = run_session(spec, CONFIG, tmp_path / "again")
    assert fills_of(again.feeds) == fills_of(feeds)


def test_sigterm_ends_a_session_cleanly_and_it_can_go_on(tmp_path: Path) -> None:
    feeds = tmp_path / "feeds"
    with loopback() as host:
        uri = LiveUri("binanceusdm", host.url).text()
        running = start(uri, feeds, 600.0, resume=False)
        wait_for_ticks(tmp_path / "feeds.partial", 40)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=200)
        assert (out.strip(), running.returncode) == ("SIGTERM", 0), err
        stated = read_sidecar(feeds)
        assert (stated["complete"], stated["stopped_by"]) == (False, "SIGTERM")
        before = len(read_feeds(feeds, "ticks").frame)
        running = start(uri, feeds, 600.0, resume=True)
        wait_for_ticks(tmp_path / "feeds.partial", before + 20)
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=200)
        assert (out.strip(), running.returncode) == ("interrupted", 0), err
    ticks = read_feeds(feeds, "ticks").frame
    assert len(ticks) >= before + 20 and not ticks.duplicated(["symbol", "arm", "scheduled_ts"]).any()


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    with pytest.raises(UserError, match="expected the exchange's public interface"):
        run_live(spec_of(nobody, None, 1.0), CONFIG, tmp_path / "feeds")
    with loopback() as host:
        spec = SessionSpec(LiveUri("binanceusdm", host.url).text(), ("XRPUSDT",), ("A",), 1.0)
        with pytest.raises(UserError, match="XRPUSDT is not listed"):
            run_live(spec, CONFIG, tmp_path / "feeds")
    with pytest.raises(UserError, match="option 'apiKey' is unknown"):
        LiveUri.parse("live:binance?apiKey=1")


def test_a_recording_is_never_written_over_and_cut_to_what_was_synced(tmp_path: Path) -> None:
    path = tmp_path / "raw.gz"
    log = RawLog(path)
    log.write(1_736_899_200_000_000_000, b'{"a":\n1}')
    size = log.store(log.cut())
    log.write(1_736_899_200_000_000_001, b'{"b":2}')
    log.close()
    with pytest.raises(UserError, match="exists; expected a new file"):
        RawLog(path)
    again = RawLog(path, size)
    again.write(1_736_899_200_000_000_002, b'{"c":3}')
    again.close()
    assert gzip.decompress(path.read_bytes()) == (
        b'1736899200000000000 {"a": 1}\n1736899200000000002 {"c":3}\n'
    )
    with pytest.raises(UserError, match="expected the 999999 that"):
        RawLog(path, 999_999)
