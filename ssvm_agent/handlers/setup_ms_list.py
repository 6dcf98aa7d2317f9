# SPDX-License-Identifier: Apache-2.0
"""SetupMSListCommand: the management servers to use (agent-lifecycle.md 3.7)."""

from __future__ import annotations

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.agent import SetupMSListAnswer, SetupMSListCommand


@REGISTRY.command(SetupMSListCommand, SetupMSListAnswer, lane=Lane.CONTROL)
async def handle(command: SetupMSListCommand, services: Services) -> SetupMSListAnswer:
    """Hand the lists to the link."""
    services.link.apply_servers(
        command.ms_list or (),
        avoid=command.avoid_ms_list,
        algorithm=command.lb_algorithm,
        check_interval_s=command.lb_check_interval,
        check_now=bool(command.trigger_host_lb),
    )
    return SetupMSListAnswer()
