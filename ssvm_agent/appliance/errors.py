# SPDX-License-Identifier: Apache-2.0
"""What can go wrong when the machine is changed on behalf of the cloud."""

from __future__ import annotations

from ssvm_agent.errors import AgentError


class ApplianceError(AgentError):
    """The machine could not be brought into the wanted state."""

    code = "appliance"


class BadRequestError(ApplianceError):
    """What was asked for is not an address, a network, a user name or a certificate."""

    code = "appliance-input"
