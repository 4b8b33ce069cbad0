"""What makes two fills the same, and what another program writes when it does not know a number."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from mmlib._io import UserError
from mmlib.feeds.check import check_feeds
from mmlib.feeds.importing import Imported, import_files
from mmlib.feeds.reader import read_feeds
from mmlib.workflow.mappings import load_mapping

SHIPPED = Path(__file__).resolve().parents[1] / "params" / "mappings"
CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
FILL = {
    "schema": 1, "ts": "2025-01-15T10:00:05Z", "symbol": "BTCUSDT", "arm": "A", "side": "buy", "price": 60000.0, "qty": 0.01,
    "liquidity": "maker", "fee": 0.12, "order_id": "501", "fill_id": "7001",
}  # fmt: skip
DIFFERENT = {"side": "sell", "order_id": "502", "fill_id": "7002", "symbol": "ETHUSDT", "arm": "B"}


def imported(text: str, mapping: Path, tmp_path: Path, name: str = "trades.csv") -> tuple[Imported, Path]:
    source, out = tmp_path / name, tmp_path / "feeds"
    source.write_text(text)
    rules, sha256 = load_mapping(mapping)
    return import_files([source], rules, out, name="m", sha256=sha256, quarantine_dir=tmp_path / "bad"), out


def written(rows: list[dict[str, Any]], directory: Path, days: int = 1) -> Path:
    """The rows in so many files, one after the other."""
    directory.mkdir()
    for k in range(days):
        lines = [json.dumps(row) for row in rows[k::days]]
        (directory / f"fills_2025011{5 + k}.jsonl").write_text("\n".join(lines) + "\n")
    return directory


@pytest.mark.parametrize("days", [1, 2])
@pytest.mark.parametrize("fields", [c for n in (1, 2) for c in itertools.combinations(DIFFERENT, n)])
def test_legs_that_differ_in_a_part_of_the_key_both_stay(
    fields: tuple[str, ...], days: int, tmp_path: Path
) -> None:
    rows = [FILL, FILL | {name: DIFFERENT[name] for name in fields}]
    feeds = written(rows, tmp_path / "f", days)
    feed = read_feeds(feeds, "fills")
    assert (len(feed.frame), feed.duplicates) == (2, 0)
    assert sum(one.duplicates for one in check_feeds(feeds).files) == 0


@pytest.mark.parametrize("days", [1, 2])
@pytest.mark.parametrize("order_id", ["501", 501, None])
def test_the_same_fill_twice_is_one(order_id: Any, days: int, tmp_path: Path) -> None:
    rows = [FILL | {"order_id": order_id}, FILL | {"order_id": order_id, "ts": "2025-01-15T10:00:06Z"}]
    feeds = written(rows, tmp_path / "f", days)
    feed = read_feeds(feeds, "fills")
    assert (len(feed.frame), feed.duplicates) == (1, 1)
    assert sum(one.duplicates for one in check_feeds(feeds).files) == 1


def test_a_trade_with_oneself_keeps_both_legs_of_an_export(tmp_path: Path) -> None:
    head = "Uid,Time,Symbol,Side,Price,Quantity,Amount,Fee,Realized Profit,Buyer,Maker,Trade ID,Order ID\n"
    row = "1,2025-01-15 10:00:05,BTCUSDT,{},60000,0.010,600,0.24 USDT,0,false,{},7001,{}\n"
    rows = row.format("SELL", "false", 502) + row.format("BUY", "true", 501)
    result, out = imported(head + rows + rows, SHIPPED / "binance_usdm_trades.yaml", tmp_path)
    assert (result.files[0].imported, result.files[0].duplicates) == (2, 2)
    assert sorted(read_feeds(out, "fills").frame["side"]) == ["buy", "sell"]


SPOT = """schema: 1
title: an export without ids
format: csv
feeds:
  - kind: fills
    fields:
      ts: {from: t, unit: s}
      symbol: {value: BTCUSDT}
      arm: {value: A}
      side: {from: side}
      price: {from: price}
      qty: {from: qty}
      liquidity: {value: maker}
      fee: {value: 0.0}
      fill_id: {join: [t, side, price, qty]REPEATS}
