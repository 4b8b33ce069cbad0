"""The paper exchange under load: ten accounts, 200 orders a second in all, 5,000 market messages a second, ten minutes.

Exchange and clients are two processes on this machine. An order's answer is timed from just before the request is written to
its last byte, minus the account's modelled latency; the client's own share is in it. Limits are scaled by how long this core
takes to add ten million Python integers, 0.8 s being the reference.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import numpy as np
import orjson
import psutil
from report import at_most, bar, finish, machine
from scipy.stats import theilslopes

ACCOUNTS, ORDERS_PER_S, MESSAGES_PER_S = 10, 200.0, 5000.0
ENTRY_MS, RESPONSE_MS = 10.0, 10.0
ACK_P99_MS, SLOPE_MB_PER_H, REFERENCE_S = 10.0, 5.0, 0.8
SYMBOLS = ("BTCUSDT", "ETHUSDT")
WARM_UP_SHARE = 0.3
AWAY = 400  # ticks from the touch: orders rest until they are cancelled


@dataclass
class Seen:
    """What the clients met."""

    ack_ms: list[float] = field(default_factory=list)
    refused: int = 0
    unanswered: int = 0
    placed: set[int] = field(default_factory=set)
    told_new: set[int] = field(default_factory=set)
    told_gone: set[int] = field(default_factory=set)
    market: int = 0
    gaps: int = 0


def adding_s() -> float:
    """How long this core takes to add ten million integers [s]; the best of three."""
    best = float("inf")
    for _ in range(3):
        began, total = time.perf_counter(), 0
        for k in range(10_000_000):
            total += k
        best = min(best, time.perf_counter() - began)
    return best


@contextmanager
def exchange(
    place: Path, rate: float, minutes: float
) -> Iterator[tuple[str, list[dict[str, str]], psutil.Process]]:
    """Address, accounts and process of a paper exchange."""
    env = dict(os.environ)
    lines, accounts = ["accounts:"], []
    for k in range(ACCOUNTS):
        name, key, secret = f"bench{k}", secrets.token_hex(32), secrets.token_hex(32)
        env[f"BENCH_SECRET_{k}"] = secret
        accounts.append({"name": name, "key": key, "secret": secret})
        lines.append(f"  - {{name: {name}, key: '{key}', secret_env: BENCH_SECRET_{k}, "
                     f"latency: {{entry_ms: {ENTRY_MS}, response_ms: {RESPONSE_MS}}}}}")  # fmt: skip
    (place / "accounts.yaml").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mmlib", "exchange", "--symbols", ",".join(SYMBOLS), "--rate", str(rate)]
    command += [
        "--accounts",
        str(place / "accounts.yaml"),
        "--minutes",
        str(minutes),
        "--workspace",
        str(place),
    ]
    command += ["--feeds", str(place / "feeds"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            said = orjson.loads(process.stdout.readline())
            yield said["url"], accounts, psutil.Process(process.pid)
        finally:
            process.terminate()


class Trader:
    """One account: places and cancels orders far from the touch at a steady rate, and listens to its user stream."""

    def __init__(self, http: aiohttp.ClientSession, url: str, account: dict[str, str], seen: Seen) -> None:
        self._http, self._url, self._account, self._seen = http, url, account, seen

    async def ask(self, verb: str, path: str, **params: Any) -> tuple[int, Any]:
        """A signed request."""
        query = urlencode(params | {"timestamp": int(time.time() * 1000), "recvWindow": 60_000})
        signature = hmac.new(self._account["secret"].encode(), query.encode(), hashlib.sha256).hexdigest()
        headers = {"X-MBX-APIKEY": self._account["key"]}
        async with self._http.request(
            verb, f"{self._url}{path}?{query}&signature={signature}", headers=headers
        ) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def listen(self, ready: asyncio.Event) -> None:
        """Follow the user stream."""
        _, key = await self.ask("POST", "/fapi/v1/listenKey")
        async with self._http.ws_connect(f"{self._url}/ws/{key['listenKey']}", max_msg_size=0) as socket:
            ready.set()
            async for message in socket:
                event = orjson.loads(message.data)
                if event["e"] == "ORDER_TRADE_UPDATE":
                    told = self._seen.told_new if event["o"]["x"] == "NEW" else self._seen.told_gone
                    told.add(event["o"]["i"])

    async def trade(self, end: float, per_s: float, prices: dict[str, str]) -> None:
        """One order and its cancel in turns, each on its own schedule: a late answer does not slow the load down."""
        begun: set[asyncio.Task[None]] = set()
        at, number = time.monotonic(), 0
        while at < end:
            await asyncio.sleep(max(at - time.monotonic(), 0.0))
            task = asyncio.create_task(self._one(SYMBOLS[number % len(SYMBOLS)], prices))
            begun.add(task)
            task.add_done_callback(begun.discard)
            at, number = at + 2.0 / per_s, number + 1
        await asyncio.gather(*begun, return_exceptions=True)

    async def _one(self, symbol: str, prices: dict[str, str]) -> None:
        new = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTX", "quantity": "0.05"}
        placed = await self._timed("POST", price=prices[symbol], **new)
        if placed is not None:
            self._seen.placed.add(placed["orderId"])
            await self._timed("DELETE", symbol=symbol, orderId=placed["orderId"])

    async def _timed(self, verb: str, **params: Any) -> Any:
        began = time.perf_counter()
        try:
            status, body = await self.ask(verb, "/fapi/v1/order", **params)
        except (aiohttp.ClientError, TimeoutError):
            self._seen.unanswered += 1
            return None
        self._seen.ack_ms.append(1e3 * (time.perf_counter() - began) - ENTRY_MS - RESPONSE_MS)
        if status != 200:
            self._seen.refused += 1
        return body if status == 200 else None


async def market(http: aiohttp.ClientSession, url: str, seen: Seen) -> None:
    """Every book update and trade, as they happen; what is missing between them by their own numbers."""
    names = "/".join(f"{symbol.lower()}@{kind}" for symbol in SYMBOLS for kind in ("depth@0ms", "trade"))
    last: dict[tuple[str, str], int] = {}
    async with http.ws_connect(f"{url}/stream?streams={names}", max_msg_size=0) as socket:
        async for message in socket:
            data = orjson.loads(message.data)["data"]
            seen.market += 1
            key = data["e"], data["s"]
            if data["e"] == "depthUpdate":
                seen.gaps += key in last and last[key] != data["pu"]
                last[key] = data["u"]
            else:
                seen.gaps += key in last and last[key] + 1 != data["t"]
                last[key] = data["t"]


async def memory(process: psutil.Process, samples: list[tuple[float, float]]) -> None:
    """Resident memory of the exchange, every second [h, MB]."""
    began = time.monotonic()
    while True:
        samples.append(((time.monotonic() - began) / 3600.0, process.memory_info().rss / 1e6))
        await asyncio.sleep(1.0)


def session(address: str) -> aiohttp.ClientSession:
    """A client that speaks from an address of this machine."""
    connector = aiohttp.TCPConnector(limit=0, local_addr=(address, 0))
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))


async def load(
    url: str, accounts: list[dict[str, str]], process: psutil.Process, seconds: float
) -> dict[str, Any]:
    """Run the load and say what came of it."""
    seen, samples = Seen(), []
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(session("127.0.0.1"))
        # an address each, as the weight of requests is limited by address
        own = [await stack.enter_async_context(session(f"127.0.0.{k + 2}")) for k in range(len(accounts))]
        traders = [Trader(one, url, account, seen) for one, account in zip(own, accounts, strict=True)]
        ready = [asyncio.Event() for _ in traders]
        tasks = [asyncio.create_task(one.listen(event)) for one, event in zip(traders, ready, strict=True)]
        tasks += [asyncio.create_task(market(http, url, seen)), asyncio.create_task(memory(process, samples))]
        await asyncio.gather(*(event.wait() for event in ready))
        prices = {}
        for symbol in SYMBOLS:
            async with http.get(f"{url}/fapi/v1/depth?symbol={symbol}&limit=5") as answer:
                bid = (await answer.json())["bids"][0][0]
            digits = len(bid.partition(".")[2])
            prices[symbol] = f"{float(bid) - AWAY * 10.0**-digits:.{digits}f}"
        began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
        end, at_first = began + seconds, seen.market
        await asyncio.gather(*(one.trade(end, ORDERS_PER_S / len(traders), prices) for one in traders))
        span = time.monotonic() - began
        cpu = sum(process.cpu_times()[:2]) - cpu
        for _ in range(300):  # events are on their way for a response latency
            if seen.placed <= seen.told_new and seen.placed <= seen.told_gone:
                break
            await asyncio.sleep(0.1)
        messages = (seen.market - at_first) / span
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    late = [one for one in samples if one[0] * 3600.0 >= WARM_UP_SHARE * seconds]
    slope, *_ = theilslopes([mb for _, mb in late], [at_h for at_h, _ in late])
    p50, p99 = np.quantile(seen.ack_ms, [0.5, 0.99], method="inverted_cdf")
    return {
        "requests": len(seen.ack_ms),
        "requests_per_s": round(len(seen.ack_ms) / span, 1),
        "market_messages_per_s": round(messages, 1),
        "ack_beyond_modelled_p50_ms": round(float(p50), 3),
        "ack_beyond_modelled_p99_ms": round(float(p99), 3),
        "refused": seen.refused,
        "lost": seen.unanswered
        + seen.gaps
        + len(seen.placed - seen.told_new)
        + len(seen.placed - seen.told_gone),
        "rss_slope_mb_per_h": round(float(slope), 2),
        "rss_last_mb": round(samples[-1][1], 1),
        "cpu_share": round(cpu / span, 3),
    }


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="of load (default: 600)")
    parser.add_argument(
        "--messages", type=float, default=MESSAGES_PER_S, help="market messages a second (default: 5000)"
    )
    args = parser.parse_args()
    scale = adding_s() / REFERENCE_S
    with tempfile.TemporaryDirectory() as place:
        minutes = args.seconds / 60.0 + 10.0
        with exchange(Path(place), args.messages / len(SYMBOLS), minutes) as (url, accounts, process):
            figures = asyncio.run(load(url, accounts, process, args.seconds))
    figures["scale"] = round(scale, 3)
    bars = [
        at_most(
            "ack_beyond_modelled_p99_ms", figures["ack_beyond_modelled_p99_ms"], ACK_P99_MS * max(scale, 1.0)
        ),
        at_most("lost", figures["lost"], 0),
        at_most("refused", figures["refused"], 0),
        at_most("rss_slope_mb_per_h", figures["rss_slope_mb_per_h"], SLOPE_MB_PER_H),
        bar("market_messages_per_s", figures["market_messages_per_s"], 0.9 * args.messages),
    ]
    return finish({"bench": "exchange", "machine": machine("aiohttp"), "figures": figures, "bars": bars})


if __name__ == "__main__":
    raise SystemExit(main())
