"""What ``exchange`` does, apart from parsing."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError, write_json
from mmlib.workflow.params import check_symbols
from mmlib.workflow.warming import ensure, of_market

if TYPE_CHECKING:
    from mmlib.paper.setup import Serving

KEYS = Path("artifacts") / "paper" / "keys.json"
"""Below the workspace: account -> key and generated secret, for its owner's eyes."""


def serve(args: argparse.Namespace) -> None:
    """Serve a paper exchange until the time is over, the recording ends, or Ctrl-C or SIGTERM.

    Raises:
        UserError: unknown venue, market or fault, a file that cannot be read or written, or the port is taken.
    """
    from mmlib.market.loopback.faults import parse_faults
    from mmlib.paper.accounts import load_accounts
    from mmlib.paper.setup import Setup, serving

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

    ensure(of_market(setup.market, "exchange"))

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

    asyncio.run(main())


def check(args: argparse.Namespace) -> tuple[str, list[dict[str, Any]], int]:
    """Hold an endpoint against the contract: text, JSON and exit code (1 where a rule does not hold).

    Raises:
        UserError: no address, an unknown venue, or more than one symbol.
    """
    from mmlib.paper.conformance import Contract

    symbols = check_symbols(args.symbols)
    if len(symbols) != 1:
        raise UserError(f"--symbols {args.symbols}: expected one symbol to check with")
    key, secret = (os.environ.get(f"FINISHLINE_{name}", "") for name in ("KEY", "SECRET"))
    done = asyncio.run(Contract(args.check, args.venue, symbols[0], key, secret).check())
    words = {True: "holds", False: "FAILS", None: "not looked at"}
    lines = [f"{words[one.holds]:<14}{one.rule}" + ("" if one.holds else f": {one.found}") for one in done]
    failed = sum(one.holds is False for one in done)
    lines.append(f"{len(done)} rules, {failed} fail, {sum(one.holds is None for one in done)} not looked at")
    return "\n".join(lines), [one.to_dict() for one in done], 1 if failed else 0


def _introduce(up: Serving, args: argparse.Namespace) -> None:
    """Say where it listens and where keys and secrets are; a secret itself is never printed."""
    keys = _keep_keys(up, Path(args.workspace).expanduser() / KEYS)
    accounts = [
        {"name": one.name, "arm": one.arm, "key": credentials.key} for one, credentials in up.accounts
    ]
    url = up.server.url
    if args.json:
        said = {"url": url, "venue": args.venue, "keys": str(keys), "accounts": accounts}
        sys.stdout.write(json.dumps(said) + "\n")
    else:
        lines = [url]  # the first line is for a script
        lines.append(
            f"  REST {url}, streams and WebSocket API ws{url.removeprefix('http')}; ends in {args.minutes:g} min"
        )
        lines += [f"  account {one['name']}, arm {one['arm']}: key {one['key']}" for one in accounts]
        lines.append(f"  keys and generated secrets: {keys}")
        sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _keep_keys(up: Serving, path: Path) -> Path:
    """Write keys and generated secrets where only their owner reads them."""
    held = {
        one.name: {"key": credentials.key, "secret": credentials.secret if credentials.generated else ""}
        for one, credentials in up.accounts
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(path, held)
    path.chmod(0o600)
    return path.absolute()


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _positive(value: float, name: str) -> float:
    if not 0.0 < value <= 1e6:
        raise UserError(f"{name}: {value!r}; expected a number above 0")
    return value
