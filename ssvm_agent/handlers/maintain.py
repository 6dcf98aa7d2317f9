# SPDX-License-Identifier: Apache-2.0
"""MaintainCommand: enter maintenance (agent-lifecycle.md 3.5)."""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.agent import MaintainAnswer, MaintainCommand


@REGISTRY.command(MaintainCommand, MaintainAnswer, lane=Lane.CONTROL, changes=False)
async def handle(command: MaintainCommand, services: Services) -> MaintainAnswer:  # noqa: ARG001 - there is nothing to do
    """Nothing runs here that would have to leave first."""
    return MaintainAnswer(will_migrate=True)
