# SPDX-License-Identifier: Apache-2.0
"""SetupCertificateCommand: a certificate for the link (agent-lifecycle.md 4.4, requirements R2)."""

from __future__ import annotations

import logging
from typing import Final

from ssvm_agent import log
from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.errors import AgentError
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.masking import Secret
from ssvm_agent.messages.base import Answer, UnsupportedAnswer, class_name_of
from ssvm_agent.messages.certificates import SetupCertificateAnswer, SetupCertificateCommand

_LOGGER: Final = logging.getLogger(__name__)


@REGISTRY.command(SetupCertificateCommand, SetupCertificateAnswer, lane=Lane.CONTROL)
async def handle(command: SetupCertificateCommand, services: Services) -> Answer:
    """Check, write and read back; the next connect uses it.

    Differs: agent-lifecycle.md 4.4, a failure keeps the answer class the server expects.
    """
    if not command.handle_by_agent:
        return UnsupportedAnswer.to(class_name_of(command))
    installed = await services.local_disk.call(
        services.keystore.install,
        certificate=command.certificate or "",
        private_key=Secret(command.private_key or ""),
        ca_certificates=command.ca_certificates or "",
        now=services.clock.now(),
    )
    log.event(_LOGGER, logging.INFO, "certificate installed", subject=installed.subject,
              not_after=installed.not_after.isoformat())  # fmt: skip
    try:
        await services.appliance.trust_cloud_ca(installed.ca_pem)
    except AgentError as error:
        # The link reads its own copy of the CA; the system's trust is for other programs.
        log.event(_LOGGER, logging.WARNING, "CA not added to the trust of the system",
                  reason=error.for_operators())  # fmt: skip
    return SetupCertificateAnswer()
