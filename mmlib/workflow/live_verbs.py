"""What ``record``, ``loopback`` and ``watch`` do, apart from parsing and printing."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmlib._io import UserError
from mmlib.workflow.params import check_symbols
from mmlib.workflow.warming import ensure, of_market


def record(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Record a live market until the time is over, or Ctrl-C or SIGTERM: text and JSON of what it came to.

    Raises:
        UserError: see `mmlib.market.live.recorder.record`.
    """
    from mmlib.engine.realtime.options import LiveUri
    from mmlib.market.live import recorder

    parsed = LiveUri.parse(args.source)
    venue = LiveUri(parsed.exchange, args.live_url or parsed.url).venue()
    seconds = None if args.minutes is None else 60.0 * _positive(args.minutes, "--minutes")
    symbols, path = check_symbols(args.symbols), Path(args.output).expanduser()

    async def main() -> recorder.Recorded:
        stop = asyncio.Event()
        _on_end(stop)
        return await recorder.record(venue, symbols, path, seconds=seconds, stop=stop)

    done = asyncio.run(main())
    errors = ", ".join(f"{code} {n}" for code, n in sorted(done.errors.items())) or "none"
    text = f"{done.path}: {done.lines:,} lines in {done.seconds:.0f} s, {done.size_bytes:,} bytes; errors: {errors}"
    return text, {**asdict(done), "path": str(done.path)}


def loopback(args: argparse.Namespace) -> None:
    """Serve a market on 127.0.0.1 until the time is over, the recording ends, or Ctrl-C or SIGTERM.

    Raises:
        UserError: unknown exchange, fault or source, or the port is taken.
    """
    from mmlib.market.live.venues import raw_venue_of
    from mmlib.market.loopback.faults import parse_faults
    from mmlib.market.loopback.flows import flow_of
    from mmlib.market.loopback.server import LoopbackExchange

    venue, planned = raw_venue_of(args.exchange), parse_faults(args.faults)
    seconds = 60.0 * _positive(args.minutes, "--minutes")
    rate, pace = _positive(args.rate, "--rate"), _positive(args.speed, "--speed")
    symbols = check_symbols(args.symbols)
    if args.source == "simulated":
        ensure(of_market(args.source))  # nobody who has connected waits for a kernel
    flows = {symbol: flow_of(args.source, symbol, seed=args.seed, rate_per_s=rate) for symbol in symbols}

    async def main() -> None:
        stop = asyncio.Event()
        _on_end(stop)
        async with LoopbackExchange(venue, flows, port=args.port, speed=pace) as served:
            sys.stdout.write(f"{served.url}\n")  # the first line is for a script
            sys.stdout.write(
                f"  --source live:{venue.name} --live-url {served.url}; ends in {args.minutes:g} min\n"
            )
            sys.stdout.flush()
            hurting = asyncio.create_task(served.schedule(planned))
            ends = [asyncio.create_task(stop.wait()), asyncio.create_task(served.finished())]
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in (hurting, *ends):
                task.cancel()
            await asyncio.gather(hurting, *ends, return_exceptions=True)

    try:
        asyncio.run(main())
    except OSError as exc:
        raise UserError(
            f"--port {args.port}: cannot be listened on ({exc.strerror}); expected a free one, or 0"
        ) from exc


def _on_end(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)


def _positive(value: float, name: str) -> float:
    if not 0.0 < value <= 1e6:
        raise UserError(f"{name}: {value!r}; expected a number above 0")
    return value
