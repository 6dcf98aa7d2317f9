# SPDX-License-Identifier: Apache-2.0
"""ReadyCommand: the server has set this host up, or refuses it (agent-lifecycle.md 2.5, 5.1)."""

from __future__ import annotations

import logging
from typing import Final

from ssvm_agent import log
from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.host.network import architecture
from ssvm_agent.messages.agent import ReadyAnswer, ReadyCommand

_LOGGER: Final = logging.getLogger(__name__)


@REGISTRY.command(ReadyCommand, ReadyAnswer, lane=Lane.CONTROL, changes=False)
async def handle(command: ReadyCommand, services: Services) -> ReadyAnswer | None:
    """Tell the link; a refusal is not answered (agent-lifecycle.md 5.1)."""
    if command.details is not None:
        services.link.refused(command.details)
        return None
    if command.arch and command.arch != architecture():
        log.event(_LOGGER, logging.ERROR, "the server takes this machine for another one",
                  server_says=command.arch, machine=architecture())  # fmt: skip
    services.link.ready(
        host_id=command.host_id,
        host_uuid=command.host_uuid,
        host_name=command.host_name,
        servers=command.ms_host_list,
        avoid=command.avoid_ms_host_list,
        algorithm=command.lb_algorithm,
        check_interval_s=command.lb_check_interval,
    )
    return ReadyAnswer()
