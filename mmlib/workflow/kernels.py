"""Kernels that begin with everything imported: forked from a process that has done so once for all notebooks of a run.

A kernel that starts an interpreter of its own and imports what a notebook needs takes two seconds of processor time, a forked
one a few hundredths. The process that forks (multiprocessing's fork server) runs nothing but imports; a kernel gets its
environment, directory and session from whoever starts it, and ends when that one does, however it ended.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from mmlib.engine.orphan import end_with_parent
from mmlib.engine.processes import reuse_fork_server, started

CONTEXT = multiprocessing.get_context("forkserver")
PROVISIONER = "finishline-forked"
"""Name in a kernel's specification that has it started here."""
_NAME = "finishline-kernel"
_LOOK_S, _ANSWER_S = 0.01, 1.0


def register() -> None:
    """Make the name known to jupyter_client, which knows provisioners by their entry points."""
    entry = EntryPoint(PROVISIONER, f"{__name__}:{Forked.__name__}", KernelProvisionerFactory.GROUP_NAME)
    KernelProvisionerFactory.provisioners[PROVISIONER] = entry


class Kernel:
    """A forked process that is a kernel; for jupyter_client a process like any other."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], env: Mapping[str, str], cwd: str) -> None:
        given = (arguments, dict(env), cwd)
        self._process = started(lambda: CONTEXT.Process(target=_serve, args=given, name=_NAME))
        self.pid = int(self._process.pid or 0)

    def poll(self) -> int | None:
        """None while it lives, then its exit code."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """Wait for its end."""
        self._process.join()
        return self.poll()

    def send_signal(self, signum: int) -> None:
        """Send a signal while it lives."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()


class Forked(LocalProvisioner):
    """Starts a kernel by a fork; everything else is as for a kernel that is a process of its own."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Let a forked process be the kernel that ``cmd`` (``python -m ipykernel_launcher ARGUMENTS``) would start."""
        cwd = str(kwargs.get("cwd") or Path.cwd())
        self.process = Kernel(cmd[3:], kwargs["env"], cwd)
        self.pid = self.pgid = self.process.pid
        self.cwd = Path(cwd)
        return self.connection_info

    async def wait(self) -> int | None:
        """Wait for the kernel's end, looking often: every notebook waits here when it is done."""
        while await self.poll() is None:
            await asyncio.sleep(_LOOK_S)
        return await super().wait()


class Client(AsyncKernelClient):
    """Talks to a kernel as soon as it answers."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers on both channels that a notebook needs.

        The inherited one then waits for a fifth of a second of silence; nbclient passes over what is not meant for it.

        Raises:
            RuntimeError: the kernel has died, or did not answer in ``timeout`` seconds.
        """
        until = time.monotonic() + (math.inf if timeout is None else timeout)
        while True:
            self.kernel_info()
            with suppress(Empty):
                await self.get_shell_msg(timeout=_ANSWER_S)
                await self.get_iopub_msg(timeout=_ANSWER_S)
                return
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > until:
                raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")


def end_all() -> None:
    """End what kernels there still are, such as one that was starting when the run was interrupted."""
    for process in _running():
        process.kill()
        process.join()


def interrupt_all() -> None:
    """Send Ctrl-C to every kernel; what it means there is for the cell to say."""
    for process in _running():
        if process.pid is not None:
            os.kill(process.pid, signal.SIGINT)


def _running() -> list[BaseProcess]:
    return [process for process in multiprocessing.active_children() if process.name == _NAME]


def _serve(arguments: list[str], env: Mapping[str, str], cwd: str) -> None:
    """A kernel's process: leads a group of its own, so that a signal reaches what it starts, and nobody else."""
    os.setsid()
    end_with_parent()
    reuse_fork_server()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    from ipykernel.kernelapp import IPKernelApp

    sys.argv = ["ipykernel_launcher", *arguments]
    IPKernelApp.launch_instance()
