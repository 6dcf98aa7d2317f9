# SPDX-License-Identifier: Apache-2.0
"""SetupKeyStoreCommand: make a key pair and a signing request (agent-lifecycle.md 4.4)."""

from __future__ import annotations

import socket

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.host.network import interface
from ssvm_agent.masking import Secret
from ssvm_agent.messages.base import Answer, UnsupportedAnswer, class_name_of
from ssvm_agent.messages.certificates import SetupKeystoreAnswer, SetupKeyStoreCommand


@REGISTRY.command(SetupKeyStoreCommand, SetupKeystoreAnswer, lane=Lane.CONTROL)
async def handle(command: SetupKeyStoreCommand, services: Services) -> Answer:
    """The request's PEM text; the present key stays in use until its certificate comes."""
    if not command.handle_by_agent:
        return UnsupportedAnswer.to(class_name_of(command))
    request = await services.local_disk.call(_make_request, command, services)
    return SetupKeystoreAnswer(csr=request)


def _make_request(command: SetupKeyStoreCommand, services: Services) -> str:
    name = services.settings.name or socket.gethostname()
    facts = (interface(device) for _, device in socket.if_nameindex())
    addresses = (one.address for one in facts if one is not None)
    return services.keystore.make_request(
        name=name,
        names=(name, *addresses),
        offered=Secret(command.keystore_password or ""),
    )
