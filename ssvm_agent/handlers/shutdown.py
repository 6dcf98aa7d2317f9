# SPDX-License-Identifier: Apache-2.0
"""ShutdownCommand of the server: do not come back (agent-lifecycle.md 3.5)."""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.agent import ShutdownCommand
from ssvm_agent.messages.base import Answer


@REGISTRY.command(ShutdownCommand, Answer, lane=Lane.CONTROL)
async def handle(command: ShutdownCommand, services: Services) -> Answer:
    """The link stays as it is; when it ends, no new one is made."""
    services.link.forbid_reconnect()
    if command.remove_host:
        await services.local_disk.call(services.state.blank_placement)
    return Answer()
