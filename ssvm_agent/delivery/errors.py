# SPDX-License-Identifier: Apache-2.0
"""What can go wrong when keys and certificates are brought to a system VM."""

from __future__ import annotations

from ssvm_agent.errors import AgentError


class DeliveryError(AgentError):
    """Something could not be brought to a system VM."""

    code = "delivery"


class UsageError(DeliveryError):
    """The arguments are not what the script takes."""

    code = "usage"
