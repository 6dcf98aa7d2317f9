# SPDX-License-Identifier: Apache-2.0
"""MigrateAgentConnectionCommand: move to another management server (agent-lifecycle.md 3.7)."""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.agent import MigrateAgentConnectionAnswer, MigrateAgentConnectionCommand


@REGISTRY.command(MigrateAgentConnectionCommand, MigrateAgentConnectionAnswer, lane=Lane.CONTROL)
async def handle(
    command: MigrateAgentConnectionCommand, services: Services
) -> MigrateAgentConnectionAnswer:
    """Answer at once; the link moves a little later, so that the answer is out."""
    services.link.migrate(
        command.ms_list,
        avoid=command.avoid_ms_list,
        algorithm=command.lb_algorithm,
        check_interval_s=command.lb_check_interval,
    )
    return MigrateAgentConnectionAnswer()
