# SPDX-License-Identifier: Apache-2.0
"""Whether management servers can be reached: a TCP connection, nothing said."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ssvm_agent.bootargs import BootArgs
from ssvm_agent.host.pools import WorkPool

DEFAULT_PORT: Final = 8250
_DEADLINE_S: Final = 3.0

Probe = Callable[["Sequence[Server]"], Awaitable["frozenset[Server]"]]


@dataclass(frozen=True, slots=True, order=True)
class Server:
    """A management server's address or name, and its port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def servers_of(boot: BootArgs) -> tuple[Server, ...]:
    """The management servers the text names."""
    text = (boot.get("port") or "").strip()
    valid = text.isascii() and text.isdigit() and 0 < int(text) < 65536
    port = int(text) if valid else DEFAULT_PORT
    names = (boot.get("host") or "").partition("@")[0].split(",")
    return tuple(Server(name.strip(), port) for name in names if name.strip())


async def reachable(servers: Sequence[Server]) -> frozenset[Server]:
    """Those that take a connection within three seconds."""
    # Names are looked up in threads nobody waits for: early in a boot that may take half a minute.
    names = WorkPool("names", threads=max(1, len(servers)))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {one: group.create_task(_takes_connection(one, names)) for one in servers}
    finally:
        names.close()
    return frozenset(server for server, task in tasks.items() if task.result())


async def _takes_connection(server: Server, names: WorkPool) -> bool:
    try:
        async with asyncio.timeout(_DEADLINE_S):
            found = await names.call(
                socket.getaddrinfo, server.host, server.port, type=socket.SOCK_STREAM
            )
            # The first address is the one the agent would take, too.
            _, writer = await asyncio.open_connection(*found[0][4][:2])
    except (OSError, ValueError):
        # Refused, unreachable, no such name, too late; ValueError: the name cannot be encoded.
        return False
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_DEADLINE_S):
            await writer.wait_closed()
    return True
