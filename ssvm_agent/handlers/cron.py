# SPDX-License-Identifier: Apache-2.0
"""Commands that repeat at an interval: accepted, and without effect here (agent-lifecycle.md 3.5).

The only one there is watches the load of a console proxy.
"""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.agent import WatchConsoleProxyLoadCommand
from ssvm_agent.messages.base import Answer


@REGISTRY.command(WatchConsoleProxyLoadCommand, Answer, lane=Lane.CONTROL, changes=False)
async def handle(command: WatchConsoleProxyLoadCommand, services: Services) -> Answer:  # noqa: ARG001 - see the module
    """Accept it, as the server expects."""
    return Answer()
