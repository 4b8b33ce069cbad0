"""What goes wrong, and that exchange and client agree afterwards: orders, balances, positions."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from mmlib._io import UserError
from mmlib.paper.journal import NAME
from mmlib.paper.margin import MarginLedger
from mmlib.paper.orders import Order
from mmlib.paper.rules import Rules
from mmlib.paper.setup import Serving, serving
from tests.paper_fixtures import KEY, ROOT, SECRET, SECRET_ENV, Client, run, setup


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_ENV, SECRET)


class View:
    """What a client knows from its user stream alone: the last state of every order, wallet and position."""

    def __init__(self) -> None:
        self.orders: dict[int, tuple[str, str]] = {}
        self.wallet: dict[str, str] = {}
        self.position: dict[str, str] = {}

    def take(self, event: dict[str, Any]) -> None:
        if event["e"] == "ORDER_TRADE_UPDATE":
            self.orders[event["o"]["i"]] = event["o"]["X"], event["o"]["z"]
        for one in event.get("a", {}).get("B", []):
            self.wallet[one["a"]] = one["wb"]
        for one in event.get("a", {}).get("P", []):
            self.position[one["s"]] = one["pa"]


async def follow(up: Serving, client: Client, view: View) -> asyncio.Task[None]:
    """Keep a view current over lost connections, as a client does: a new listen key, then what REST says."""
    opened = asyncio.Event()

    async def work() -> None:
        while True:
            _, key, _ = await client.ask("POST", "/fapi/v1/listenKey")
            try:
                async with connect(f"ws{up.server.url[4:]}/ws/{key['listenKey']}", proxy=None) as socket:
                    _, orders = await client.signed("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")
                    for one in orders:
                        view.orders[one["orderId"]] = one["status"], one["executedQty"]
                    opened.set()
                    async for text in socket:
                        event = json.loads(text)
                        if event["e"] == "listenKeyExpired":
                            break
                        view.take(event)
            except (OSError, ConnectionClosed):
                await asyncio.sleep(0.02)

    task = asyncio.create_task(work())
    await opened.wait()
    return task


async def agree(client: Client, view: View) -> None:
    """Wait until the stream's view is what REST says of every order, the wallet and the position."""
    while True:
        _, orders = await client.signed("GET", "/fapi/v1/allOrders", symbol="BTCUSDT", limit=1000)
        _, balance = await client.signed("GET", "/fapi/v2/balance")
        _, risk = await client.signed("GET", "/fapi/v2/positionRisk", symbol="BTCUSDT")
        same = {one["orderId"]: (one["status"], one["executedQty"]) for one in orders} == view.orders
        same &= not view.wallet or view.wallet["USDT"] == balance[0]["balance"]
        if same and (not view.position or view.position["BTCUSDT"] == risk[0]["positionAmt"]):
            return
        await asyncio.sleep(0.05)


async def go_wrong(what: str, up: Serving, client: Client) -> None:
    """Do one thing that goes wrong in real sessions; what the exchange answers is asserted."""
    tape = up.exchange.tapes["BTCUSDT"]
    price = tape.rules.price.text((tape.best_bid or 0) - 300)
    match what:
        case "duplicate client id":
            await client.order(price=price, newClientOrderId="twice")
            assert (await client.order(price=price, newClientOrderId="twice"))[1]["code"] == -4116
        case "cancel of a filled order":
            _, done = await client.order(type="MARKET", timeInForce="", newOrderRespType="RESULT")
            gone = await client.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=done["orderId"])
            assert gone[1]["code"] == -2011
        case "late cancel":
            placed = (await client.order(price=price))[1]
            both = [
                client.signed("DELETE", "/fapi/v1/order", symbol="BTCUSDT", orderId=placed["orderId"])
                for _ in "ab"
            ]
            assert sorted(one[1].get("code", 0) for one in await asyncio.gather(*both)) == [-2011, 0]
        case "clock off by a minute":
            up.server.hurt("skew", -70)
            assert (await client.order(price=price))[1]["code"] == -1021
            up.server.hurt("skew", 0)
        case "order flood":
            answers = await asyncio.gather(*(client.order(price=price) for _ in range(330)))
            codes = [one[1].get("code") for one in answers]
            assert codes.count(None) <= 200 and set(codes) <= {None, -1015, -2025}
        case "listen key expired":
            await client.ask("DELETE", "/fapi/v1/listenKey")
            await client.order(price=price)
        case "429" | "5xx":
            up.server.hurt(what, 1)
            assert (await client.order(price=price))[0] in (429, 503)
        case _:
            up.server.hurt(what)
            await client.order(price=price)


@pytest.mark.parametrize(
    "what",
    [
        *(
            "duplicate client id",
            "cancel of a filled order",
            "late cancel",
            "clock off by a minute",
            "order flood",
        ),
        *("listen key expired", "drop", "429", "5xx", "gap", "garbage"),
    ],
)
def test_both_sides_agree_after(what: str) -> None:
    async def main() -> None:
        async with serving(setup(symbols=("BTCUSDT",))) as up, Client(up) as client:
            view = View()
            task = await follow(up, client, view)
            await client.order(type="MARKET", timeInForce="")
            await go_wrong(what, up, client)
            await agree(client, view)
            assert view.orders
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(main())


