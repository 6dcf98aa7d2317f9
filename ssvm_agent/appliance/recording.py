# SPDX-License-Identifier: Apache-2.0
"""The appliance of a machine the agent must not change: it notes what would have been done.

Used outside a system VM (development, demo, tests). Input is checked like on a system VM, so a
command that would fail there fails here too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from ssvm_agent import log
from ssvm_agent.appliance.routes import check_network
from ssvm_agent.masking import Secret

_LOGGER: Final = logging.getLogger(__name__)


class RecordingAppliance:
    """Remembers every request; see :class:`~ssvm_agent.appliance.base.Appliance`.

    Attributes:
        actions: One line for each request, without secrets, oldest first.
    """

    def __init__(self) -> None:
        self.actions: list[str] = []
        self._upload_key: Secret | None = None

    @property
    def upload_key(self) -> Secret | None:
        """The key last set."""
        return self._upload_key

    async def prepare(self) -> None:
        """Note it."""
        self._note("prepare")

    async def route_to_storage(self, address: str) -> None:
        """Note it."""
        self._note(f"route to storage {address}")

    async def remember_store_address(self, address: str) -> None:
        """Note it."""
        self._note(f"store address {address}")

    async def allow_internal_sites(self, cidrs: Sequence[str]) -> None:
        """Note it."""
        for cidr in cidrs:
            self._note(f"allow internal site {check_network(cidr)}")

    async def set_upload_key(self, key: Secret) -> None:
        """Keep it and note that there is one."""
        self._upload_key = key
        self._note("upload key" if key else "no upload key")

    async def trust_cloud_ca(self, certificates: str) -> None:
        """Note how many there are."""
        self._note(f"trust {certificates.count('-----BEGIN CERTIFICATE-----')} CA certificates")

    def _note(self, action: str) -> None:
        self.actions.append(action)
        log.event(_LOGGER, logging.DEBUG, "machine left as it is", asked=action)
