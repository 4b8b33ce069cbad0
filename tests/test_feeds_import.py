"""``finishline feeds import``: shipped mappings on real layouts, what a mapping may say, rows and files that are wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mmlib import cli
from mmlib._io import UserError
from mmlib.config.load import shipped_dir
from mmlib.feeds.check import check_feeds
from mmlib.feeds.mapping import BadRow, FeedRule, Translator
from mmlib.feeds.reader import read_feeds
from mmlib.metrics.dataset import build_dataset
from mmlib.workflow.feed_verbs import bring
from mmlib.workflow.mappings import load_mapping

HUMMINGBOT = """\
exchange_trade_id,config_file_path,strategy,market,symbol,base_asset,quote_asset,timestamp,order_id,trade_type,order_type,price,amount,leverage,trade_fee,trade_fee_in_quote,position,age
4172350001,conf_pmm_1.yml,pure_market_making,binance,BTC-USDT,BTC,USDT,1736899201537,x-XEKWYICX-BBTUT62be6c1,BUY,LIMIT_MAKER,96510.1,0.002,1,"{'fee_type': 'AddedToCost', 'percent': '0', 'percent_token': None, 'flat_fees': [{'token': 'USDT', 'amount': '0.0386'}]}",0.038604,NIL,00:00:07
4172350002,conf_pmm_1.yml,pure_market_making,binance,BTC-USDT,BTC,USDT,1736899209120,x-XEKWYICX-SBTUT62be6c7,SELL,LIMIT,96514.9,0.0015,1,"{'fee_type': 'DeductedFromReturns', 'percent': '0', 'percent_token': None, 'flat_fees': [{'token': 'USDT', 'amount': '0.0290'}]}",0.028954,NIL,00:00:11
4172350007,conf_pmm_1.yml,pure_market_making,binance,BTC-USDT,BTC,USDT,1736985610001,x-XEKWYICX-SBTUT62be6d9,SELL,MARKET,96490.0,0.0005,1,"{'fee_type': 'DeductedFromReturns', 'percent': '0', 'percent_token': None, 'flat_fees': [{'token': 'USDT', 'amount': '0.0482'}]}",0.048245,NIL,n/a
"""  # noqa: E501
BINANCE = """\
\ufeffUid,Time,Symbol,Side,Price,Quantity,Amount,Fee,Realized Profit,Buyer,Maker,Trade ID,Order ID\r
900000001,2025-01-15 14:27:03,BTCUSDT,SELL,96512.3,0.002,193.0246,0.03860492USDT,0.0044,false,true,700000003,800000002\r
900000001,2025-01-15 14:27:00,BTCUSDT,BUY,96510.1,0.002,193.0202,0.09651010 USDT,0,true,false,700000001,800000001\r
900000001,2025-01-14 23:59:59,ETHUSDT,SELL,3288.15,0.1,328.815,-0.0164USDT,0,false,true,410000001,510000001\r
"""


def older_bot() -> dict[str, str]:
    stages = {"FetchMD": 8.1, "Spread": 0.4, "Guards": 0.2, "Inventory": 0.1, "QueueAware": 0.6, "Emit": 2.9}
    common = {"symbol": "BTCUSDT"}
    ticks = [
        {
            "ts": 1736899200123 + 1000 * k,
            "ts_iso": "2025-01-15T00:00:00.123Z",
            "tick_total": 12.3 + k,
            **common,
        }
        | {"stage_latencies": stages | {"FetchMD": 8.1 + k}, "cache_hit": k % 4 > 0, "cache_age_ms": 45}
        | {"deadline_miss": False, "mid": 96500.5 + k, "spread_bps": 1.2}
        for k in range(60)
    ]
    fills = [
        {
            "ts": 1736899203456,
            "ts_iso": "2025-01-15T00:00:03.456Z",
            "side": "buy",
            "price": 96500.0,
            "qty": 0.01,
            **common,
        }
        | {"maker": True, "fee": -0.03, "order_id": 17, "trade_id": 9001},
        {
            "ts": 1736899213456,
            "ts_iso": "2025-01-15T00:00:13.456Z",
            "side": "sell",
            "price": 96520.0,
            "qty": 0.01,
            **common,
        }
        | {"maker": False, "fee": 0.4, "order_id": 18, "trade_id": 9002},
    ]
    files = {"pipeline_ticks_20250115.jsonl": ticks, "fills_20250115.jsonl": fills}
    return {name: "".join(json.dumps(row) + "\n" for row in rows) for name, rows in files.items()}


def bring_in(tmp_path: Path, mapping: str, files: dict[str, str | bytes]) -> tuple[int, dict[str, Any], Path]:
    """Import texts; exit code, payload, feeds."""
    home = tmp_path / "given"
    home.mkdir(exist_ok=True)
    for name, text in files.items():
        (home / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    told = bring(tmp_path / "ws", [home / name for name in files], mapping, tmp_path / "feeds")
    return told.returncode, told.payload, tmp_path / "feeds"


def test_hummingbot(tmp_path: Path) -> None:
    code, payload, feeds = bring_in(tmp_path, "hummingbot", {"trades_conf_pmm_1.csv": HUMMINGBOT})
    assert (code, payload["clean"], payload["written"]) == (
        0,
        True,
        ["fills_20250115.jsonl", "fills_20250116.jsonl"],
    )
    assert check_feeds(feeds).clean
    frame = read_feeds(feeds, "fills").frame
    assert frame["ts"].astype("int64").tolist() == [
        n * 10**6 for n in (1736899201537, 1736899209120, 1736985610001)
    ]
    assert frame["side"].tolist() == ["buy", "sell", "sell"]
    assert frame["liquidity"].tolist() == ["maker", "maker", "taker"]
    assert frame["fee"].tolist() == [0.038604, 0.028954, 0.048245]
    assert set(frame["symbol"]) == {"BTCUSDT"} and frame["fill_id"].tolist()[0] == "4172350001"
    assert build_dataset(feeds).summary["fills"] == 3


def test_binance_usdm_trade_history(tmp_path: Path) -> None:
    code, _, feeds = bring_in(
        tmp_path, "binance_usdm_trades", {"Binance-Futures-Trade-History(UTC+0).csv": BINANCE}
    )
    assert code == 0
    found = check_feeds(feeds)
    assert found.clean, "an export begins with the newest row; the feeds do not"
    assert [one.readable for one in found.files] == [1, 2]
    frame = read_feeds(feeds, "fills").frame
    assert frame["ts"].dt.strftime("%d %H:%M:%S").tolist() == ["14 23:59:59", "15 14:27:00", "15 14:27:03"]
    assert frame["fee"].tolist() == [-0.0164, 0.0965101, 0.03860492]
    assert frame["liquidity"].tolist() == ["maker", "taker", "maker"]
    assert frame["order_id"].tolist() == ["510000001", "800000001", "800000002"]
    assert build_dataset(feeds).summary["fills"] == 3


def test_a_fee_in_another_asset_is_no_fee(tmp_path: Path) -> None:
    text = BINANCE.replace("0.03860492USDT", "0.00009651BNB")
    code, payload, feeds = bring_in(tmp_path, "binance_usdm_trades", {"trades.csv": text})
    assert (code, payload["files"][0]["reasons"]) == (1, {"fee": 1})
    kept = tmp_path / "ws/artifacts/quarantine/import/trades.csv.quarantine.jsonl"
    (bad,) = [json.loads(line) for line in kept.read_text().splitlines()]
    assert (bad["file"], bad["line"]) == ("trades.csv", 2)
    assert "BNB" in bad["reason"] and "700000003" in bad["text"]
    assert len(read_feeds(feeds, "fills").frame) == 2


def test_the_older_bot(tmp_path: Path) -> None:
    code, payload, feeds = bring_in(tmp_path, "older_bot", dict(older_bot()))
    assert code == 0
    stated = {"arm": "A", "guard_level": 0, "breaker_open": False, "errors": 0}
    assert payload["constants"] == {f"ticks.{name}": value for name, value in stated.items()} | {
        "fills.arm": "A",
        "ticks.used_stale (where absent)": False,
    }
    assert check_feeds(feeds).clean
    ticks, fills = read_feeds(feeds, "ticks").frame, read_feeds(feeds, "fills").frame
    assert ticks["fetch_md_ms"].tolist() == [8.1 + k for k in range(60)]
    assert ticks["emit_ms"].tolist() == [2.9] * 60
    assert ticks["cache_hit"].sum() == 45 and not ticks["used_stale"].any()
    assert ticks["ts"].astype("int64").tolist()[1] == 1736899201123000000
    assert fills["liquidity"].tolist() == ["maker", "taker"] and fills["fill_id"].tolist() == ["9001", "9002"]
    data = build_dataset(feeds)
    assert (data.summary["ticks"], data.summary["fills"]) == (60, 2)
    assert data.intervals["hit_ratio"].iloc[0] == pytest.approx(0.75)


def test_every_shipped_mapping_is_tested_and_good() -> None:
    shipped = {path.stem for path in (shipped_dir("params") / "mappings").glob("*.yaml")}
    assert shipped == {"hummingbot", "binance_usdm_trades", "older_bot"}
    for name in shipped:
        load_mapping(shipped_dir("params") / "mappings" / f"{name}.yaml")


def test_rows_that_are_wrong_cost_one_row_each(tmp_path: Path) -> None:
    good = HUMMINGBOT.encode().splitlines()
    bad = [
        good[1].replace(b",BUY,", b",HOLD,"),
        good[1].replace(b",0.002,", b",nan,"),
        good[1].replace(b",0.002,", b",-1,"),
        good[1].replace(b",1736899201537,", b",17,"),
        good[1].replace(b"4172350001", b""),
        good[1].replace(b"BTC-USDT", b"M\xfcnze"),
        good[1] + b",one,more",
        b'4,"an open quote, and all that follows it',
        b"\0\0\0",
    ]
    rows = [good[0], *(line for pair in zip(bad, good[1:] * 3, strict=False) for line in pair)]
    code, payload, feeds = bring_in(
        tmp_path, "hummingbot", {"trades.csv": b"\n".join([*rows, b"", b"  ", b""])}
    )
    one = payload["files"][0]
    assert (code, one["rows"], one["imported"], one["quarantined"], one["duplicates"]) == (1, 18, 3, 9, 6)
    kept = tmp_path / "ws/artifacts/quarantine/import/trades.csv.quarantine.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [line["line"] for line in lines if not line["reason"].startswith("duplicate")] == list(
        range(2, 20, 2)
    )
    assert check_feeds(feeds).clean


def test_a_second_export_that_overlaps_gives_nothing_twice(tmp_path: Path) -> None:
    code, payload, feeds = bring_in(
        tmp_path, "binance_usdm_trades", {"part1.csv": BINANCE, "part2.csv": BINANCE}
    )
    assert (code, [one["duplicates"] for one in payload["files"]]) == (1, [0, 3])
    assert len(read_feeds(feeds, "fills").frame) == 3


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_packed_files(suffix: str, tmp_path: Path) -> None:
    pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress
    data = pack(HUMMINGBOT.encode())
    code, _, feeds = bring_in(tmp_path, "hummingbot", {f"trades.csv{suffix}": data})
    assert code == 0 and len(read_feeds(feeds, "fills").frame) == 3
    (tmp_path / "cut").mkdir()
    with pytest.raises(UserError, match="cannot be read to its end"):
        bring_in(tmp_path / "cut", "hummingbot", {f"trades.csv{suffix}": data[: len(data) // 2]})


def test_nothing_is_left_behind_when_a_later_file_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"second.csv:1: no column 'timestamp', which fills.ts is read from"):
        bring_in(tmp_path, "hummingbot", {"first.csv": HUMMINGBOT, "second.csv": "a,b\n1,2\n"})
    assert not list((tmp_path / "feeds").glob("*"))
    assert not list((tmp_path / "feeds").glob(".*"))


def test_feeds_that_are_there_are_not_touched(tmp_path: Path) -> None:
    bring_in(tmp_path, "hummingbot", {"trades.csv": HUMMINGBOT})
    with pytest.raises(UserError, match="holds feeds already"):
        bring_in(tmp_path, "hummingbot", {"trades.csv": HUMMINGBOT})


def test_files_that_no_feed_takes_or_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"other.jsonl: no feed .* expected a name like pipeline_ticks\* or fills\*"
    ):
        bring_in(tmp_path, "older_bot", {"other.jsonl": "{}\n"})
    with pytest.raises(UserError, match=r"absent.csv: cannot be read"):
        bring(tmp_path, [tmp_path / "absent.csv"], "hummingbot", tmp_path / "feeds")
    with pytest.raises(UserError, match=r"did you mean 'hummingbot'"):
        bring(tmp_path, [], "humingbot", tmp_path / "feeds")


GOOD = """\
schema: 1
title: A test
format: csv
feeds:
  - kind: fills
    fields:
      ts: {from: t, unit: s}
      symbol: {value: X}
      arm: {value: A}
      side: {from: s}
      price: {from: p}
      qty: {from: q}
      liquidity: {value: maker}
      fee: {value: 0}
      fill_id: {join: [t, p]}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format: csv", "format: xml", ["m.yaml:3", "format", "'csv' or 'jsonl'", "'xml'"]),
        ("schema: 1", "schema: 2", ["m.yaml:1", "schema"]),
        ("title: A test", "titles: A test", ["m.yaml:2", "titles", "unknown key", "did you mean 'title'"]),
        ("{from: p}", "{form: p}", ["m.yaml:11", "price.form", "unknown key", "did you mean 'from'"]),
        ("price:", "prize:", ["m.yaml:5", "fields.prize", "no field of the fills feed"]),
        (
            "      qty: {from: q}\n",
            "",
            ["m.yaml:5", "fields.qty", "missing", "every line of the fills feed has it"],
        ),
        ("unit: s}", "unit: h}", ["m.yaml:5", "ts.unit", "'h'", "s, ms, us, ns"]),
        ("{from: p}", "{from: p, unit: ms}", ["price.unit", "expected none; use scale"]),
        ("{from: p}", "{from: p, value: 1}", ["m.yaml:11", "exactly one of from, value and join"]),
        ("{from: p}", "{}", ["m.yaml:11", "exactly one of from, value and join"]),
        ("{from: p}", "p", ["m.yaml:11", "price"]),
        ("{from: p}", "{from: p, match: '('}", ["m.yaml:11", "match", "regular expression"]),
        ("{from: p}", "{from: p, match: 'x'}", ["m.yaml:11", "match", "expected one"]),
        ("{from: p}", "{from: p, scale: .inf}", ["m.yaml:11", "price.scale"]),
        ("{from: s}", "{from: s, scale: 2}", ["side.scale", "only a number"]),
        ("{from: s}", "{from: s, map: [a]}", ["m.yaml:10", "side.map"]),
        ("unit: s}", "utc_offset: '+01:00'}", ["m.yaml:7", "only beside time_format"]),
        ("unit: s}", "time_format: '%s', utc_offset: east}", ["m.yaml:7", "utc_offset", "east"]),
        ("kind: fills", "kind: orders", ["m.yaml:5", "kind", "'orders'"]),
        ("feeds:", "feeds: []\nothers:", ["unknown key", "others"]),
        ("{value: X}", "{value: X, map: {a: b}}", ["means nothing beside a constant"]),
        ("schema: 1", "- 1", ["m.yaml"]),
    ],
)
def test_a_wrong_mapping_is_named(old: str, new: str, words: Sequence[str], tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(GOOD)
    load_mapping(path)
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_mapping(path)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert "\n" not in text


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yaml").write_text(GOOD)
    (tmp_path / "x.csv").write_text("t,s,p,q\n1736899200.25,buy,1.5,2\n1736899100,sell,1.5,3\n")
    argv = [
        "feeds",
        "import",
        str(tmp_path / "x.csv"),
        "--mapping",
        str(tmp_path / "m.yaml"),
        "-o",
        str(tmp_path / "f"),
    ]
    assert cli.main([*argv, "--workspace", str(tmp_path)]) == 0
    assert "2 fills imported" in capsys.readouterr().out
    frame = read_feeds(tmp_path / "f", "fills").frame
    assert frame["ts"].astype("int64").tolist() == [1736899100 * 10**9, 1736899200250 * 10**6]
    assert frame["fill_id"].tolist() == ["1736899100|1.5", "1736899200.25|1.5"]
    assert json.loads((tmp_path / "f" / "import.json").read_text())["files"][0]["imported"] == 2
    assert cli.main([*argv, "--workspace", str(tmp_path)]) == 2
    assert "holds feeds already" in capsys.readouterr().err


def translated(rule: dict[str, Any], value: Any, name: str = "latency_ms", *, nested: bool = True) -> Any:
    """What one rule makes of a value in column ``x``."""
    needed = {
        "ts": 1,
        "symbol": "X",
        "arm": "A",
        "side": "buy",
        "price": 1,
        "qty": 1,
        "liquidity": "maker",
        "fee": 0,
    }
    fields = {key: {"value": given} for key, given in needed.items() if given != 1 or key in ("price", "qty")}
    fields |= {"ts": {"value": 1736899200}, "fill_id": {"value": 1}, name: rule}
    out, _ = Translator(FeedRule.model_validate({"kind": "fills", "fields": fields}), nested=nested)(
        {"x": value}
    )
    return out.get(name)


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ({"from": "x"}, "1.25", 1.25),
        ({"from": "x"}, " 1e3 ", 1000.0),
        ({"from": "x", "unit": "s"}, "0.0123", 12.3),
        ({"from": "x", "unit": "us"}, 12300, 12.3),
        ({"from": "x", "unit": "ns"}, 1, 1e-6),
        ({"from": "x", "scale": -1}, 5, -5.0),
        ({"from": "x", "remove": [",", " ms"]}, "1,234.5 ms", 1234.5),
        ({"from": "x", "match": r"took (\d+)"}, "it took 17 of", 17.0),
        ({"from": "x", "default": 3}, "", 3.0),
        ({"from": "x", "default": 3}, None, 3.0),
        ({"from": "x"}, None, None),
        ({"from": "x.a.b"}, {"a": {"b": 7}}, 7.0),
        ({"from": "x.a.b"}, {"a": 7}, None),
        ({"from": "x", "map": {"true": 1, "false": 0}}, True, 1.0),
    ],
)
def test_numbers(rule: dict[str, Any], value: Any, expected: Any) -> None:
    assert translated(rule, value) == expected


