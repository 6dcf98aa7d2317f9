# SPDX-License-Identifier: Apache-2.0
"""A management server that is a process of its own: it can be killed, and frozen, as one."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from tests.vm.lab.owned import owned

_REPOSITORY = Path(__file__).parents[3]


class ServerProcess:
    """``ssvm-sim serve``, at a fixed address.

    Args:
        address: Where agents connect to.
        stores: URLs of the image stores.
    """

    def __init__(self, address: str, stores: list[str]) -> None:
        self._argv = [sys.executable, "-m", "ssvm_agent.simulator.cli", "serve"]
        self._argv += ["--listen", address, *(f"--store={url}" for url in stores)]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it."""
        self._process = await asyncio.create_subprocess_exec(
            *owned(*self._argv),
            cwd=_REPOSITORY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    async def kill(self) -> None:
        """End it without a word."""
        process = self._running
        self._process = None
        process.kill()
        await process.wait()

    def freeze(self) -> None:
        """Its sockets stay open and nothing moves."""
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after :meth:`freeze`."""
        self._running.send_signal(signal.SIGCONT)

    async def order(self, **order: Any) -> dict[str, Any]:
        """Carry out one order; its result."""
        process = self._running
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"id": "asked", **order}).encode() + b"\n")
        await process.stdin.drain()
        while line := await process.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            if said.get("id") == "asked":
                return said
        raise EOFError("The management server has ended.")

    async def healthy(self) -> bool:
        """Whether an agent is Up and answers a question asked now."""
        said = await self.order(command="CheckHealthCommand", fields={})
        return "answers" in said

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "it does not run"
        return self._process
