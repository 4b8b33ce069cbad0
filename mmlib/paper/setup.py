"""A paper exchange from what a command line or a step says: markets, accounts, files, and the server on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from mmlib._io import UserError
from mmlib.market.opening import open_source
from mmlib.paper.accounts import Account, Credentials
from mmlib.paper.evidence import Evidence
from mmlib.paper.exchange import PaperExchange
from mmlib.paper.journal import Journal
from mmlib.paper.kit import Kit, kit_of
from mmlib.paper.server import HOST, PaperServer
from mmlib.paper.timeline import Timeline


@dataclass(frozen=True)
class Setup:
    """What to serve.

    Attributes:
        market: ``simulated`` or ``recording:PATH``.
        start_ns: where simulated time begins; None for the simulator's own.
        speed: market seconds a second.
        feeds: where fills, ticks and orders are written; None for nowhere.
        state: where accounts survive; None for nowhere.
        instruments: symbol to tick and lot size, over what the market suggests.
        sources: ``market`` options of the simulator, such as its rate.
        deadline_ms: see `Evidence`.
    """

    market: str
    venue: str
    symbols: tuple[str, ...]
    accounts: tuple[Account, ...]
    seed: int = 7
    start_ns: int | None = None
    rate_per_s: float | None = 20.0
    simulated: dict[str, Any] | None = None
    speed: float = 1.0
    host: str = HOST
    port: int = 0
    feeds: Path | None = None
    state: Path | None = None
    instruments: dict[str, tuple[float, float]] | None = None
    latency: dict[str, Any] | None = None
    deadline_ms: float = 200.0
    quarantine: Path | None = None


@dataclass
class Serving:
    """An exchange that is up.

    Attributes:
        accounts: with their keys and secrets, in the order of the file.
        tasks: of those who watch it; they are held until it ends.
    """

    server: PaperServer
    kit: Kit
    accounts: Sequence[tuple[Account, Credentials]]
    timelines: dict[str, Timeline]
    evidence: Evidence | None
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def exchange(self) -> PaperExchange:
        """What is served."""
        return self.server.exchange


@asynccontextmanager
async def serving(setup: Setup) -> AsyncIterator[Serving]:
    """Serve until the block ends. Nothing is listened on before every kernel is there.

    Raises:
        UserError: a market that cannot be read, an unknown venue, an address that others reach while a secret was generated, a
            state or feeds directory that cannot be used, or a port that is taken.
    """
    kit = kit_of(setup.venue)
    journal = Journal(setup.state) if setup.state is not None else None
    known = Credentials if journal is None else journal.credentials
    accounts = [(account, known(account)) for account in setup.accounts]
    _check_address(setup.host, accounts)
    reader = ThreadPoolExecutor(1, thread_name_prefix="market")
    evidence: Evidence | None = None
    try:
        since_ns = None if journal is None else journal.market_ns()
        timelines = {symbol: _timeline(setup, symbol, reader, since_ns) for symbol in setup.symbols}
        exchange = PaperExchange(kit.money, timelines, accounts, speed=setup.speed, journal=journal)
        if setup.feeds is not None:
            evidence = Evidence(
                setup.feeds, setup.symbols, deadline_ms=setup.deadline_ms, source=str(exchange.grade)
            )
            exchange.witness = evidence
        server = PaperServer(exchange, kit, host=setup.host, port=setup.port)
        try:
            async with server:
                yield Serving(server, kit, accounts, timelines, evidence)
        except OSError as exc:
            raise UserError(
                f"port {setup.port}: cannot be listened on ({exc.strerror}); expected a free one, or 0"
            ) from exc
    finally:
        if evidence is not None:
            evidence.close()
        if journal is not None:
            journal.close()
        reader.shutdown(cancel_futures=True)


def _timeline(setup: Setup, symbol: str, reader: ThreadPoolExecutor, since_ns: int | None) -> Timeline:
    """The market of a symbol; where accounts survived, it goes on from their last change."""
    market = {**({"rate_per_s": setup.rate_per_s} if setup.rate_per_s else {}), **(setup.simulated or {})}
    source = open_source(
        setup.market,
        symbol,
        seed=setup.seed,
        start_ns=setup.start_ns,
        instruments=setup.instruments,
        latency=setup.latency,
        market=market if setup.market == "simulated" else None,
        quarantine_dir=setup.quarantine,
    )
    return Timeline(source, reader, since_ns)


def _check_address(host: str, accounts: Sequence[tuple[Account, Credentials]]) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        raise UserError(f"--bind {host!r}: expected an IP address such as 127.0.0.1") from None
    made = [account.name for account, credentials in accounts if credentials.generated]
    if not address.is_loopback and made:
        raise UserError(
            f"--bind {host}: others reach it, and the secret of {', '.join(made)} was generated; expected secret_env or "
            "public_key for every account"
        )
