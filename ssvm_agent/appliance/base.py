# SPDX-License-Identifier: Apache-2.0
"""What the agent may ask of the machine it runs on, in CloudStack's terms.

Handlers talk to this interface only. On a system VM it is implemented by
:class:`~ssvm_agent.appliance.systemvm.SystemVmAppliance`; elsewhere
:class:`~ssvm_agent.appliance.recording.RecordingAppliance` notes what would have been done. The
interface knows no commands, answers or JSON. What the public sees is the business of ``web``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ssvm_agent.masking import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class WebCertificate:
    """The public certificate of the cloud (storage-commands.md 3.1 ``certs``), PEM texts."""

    key: Secret
    certificate: str
    chain: str = ""
    root: str = ""


class Appliance(Protocol):
    """Everything is idempotent: asking twice changes nothing (R27).

    Methods raise :class:`~ssvm_agent.appliance.errors.ApplianceError` when the wanted state was not
    reached, except where they say otherwise.
    """

    @property
    def upload_key(self) -> Secret | None:
        """The key for signed uploads, once a server has sent one."""
        ...

    async def prepare(self) -> None:
        """Bring the machine into the state the agent needs before it connects.

        Routes to management servers and internal DNS, and the packet filter (storage-commands.md
        2). Single failures are logged, not raised: a missing route must not keep the agent from
        connecting where it can.
        """
        ...

    async def route_to_storage(self, address: str) -> None:
        """Reach a store's address through the storage gateway, unless it is on-link (R10).

        Never raises for a failed route: the mount that follows tells the truth.
        """
        ...

    async def remember_store_address(self, address: str) -> None:
        """Exempt an address from the internal-site rules: stores have their own route."""
        ...

    async def allow_internal_sites(self, cidrs: Sequence[str]) -> None:
        """Let the agent connect to these internal networks (storage-commands.md 3.2)."""
        ...

    async def set_upload_key(self, key: Secret) -> None:
        """Take a new key for signed uploads (storage-commands.md 3.1); in use at once."""
        ...

    async def trust_cloud_ca(self, certificates: str) -> None:
        """Add the cloud's CA (PEM texts) to the trust of the system (agent-lifecycle.md 4.1)."""
        ...
