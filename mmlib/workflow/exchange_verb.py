"""What ``exchange`` does, apart from parsing."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from mmlib._io import UserError
from mmlib.workflow.params import check_symbols


def serve(args: argparse.Namespace) -> None:
    """Serve a paper exchange until the time is over, the recording ends, or Ctrl-C or SIGTERM.

    Raises:
        UserError: unknown venue, market or fault, a file that cannot be read or written, or the port is taken.
    """
    from mmlib.market.loopback.faults import parse_faults
    from mmlib.paper.accounts import load_accounts
    from mmlib.paper.setup import Serving, Setup, serving

    planned = parse_faults(args.faults)
    seconds = 60.0 * _positive(args.minutes, "--minutes")
    setup = Setup(
        market=args.market,
        venue=args.venue,
        symbols=tuple(check_symbols(args.symbols)),
        accounts=load_accounts(_path(args.accounts)),
        seed=args.seed,
        rate_per_s=_positive(args.rate, "--rate"),
        speed=_positive(args.speed, "--speed"),
        host=args.bind,
        port=args.port,
        feeds=_path(args.feeds),
        state=_path(args.state),
    )

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with serving(setup) as up:
            _introduce(up, args)
            hurting = asyncio.create_task(up.server.schedule(planned))
            ends = [asyncio.create_task(stop.wait()), asyncio.create_task(up.exchange.ended.wait())]
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in (hurting, *ends):
                task.cancel()
            await asyncio.gather(hurting, *ends, return_exceptions=True)

    def _introduce(up: Serving, args: argparse.Namespace) -> None:
        accounts = [
            {"name": account.name, "arm": account.arm, "key": credentials.key}
            | ({"secret": credentials.secret} if credentials.generated else {})
            for account, credentials in up.accounts
        ]
        if args.json:
            sys.stdout.write(
                json.dumps({"url": up.server.url, "venue": args.venue, "accounts": accounts}) + "\n"
            )
        else:
            sys.stdout.write(_words(up.server.url, args, accounts))
        sys.stdout.flush()

    asyncio.run(main())


def _words(url: str, args: argparse.Namespace, accounts: list[dict[str, Any]]) -> str:
    """The first line is for a script; a secret is shown only where it was made for this session."""
    lines = [
        url,
        f"  REST {url}, streams and WebSocket API ws{url.removeprefix('http')}; ends in {args.minutes:g} min",
    ]
    for one in accounts:
        lines.append(f"  account {one['name']} (arm {one['arm']}): key {one['key']}")
        lines.append(f"    secret {one['secret']}" if "secret" in one else "    its secret is yours")
    return "\n".join(lines) + "\n"


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _positive(value: float, name: str) -> float:
    if not 0.0 < value <= 1e6:
        raise UserError(f"{name}: {value!r}; expected a number above 0")
    return value
