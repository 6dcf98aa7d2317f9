# SPDX-License-Identifier: Apache-2.0
"""The agent-control family: offered to listeners, of which an SSVM has none (agent-lifecycle 3.5).

Each class of the family is entered by itself, because commands are looked up by their exact class.
"""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.agent import (
    AgentControlAnswer,
    AgentControlCommand,
    ConsoleAccessAuthenticationCommand,
    ConsoleProxyLoadReportCommand,
)


async def handle(command: AgentControlCommand, services: Services) -> AgentControlAnswer:  # noqa: ARG001 - nobody listens
    """Nobody listens; the answer says it arrived."""
    return AgentControlAnswer()


for _command in (
    AgentControlCommand,
    ConsoleAccessAuthenticationCommand,
    ConsoleProxyLoadReportCommand,
):
    REGISTRY.command(_command, AgentControlAnswer, lane=Lane.CONTROL, changes=False)(handle)
