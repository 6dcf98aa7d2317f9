# SPDX-License-Identifier: Apache-2.0
"""Telling the boot that is waited for from what came before it."""

from __future__ import annotations

from ssvm_agent.simulator.errors import NoAgentError
from ssvm_agent.simulator.model import HostStatus
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.session import Session


def session_of(server: ManagementServer, name: str | None = None) -> Session | None:
    """The session a host has now; None when it has none."""
    try:
        return server.session(name)
    except NoAgentError:
        return None


async def up_anew(
    server: ManagementServer, before: Session | None, deadline_s: float, name: str | None = None
) -> None:
    """Wait until a host is Up by another session than before.

    A guest whose power was cut stays Up for the server for a while, and a boot tries the server's
    port before there is an agent: neither its status nor a connection is enough.
    """

    def is_up() -> bool:
        session = session_of(server, name)
        return (
            session is not None
            and session is not before
            and server.host(name).status is HostStatus.UP
        )

    await server.wait_until(is_up, deadline_s)