"""


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_equal_pieces_of_one_second_can_all_be_imported(pieces: int, tmp_path: Path) -> None:
    mapping = tmp_path / "m.yaml"
    mapping.write_text(SPOT.replace("REPEATS", ", number_repeats: true"))
    rows = "1736935205,buy,60000,0.01\n" * pieces + "1736935206,buy,60000,0.01\n"
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("t,side,price,qty\n" + rows)
    rules, sha256 = load_mapping(mapping)
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]  # two exports of the same seconds
    result = import_files(
        files, rules, tmp_path / "f", name="m", sha256=sha256, quarantine_dir=tmp_path / "bad"
    )
    assert [one.imported for one in result.files] == [pieces + 1, 0]
    assert len(read_feeds(tmp_path / "f", "fills").frame) == pieces + 1


def test_without_the_option_the_reason_names_it(tmp_path: Path) -> None:
    mapping = tmp_path / "m.yaml"
    mapping.write_text(SPOT.replace("REPEATS", ""))
    result, _ = imported("t,side,price,qty\n" + "1736935205,buy,60000,0.01\n" * 2, mapping, tmp_path)
    assert result.files[0].duplicates == 1
    assert "number_repeats: true" in (tmp_path / "bad" / "trades.csv.quarantine.jsonl").read_text()


def trade_fee(percent: str, *amounts: str) -> str:
    flat = [{"token": "BNB", "amount": amount} for amount in amounts]
    fee = {"fee_type": "AddedToCost", "percent": percent, "percent_token": "BNB", "flat_fees": flat}
    return json.dumps(fee)


@pytest.mark.parametrize("zero", ["0", "0.0", "0E-8", "-0"])
@pytest.mark.parametrize(
    ("stated", "is_zero"),
    [
        (trade_fee("0"), True),
        (trade_fee("0.000", "0", "0.00"), True),
        (trade_fee("0", "0.000127"), False),
        (trade_fee("0", "0.0", "12"), False),
        (trade_fee("0.001"), False),
        (trade_fee("-0.0002"), False),
        (trade_fee("0", "-3"), False),
        ("", False),
        ("null", False),
    ],
)
def test_a_fee_of_zero_has_to_be_one(zero: str, stated: str, is_zero: bool, tmp_path: Path) -> None:
    header = (
        "exchange_trade_id,config_file_path,strategy,market,symbol,base_asset,quote_asset,timestamp,order_id,trade_type,"
        "order_type,price,amount,leverage,trade_fee,trade_fee_in_quote,position,age"
    )
    names = header.split(",")
    row = dict.fromkeys(names, "x") | {
        "timestamp": "1736935200000", "trade_type": "BUY", "order_type": "LIMIT", "price": "1.5", "amount": "2",
        "trade_fee": stated, "trade_fee_in_quote": zero,
    }  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerow(row)
    result, _ = imported(text.getvalue(), SHIPPED / "hummingbot.yaml", tmp_path)
    assert result.files[0].imported == is_zero
    if not is_zero:
        assert (
            '"reason":"fee: 0, but trade_fee is'
            in (tmp_path / "bad" / "trades.csv.quarantine.jsonl").read_text()
        )


@pytest.mark.parametrize("name", ["mid", "cache_age_ms"])
@pytest.mark.parametrize("sentinel", [-1, -1.0, "-1"])
def test_a_sentinel_of_the_older_bot_is_unknown(name: str, sentinel: Any, tmp_path: Path) -> None:
    tick = {
        "ts": 1736899200123, "symbol": "BTCUSDT", "tick_total": 12.3, "stage_latencies": {}, "cache_hit": True,
        "cache_age_ms": 45, "deadline_miss": False, "mid": 60000.5, name: sentinel,
    }  # fmt: skip
    result, out = imported(
        json.dumps(tick) + "\n", SHIPPED / "older_bot.yaml", tmp_path, "pipeline_ticks_x.jsonl"
    )
    assert result.files[0].imported == 1
    assert read_feeds(out, "ticks").frame[name].isna().all()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{from: price, unknown: ['0'], default: 1.0}", "unknown or default"),
        ("{from: price, number_repeats: true}", "only beside join"),
        ("{join: [price, qty], number_repeats: true}", "only an id"),
        ("{from: price, zero_if: {from: side, match: '('}}", "regular expression"),
    ],
)
def test_rules_that_mean_nothing_are_refused(rule: str, message: str, tmp_path: Path) -> None:
    mapping = tmp_path / "m.yaml"
    mapping.write_text(SPOT.replace("REPEATS", "").replace("price: {from: price}", f"price: {rule}"))
    with pytest.raises(UserError, match=message):
        load_mapping(mapping)


def test_a_required_number_that_is_not_known_is_kept_with_its_reason(tmp_path: Path) -> None:
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        SPOT.replace("REPEATS", "").replace("{from: price}", "{from: price, unknown: ['0', '-1']}")
    )
    text = "t,side,price,qty\n1736935205,buy,0.00,0.01\n1736935206,buy,-1,0.01\n1736935207,buy,2,0.01\n"
    result, _ = imported(text, mapping, tmp_path)
    assert (result.files[0].imported, result.files[0].reasons) == (1, {"price": 2})


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not here")
@pytest.mark.parametrize(
    ("file", "mapping", "imported_rows"),
    [
        ("01_self_trade/um_trades.csv", "binance_usdm_trades", 3),
        ("02_fee_stored_as_zero/trades_pmm.csv", "hummingbot", 1),
        ("13_spot_export/spot.csv", "", 1),
    ],
)
def test_the_reported_files(file: str, mapping: str, imported_rows: int, tmp_path: Path) -> None:
    path = SHIPPED / f"{mapping}.yaml" if mapping else CASES / "13_spot_export" / "spot_export.yaml"
    result, _ = imported((CASES / file).read_text("utf-8-sig"), path, tmp_path)
    assert result.files[0].imported == imported_rows
    feeds = CASES / "01_self_trade" / "feeds"
    assert sum(one.duplicates for one in check_feeds(feeds).files) == 0