@contextmanager
def served(tmp_path: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A paper exchange as a process of its own; the last line of its introduction as JSON."""
    command = [sys.executable, "-m", "mmlib", "exchange", "--symbols", "BTCUSDT", "--rate", "50", "--json"]
    command += ["--state", str(tmp_path / "state"), "--port", str(port), "--workspace", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            assert Path(said["keys"]).stat().st_mode & 0o077 == 0  # for its owner's eyes only
            yield process, said | {"account": json.loads(Path(said["keys"]).read_text())["paper"]}
        finally:
            process.kill()


def test_accounts_survive_kill_9(tmp_path: Path) -> None:
    """Orders, balances and ids of a killed exchange are there again, and its clients go on with the same keys."""

    class At:
        """What `Client` asks of an exchange: its address."""

        def __init__(self, url: str) -> None:
            self.server = type("Server", (), {"url": url})

    async def trade(said: dict[str, Any]) -> tuple[Any, Any, Any]:
        one = said["account"]
        async with Client(At(said["url"]), one["key"], one["secret"]) as client:  # type: ignore[arg-type]
            _, book, _ = await client.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=5)
            await client.order(type="MARKET", timeInForce="")
            far = f"{float(book['bids'][0][0]) - 300:.1f}"
            await client.order(price=far, newClientOrderId="survivor")
            return await state(client)

    async def state(client: Client) -> tuple[Any, Any, Any]:
        _, orders = await client.signed("GET", "/fapi/v1/allOrders", symbol="BTCUSDT")
        _, balance = await client.signed("GET", "/fapi/v2/balance")
        _, trades = await client.signed("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
        assert isinstance(balance, list), balance
        return orders, balance[0]["balance"], trades

    async def after(said: dict[str, Any], before: tuple[Any, Any, Any]) -> None:
        one = said["account"]
        async with Client(At(said["url"]), one["key"], one["secret"]) as client:  # type: ignore[arg-type]
            assert await state(client) == before
            assert (await client.order(price="50000", newClientOrderId="survivor"))[1]["code"] in (
                -4116,
                -4024,
            )
            gone = await client.signed(
                "DELETE", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="survivor"
            )
            assert gone[1]["status"] == "CANCELED"
            _, placed = await client.order(type="MARKET", timeInForce="")
            assert placed["orderId"] > max(one["orderId"] for one in before[0])

    with served(tmp_path, 0) as (process, said):
        before = run(trade(said))
        process.send_signal(signal.SIGKILL)
        process.wait()
    with (tmp_path / "state" / NAME).open("ab") as handle:
        handle.write(b'{"account": "paper", "ord')  # a line that the kill tore
    with served(tmp_path, 0) as (_, again):
        run(after(again, before))


def test_a_damaged_state_is_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / NAME).write_text("no json\n")

    async def main() -> None:
        async with serving(setup(state=tmp_path / "state", symbols=("BTCUSDT",))):
            raise AssertionError("it was accepted")

    with pytest.raises(UserError, match=f"{NAME}:1"):
        run(main())


def test_margin_and_profit_after_hand_computed_trades() -> None:
    """Bought 2 at 100 and 2 at 110, sold 3 at 120 and 3 at 90: the numbers are worked out by hand."""
    from mmlib.market.source import Instrument

    rules = {"XUSDT": Rules.of(Instrument("XUSDT", 1.0, 1.0))}
    ledger = MarginLedger(rules, {"USDT": Decimal(1000)})
    order = Order(1, "a", "XUSDT", 1, "LIMIT", "GTC", 100, 2, 0, 0)
    sold = Order(2, "b", "XUSDT", -1, "LIMIT", "GTC", 120, 3, 0, 0)
    assert ledger.fill(order, 100, 2, Decimal(1), 0, 1) == 0
    assert ledger.fill(order, 110, 2, Decimal(1), 0, 2) == 0
    assert ledger.position("XUSDT").entry == 105
    assert ledger.fill(sold, 120, 3, Decimal(1), 0, 3) == 45
    assert ledger.fill(sold, 90, 3, Decimal(1), 0, 4) == -15  # one closes, two open short at 90
    held = ledger.position("XUSDT")
    assert (held.lots, held.entry, held.realized) == (-2, 90, 30)
    assert ledger.wallet["USDT"] == 1000 + 30 - 4
    assert ledger.unrealized("XUSDT", Decimal(80)) == 20
    assert ledger.fund("XUSDT", Decimal("0.01"), Decimal(80), 0) == Decimal("1.6")  # a short receives


def test_two_accounts_with_the_same_requests_have_the_same_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    """A/A on one market: whoever sends the same at the same time gets the same."""
    from tests.paper_fixtures import account

    async def main() -> None:
        both = (account("a"), account("b", "B" * 64, arm="B"))
        async with serving(setup(accounts=both, symbols=("BTCUSDT",), rate_per_s=400.0)) as up:
            exchange, got = up.exchange, []
            started = time.monotonic()
            while time.monotonic() - started < 3.0:
                tape, now_ns = exchange.tapes["BTCUSDT"], exchange.clock.now_ns()
                with monkeypatch.context() as patch:
                    patch.setattr(exchange.clock, "now_ns", lambda now_ns=now_ns: now_ns)
                    waits = []
                    for party in exchange.parties.values():
                        for side, ticks in ((1, tape.best_bid), (-1, tape.best_ask)):
                            order = Order(
                                0, f"{now_ns}{side}", "BTCUSDT", side, "LIMIT", "GTC", ticks or 1, 2, 0, 0
                            )

                            def place(at_ns: int, party: Any = party, order: Order = order) -> Order:
                                return exchange.trading.place(party, order, at_ns)

                            waits.append(exchange.submit(party, place))
                    tasks = [asyncio.ensure_future(one) for one in waits]
                    await asyncio.sleep(0)
                got += await asyncio.gather(*tasks)
                await asyncio.sleep(0.05)
            one, two = (
                [(t.side, t.ticks, t.lots, t.maker, t.time_ms, t.fee) for t in party.store.trades.values()]
                for party in exchange.parties.values()
            )
            assert len(one) > 5 and one == two
            assert exchange.parties[KEY].ledger.to_dict() == exchange.parties["B" * 64].ledger.to_dict()

    run(main())
