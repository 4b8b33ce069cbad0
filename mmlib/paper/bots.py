"""A bot that is not ours as a process: started with addresses and keys in its environment, watched, and ended."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmlib._io import UserError, shipped_dir
from mmlib.paper.accounts import Account, Credentials
from mmlib.yamlfile import read_mapping

_GRACE_S = 5.0


class BotFile(BaseModel):
    """How a bot is started, as its file in ``params/bots`` says.

    Attributes:
        command: program and arguments, without a shell; ``{python}`` is this interpreter, ``{bots}`` the directory of the
            shipped bots, ``{rest}``, ``{ws}``, ``{symbols}``, ``{key}`` and ``{secret}`` what the exchange gives.
        env: variables beside ours, with the same placeholders.
        venue: whom it speaks to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    description: str = ""
    command: list[str] = Field(min_length=1)
    env: dict[str, str] = Field(default_factory=dict)
    venue: str = "binanceusdm"


def read_bot(named: str, ws: Path) -> BotFile:
    """A bot by the name of its file in ``params/bots``, by the path of such a file, or as a command.

    Raises:
        UserError: a file that cannot be read, or neither a file nor a command.
    """
    path = ws / "params" / "bots" / f"{named}.yaml"
    if not path.is_file():
        path = Path(named).expanduser()
    if path.suffix in (".yaml", ".yml"):
        try:
            return BotFile.model_validate(read_mapping(path).tree)
        except ValidationError as exc:
            first = exc.errors()[0]
            raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from exc
    try:
        command = shlex.split(named)
    except ValueError as exc:
        raise UserError(f"--bot {named!r}: no command ({exc})") from exc
    if not command:
        raise UserError("--bot: nothing given; expected a name of params/bots or a command")
    return BotFile(command=command)


@dataclass
class Bot:
    """One bot at work.

    Attributes:
        returncode: of its process; None while it runs.
        memory_mb: resident memory of it and whatever it started, as last measured [MB]; NaN before.
    """

    file: BotFile
    account: Account
    credentials: Credentials
    log: Path
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    memory_mb: float = float("nan")

    @property
    def returncode(self) -> int | None:
        """See the class."""
        return None if self.process is None else self.process.returncode

    async def start(self, rest: str, symbols: tuple[str, ...]) -> None:
        """Start it.

        Raises:
            UserError: the program cannot be started.
        """
        given = {
            "rest": rest,
            "ws": f"ws{rest.removeprefix('http')}",
            "symbols": ",".join(symbols),
            "key": self.credentials.key,
            "secret": self.credentials.secret,
            "python": sys.executable,
            "bots": str(shipped_dir("params") / "bots"),
        }
        named = {
            f"FINISHLINE_{name.upper()}": given[name] for name in ("rest", "ws", "symbols", "key", "secret")
        }
        env = {**os.environ, **named, "FINISHLINE_ARM": self.account.arm}
        command = [_filled(part, given) for part in self.file.command]
        env |= {name: _filled(text, given) for name, text in self.file.env.items()}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            try:
                self.process = await asyncio.create_subprocess_exec(
                    *command,
                    env=env,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as exc:
                raise UserError(
                    f"--bot: {command[0]!r} cannot be started ({exc.strerror}); expected a program"
                ) from exc

    async def ended(self) -> int:
        """Wait until it ends by itself."""
        assert self.process is not None
        return await self.process.wait()

    async def end(self) -> None:
        """End it and whatever it started: asked first, then killed."""
        if self.process is None:
            return
        if self.process.returncode is None:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await self.process.wait()
        self._signal(signal.SIGKILL)
        await self.process.wait()

    async def measure(self) -> None:
        """Measure its memory every second, beside the exchange's own work."""
        while True:
            self.memory_mb = await asyncio.to_thread(self._memory_mb)
            await asyncio.sleep(1.0)

    def _memory_mb(self) -> float:
        if self.process is None or self.process.returncode is not None:
            return float("nan")
        try:
            whole = psutil.Process(self.process.pid)
            return float(sum(one.memory_info().rss for one in (whole, *whole.children(recursive=True))) / 1e6)
        except psutil.Error:
            return float("nan")

    def facts(self) -> dict[str, Any]:
        """Builtin types, for the sidecar; no key, no secret."""
        return {"command": list(self.file.command), "account": self.account.name, "arm": self.account.arm,
                "returncode": self.returncode, "log": self.log.name}  # fmt: skip

    def _signal(self, number: int) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def _filled(text: str, given: dict[str, str]) -> str:
    """A text with its placeholders filled; other braces stay as they are."""
    for name, value in given.items():
        text = text.replace("{" + name + "}", value)
    return text
