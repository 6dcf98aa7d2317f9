# SPDX-License-Identifier: Apache-2.0
"""SecStorageFirewallCfgCommand: who may fetch from the copy area (storage-commands.md 3.3)."""

from __future__ import annotations

from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.messages.base import Answer
from ssvm_agent.messages.setup import SecStorageFirewallCfgCommand


@REGISTRY.command(SecStorageFirewallCfgCommand, Answer)
async def handle(command: SecStorageFirewallCfgCommand, services: Services) -> Answer:
    """Ports and interfaces play no part: the list guards one area of the web server."""
    addresses = [one.source_ip for one in command.port_configs if one.add and one.source_ip]
    if services.web is not None:
        await services.web.allow_copy_from(addresses, replace=not command.is_append)
    return Answer()
