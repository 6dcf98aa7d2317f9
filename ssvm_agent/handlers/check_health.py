# SPDX-License-Identifier: Apache-2.0
"""CheckHealthCommand: are you alive? (storage-commands.md 3.4)."""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.agent import CheckHealthAnswer, CheckHealthCommand


@REGISTRY.command(CheckHealthCommand, CheckHealthAnswer, lane=Lane.CONTROL, changes=False)
async def handle(command: CheckHealthCommand, services: Services) -> CheckHealthAnswer:  # noqa: ARG001 - the answer is the proof
    """That this answer is made says it."""
    return CheckHealthAnswer(details="resource is alive")
