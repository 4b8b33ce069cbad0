"""``finishline replay``: orders in, fills out, and every mistake named with its place."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mmlib import cli
from tests.test_market_binance import depth, save, trade

T0_NS = 1_700_000_000_000 * 10**6
HEADER = "ts_ns,action,order_id,side,price,qty,time_in_force\n"
RECORDING = [
    depth(0, [["100.00", "2"], ["99.95", "2"]], [["100.05", "1"], ["100.10", "5"]], 1, 2),
    depth(50, [["99.90", "1"]], [["100.15", "1"]], 3, 4),
    trade(100, "100.00", "1.5", maker=True),
    trade(110, "100.00", "2.5", maker=True),
    depth(120, [["100.00", "0"]], [], 5, 6),
    trade(130, "100.05", "0.5", maker=False),
    depth(400, [["99.85", "1"]], [], 7, 8),
]


def at(ms: float) -> int:
    return T0_NS + round(ms * 1e6)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return save(tmp_path / "rec.gz", RECORDING)


def run(
    capsys: pytest.CaptureFixture[str], recording: Path | list[Path], orders: str, *more: str
) -> tuple[int, str, str]:
    """Exit code, standard output and error; the fills are beside the recording in fills.csv."""
    recordings = [recording] if isinstance(recording, Path) else recording
    home = recordings[0].parent
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
    argv += ["--orders", str(home / "orders.csv"), "-o", str(home / "fills.csv"), *more]
    try:
        code = cli.main(argv)
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def fills(home: Path) -> list[dict[str, str]]:
    with (home / "fills.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_a_maker_and_a_taker(capsys: pytest.CaptureFixture[str], recording: Path, tmp_path: Path) -> None:
    orders = (
        HEADER
        + f"{at(10)},new,mine-1,buy,100.00,1,GTX\n"
        + f"{at(10)},new,mine-2,sell,,0.5,IOC\n"
        + f"{at(20)},new,mine-3,buy,99.85,1,\n{at(60)},cancel,mine-3,,,,\n"
    )
    more = ("--queue-model", "risk", "--maker-fee-bps", "-0.5", "--taker-fee-bps", "7", "--json")
    code, out, _ = run(capsys, recording, orders, *more)
    assert code == 0
    taker, maker = fills(tmp_path)
    assert taker == {
        "exch_ts_ns": str(at(20)),
        "local_ts_ns": str(at(30)),
        "order_id": "mine-2",
        "side": "sell",
        "price": "100",
        "qty": "0.5",
        "liquidity": "taker",
        "fee": "0.035",
        "queue_ahead_at_entry": "0",
    }
    # 2 ahead at entry, 1.5 traded, then 2.5: the second trade reaches us.
    assert (maker["order_id"], maker["exch_ts_ns"], maker["local_ts_ns"]) == (
        "mine-1",
        str(at(110)),
        str(at(120)),
    )
    assert (maker["liquidity"], maker["queue_ahead_at_entry"], maker["fee"]) == ("maker", "2", "-0.005")
    counts = json.loads(out)["counts"]
    assert (counts["new"], counts["fills"], counts["canceled"], counts["resting"]) == (3, 2, 1, 0)


def test_market_price_steps_and_crlf_and_column_order(
    capsys: pytest.CaptureFixture[str], recording: Path, tmp_path: Path
) -> None:
    orders = (
        "\ufefforder_id, side ,ts_ns,action,qty,price,time_in_force,note\r\n"
        "# a comment\r\n\r\n"
        f"1,BUY,{at(10)},NEW,0.3,100.05,ioc,hello\r\n"
    )
    code, _, err = run(capsys, recording, orders)
    assert code == 0, err
    assert [row["price"] for row in fills(tmp_path)] == ["100.05"]


BAD = {
    "nothing": ("", "nothing in it"),
    "header": ("ts_ns,action,id,side,price,qty,time_in_force\n", r":1: the header lacks order_id"),
    "columns": (HEADER + "1,new,2\n", r":2: 3 columns; expected 7"),
    "time": (HEADER + "17,new,1,buy,100,1,GTC\n", r":2: column ts_ns: '17'; expected nanoseconds"),
    "action": (
        HEADER + f"{at(1)},modify,1,buy,100,1,GTC\n",
        "column action: 'modify'; expected new or cancel",
    ),
    "side": (HEADER + f"{at(1)},new,1,long,100,1,GTC\n", "column side: 'long'; expected buy or sell"),
    "price": (HEADER + f"{at(1)},new,1,buy,100.01,1,GTC\n", "column price: '100.01'; expected a multiple"),
    "no price": (HEADER + f"{at(1)},new,1,buy,nan,1,GTC\n", "column price: 'nan'; expected a number above 0"),
    "far": (HEADER + f"{at(1)},new,1,buy,1e12,1,GTC\n", "column price: '1e12'; expected less than"),
    "qty": (
        HEADER + f"{at(1)},new,1,buy,100,0.05,GTC\n",
        "column qty: '0.05'; expected a multiple of the lot",
    ),
    "negative": (HEADER + f"{at(1)},new,1,buy,100,-1,GTC\n", "column qty: '-1'; expected a number above 0"),
    "tif": (HEADER + f"{at(1)},new,1,buy,100,1,DAY\n", "column time_in_force: 'DAY'; expected gtc or gtx"),
    "twice": (
        HEADER + f"{at(1)},new,1,buy,100,1,GTC\n{at(2)},new,1,buy,100,1,GTC\n",
        ":3: column order_id: '1'; expected an id that was not sent",
    ),
    "unknown": (
        HEADER + f"{at(1)},cancel,9,,,,\n",
        ":2: column order_id: '9'; expected an order that was sent",
    ),
    "no id": (HEADER + f"{at(1)},new,,buy,100,1,GTC\n", "column order_id: ''; expected a name"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_orders_are_named_with_their_place(
    capsys: pytest.CaptureFixture[str], recording: Path, what: str
) -> None:
    orders, says = BAD[what]
    code, out, err = run(capsys, recording, orders)
    assert code == 2 and out == ""
    assert says.replace("\\", "") in err and "orders.csv" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--queue-model", "lgo"], "expected one of risk, log"),
        (["--queue-model", "power2"], "--queue-exponent"),
        (["--queue-exponent", "2"], "log has none"),
        (["--entry-latency-ms", "-1"], "latency"),
        (["--entry-latency-ms", "nan"], "invalid number value"),
        (["--order-latency", "absent.npz"], "absent.npz: no such file"),
        (["--actual", "absent.csv"], "absent.csv: no such file"),
    ],
)
def test_bad_options(capsys: pytest.CaptureFixture[str], recording: Path, more: list[str], says: str) -> None:
    code, _, err = run(capsys, recording, HEADER + f"{at(1)},new,1,buy,100,1,GTC\n", *more)
    assert code == 2 and says in err and err.count("\n") == 1


def test_one_size_without_the_other(capsys: pytest.CaptureFixture[str], recording: Path) -> None:
    (recording.parent / "o.csv").write_text(HEADER)
    argv = ["replay", str(recording), "--symbol", "ABCUSDT", "--orders", str(recording.parent / "o.csv")]
    assert cli.main([*argv, "-o", str(recording.parent / "f.csv"), "--tick-size", "0.05"]) == 2
    assert "--lot-size" in capsys.readouterr().err
    assert cli.main([*argv, "-o", str(recording.parent / "f.csv")]) == 0
    assert fills_header(recording.parent / "f.csv").startswith("exch_ts_ns,local_ts_ns,order_id,side,price")


def fills_header(path: Path) -> str:
    return path.read_text().splitlines()[0]


def test_recordings_follow_each_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second = save(tmp_path / "1.gz", RECORDING[:3]), save(tmp_path / "2.gz", RECORDING[3:])
    orders = HEADER + f"{at(10)},new,1,buy,100.00,1,GTX\n"
    code, out, _ = run(capsys, [first, second], orders, "--queue-model", "risk", "--json")
    assert code == 0 and json.loads(out)["counts"]["fills"] == 1
    whole = save(tmp_path / "whole.gz", RECORDING)
    split = fills(tmp_path)
    run(capsys, whole, orders, "--queue-model", "risk")
    assert fills(tmp_path) == split
    code, _, err = run(capsys, [second, first], orders)
    assert code == 2 and "1.gz: begins before" in err


def test_measured_order_latencies(
    capsys: pytest.CaptureFixture[str], recording: Path, tmp_path: Path
) -> None:
    kind = np.dtype([("req_ts", "i8"), ("exch_ts", "i8"), ("resp_ts", "i8"), ("_padding", "i8")])
    table = np.zeros(1, kind)
    table[0] = (at(0), at(4), at(9), 0)
    np.savez_compressed(tmp_path / "lat.npz", data=table)
    orders = HEADER + f"{at(10)},new,1,buy,,1,\n"
    code, _, err = run(capsys, recording, orders, "--order-latency", str(tmp_path / "lat.npz"))
    assert code == 0, err
    (fill,) = fills(tmp_path)
    assert (fill["exch_ts_ns"], fill["local_ts_ns"]) == (str(at(14)), str(at(19)))
    np.savez(tmp_path / "other.npz", data=np.zeros(3))
    code, _, err = run(capsys, recording, orders, "--order-latency", str(tmp_path / "other.npz"))
    assert code == 2 and "expected an .npz with rows of req_ts" in err
    (tmp_path / "text.npz").write_text("no")
    code, _, err = run(capsys, recording, orders, "--order-latency", str(tmp_path / "text.npz"))
    assert code == 2 and "text.npz" in err


def test_fees_of_inverse_contracts_are_in_the_base_currency(
    capsys: pytest.CaptureFixture[str], recording: Path, tmp_path: Path
) -> None:
    orders = HEADER + f"{at(10)},new,1,buy,,2,\n"
    assert run(capsys, recording, orders, "--taker-fee-bps", "5", "--contract-size", "10")[0] == 0
    (fill,) = fills(tmp_path)
    assert float(fill["fee"]) == pytest.approx(5e-4 * 2 * 10 / 100.05)


def test_fills_agree_with_themselves(
    capsys: pytest.CaptureFixture[str], recording: Path, tmp_path: Path
) -> None:
    orders = (
        HEADER + f"{at(10)},new,a,buy,100.00,1,GTX\n{at(10)},new,b,sell,,0.5,\n{at(11)},new,c,buy,99,1,\n"
    )
    run(capsys, recording, orders, "--queue-model", "risk")
    actual = (tmp_path / "fills.csv").rename(tmp_path / "actual.csv")
    code, out, _ = run(capsys, recording, orders, "--queue-model", "risk", "--actual", str(actual), "--json")
    found = json.loads(out)["agreement"]
    assert code == 0
    assert found["outcomes"] == {"matched": 2, "early": 0, "late": 0, "missed": 0, "extra": 0}
    assert (found["recall"], found["precision"]) == (1.0, 1.0)
    report = Path(json.loads(out)["report"]).read_text()
    assert "2 orders were filled" in report and "queue model risk" in report and "finishline replay" in report
    page = Path(json.loads(out)["figure"]).read_text()
    assert 'role="img"' in page and "2 matched" in page
    assert (tmp_path / "fills.agreement.csv").read_text().count("\n") == 3


def test_actual_fills_with_a_mistake(
    capsys: pytest.CaptureFixture[str], recording: Path, tmp_path: Path
) -> None:
    (tmp_path / "actual.csv").write_text("exch_ts_ns,order_id,side,price,qty\n5,a,buy,100,1\n")
    orders = HEADER + f"{at(10)},new,a,buy,100.00,1,GTX\n"
    code, _, err = run(capsys, recording, orders, "--actual", str(tmp_path / "actual.csv"))
    assert code == 2 and "actual.csv:2: column exch_ts_ns: '5'" in err
