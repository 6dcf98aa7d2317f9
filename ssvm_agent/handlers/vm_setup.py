# SPDX-License-Identifier: Apache-2.0
"""SecStorageVMSetupCommand: internal sites and the copy user (storage-commands.md 3.2)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from ssvm_agent.appliance.errors import BadRequestError
from ssvm_agent.appliance.routes import check_network
from ssvm_agent.errors import AgentError
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.masking import Secret
from ssvm_agent.messages.base import Answer
from ssvm_agent.messages.setup import SecStorageVMSetupCommand


@REGISTRY.command(SecStorageVMSetupCommand, Answer)
async def handle(command: SecStorageVMSetupCommand, services: Services) -> Answer:
    """Sites first; the copy user only when all sites were allowed.

    One that cannot be allowed keeps downloads from no other (R10).
    """
    sites = command.allowed_internal_sites or []
    services.jobs.tools.guard.allow_internal_sites(_networks(sites))
    await services.appliance.allow_internal_sites(sites)
    if services.web is not None and command.copy_user_name and command.copy_password:
        password = Secret(command.copy_password)
        try:
            await services.web.configure_copy_auth(command.copy_user_name, password)
        except AgentError as error:
            reason = error.for_operators()
            return Answer(result=False, details=f"Failed to configure auth for copy {reason}")
    # Compat: storage-commands.md 3.2, success has an empty text.
    return Answer(details="")


def _networks(sites: Iterable[str]) -> list[str]:
    """Those that are networks; of the others the appliance says what is wrong."""
    found = []
    for site in sites:
        with contextlib.suppress(BadRequestError):
            found.append(str(check_network(site)))
    return found