@pytest.mark.parametrize("value", ["abc", "nan", "inf", "1e999", True, [1], {"a": 1}, "1_000x", "--1"])
def test_what_is_no_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(BadRow, match=r"^latency_ms: "):
        translated({"from": "x"}, value)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"from": "x", "unit": "s"}, "1736899200"),
        ({"from": "x", "unit": "ms"}, 1736899200000),
        ({"from": "x", "unit": "us"}, 1736899200000000.0),
        ({"from": "x", "unit": "ns"}, "1736899200000000000"),
        ({"from": "x"}, 1736899200),
        ({"from": "x"}, "2025-01-15T02:00:00+02:00"),
        ({"from": "x", "time_format": "%Y-%m-%d %H:%M:%S"}, "2025-01-15 00:00:00"),
        ({"from": "x", "time_format": "%d/%m/%Y %H:%M", "utc_offset": "+03:00"}, "15/01/2025 03:00"),
        ({"from": "x", "time_format": "%d/%m/%Y %H:%M", "utc_offset": "-05:30"}, "14/01/2025 18:30"),
    ],
)
def test_times(rule: dict[str, Any], value: Any) -> None:
    assert translated(rule, value, "ts") == 1736899200 * 10**9


@given(
    st.one_of(
        st.text(), st.integers(), st.floats(), st.none(), st.booleans(), st.lists(st.integers(), max_size=2)
    )
)
def test_whatever_stands_in_a_cell_is_taken_or_refused(value: Any) -> None:
    for name, rule in (
        ("ts", {"from": "x", "unit": "ms"}),
        ("price", {"from": "x"}),
        ("side", {"from": "x"}),
    ):
        try:
            translated(rule, value, name)
        except BadRow as exc:
            assert str(exc).startswith(f"{name}: ")
