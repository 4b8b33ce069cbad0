"""The contract holds on the paper exchange, and notices what breaks it."""

from __future__ import annotations

import asyncio

import pytest

from mmlib.paper.conformance import Contract
from mmlib.paper.setup import Serving, serving
from tests.paper_fixtures import KEY, SECRET, SECRET_ENV, account, run, setup


@pytest.mark.parametrize("venue", ["binanceusdm", "binance"])
def test_every_rule_holds(venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_ENV, SECRET)

    async def main() -> None:
        rich = account(balances={"USDT": 10_000, "BTC": 1})
        async with serving(
            setup(venue=venue, symbols=("BTCUSDT",), accounts=(rich,), rate_per_s=200.0)
        ) as up:
            done = await Contract(up.server.url, venue, "BTCUSDT", KEY, SECRET).check()
            assert [(one.rule, one.found) for one in done if one.holds is not True] == []
            public = await Contract(up.server.url, venue, "BTCUSDT").check()
            assert [(one.rule, one.found) for one in public if one.holds is False] == []
            assert None in {one.holds for one in public}

    run(main())


async def leave_one_out(up: Serving) -> None:
    """A gap once a client has had a few book updates."""
    while up.server.streams.frames_sent < 5:
        await asyncio.sleep(0.01)
    up.server.hurt("gap", 1)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("gap", "book updates chain without a gap"),
        ("skew", "the clock is within a second of ours"),
        ("5xx", "ping"),
    ],
)
def test_what_breaks_the_contract_is_noticed(fault: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_ENV, SECRET)

    async def main() -> None:
        async with serving(setup(symbols=("BTCUSDT",), rate_per_s=200.0)) as up:
            if fault == "gap":
                hurting = asyncio.create_task(leave_one_out(up))
            else:
                up.server.hurt(fault, 90 if fault == "skew" else 1)
            done = await Contract(up.server.url, "binanceusdm", "BTCUSDT").check()
            failed = [one.rule for one in done if one.holds is False]
            assert len(failed) == 1 and failed[0].startswith(rule)
            if fault == "gap":
                await hurting

    run(main())
