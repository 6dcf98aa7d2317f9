# SPDX-License-Identifier: Apache-2.0
"""The appliance of a real system VM: packet filter, routes, trusted CAs, the upload key's file.

What is wanted is declared elsewhere as data (:mod:`~ssvm_agent.appliance.firewall`,
:mod:`~ssvm_agent.appliance.routes`); here it is compared with what is and applied, one request at a
time. File work runs in a pool, programs through the runner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent import log
from ssvm_agent.appliance import firewall, routes
from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.config.settings import Settings
from ssvm_agent.errors import AgentError
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.masking import Secret

_LOGGER: Final = logging.getLogger(__name__)
_TRUST_DEADLINE_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPaths:
    """Where a system VM keeps things; other values are for tests."""

    upload_key: Path = Path("/etc/cloudstack/agent/ms-psk")
    trusted_ca: Path = Path("/usr/local/share/ca-certificates/cloudstack/ca.crt")


class SystemVmAppliance:
    """Changes the machine; see :class:`~ssvm_agent.appliance.base.Appliance`."""

    def __init__(
        self,
        *,
        settings: Settings,
        runner: Runner,
        disk: WorkPool,
        paths: SystemPaths | None = None,
    ) -> None:
        self._settings = settings
        self._networks = settings.networks
        self._runner = runner
        self._disk = disk
        self._paths = paths or SystemPaths()
        self._lock = asyncio.Lock()
        self._stores: set[routes.Network] = set()
        self._upload_key: Secret | None = None

    @property
    def upload_key(self) -> Secret | None:
        """The key last set, or the one an earlier run left."""
        return self._upload_key

    async def prepare(self) -> None:
        """Routes and packet filter; each on its own, failures are logged."""
        async with self._lock:
            for address in (*self._settings.management_servers, *self._networks.internal_dns):
                await self._try("route", self._route, address, self._networks.local_gateway)
            await self._try("packet filter", self._filter, self._machine_rules())
            await self._try("upload key", self._take_stored_upload_key)

    async def route_to_storage(self, address: str) -> None:
        """Through the storage gateway; a failure is logged."""
        async with self._lock:
            await self._try("route", self._route, address, self._networks.storage_gateway)

    async def remember_store_address(self, address: str) -> None:
        """Keep it for :meth:`allow_internal_sites`."""
        self._stores.add(routes.check_network(address))

    async def allow_internal_sites(self, cidrs: Sequence[str]) -> None:
        """A filter rule and a route for each; all are tried before one failure is told."""
        failures: list[str] = []
        async with self._lock:
            for text in cidrs:
                try:
                    await self._allow_site(text)
                except AgentError as error:
                    failures.append(
                        f"Error in allowing outgoing to {text}: {error.for_operators()}"
                    )
        if failures:
            raise ApplianceError(", ".join(failures))

    async def set_upload_key(self, key: Secret) -> None:
        """In memory at once, and in the file the stock software uses (storage-commands.md 3.1)."""
        self._upload_key = key or None
        async with self._lock:
            data = key.reveal().encode()
            await self._disk.call(self._write, self._paths.upload_key, data, 0o600)

    async def trust_cloud_ca(self, certificates: str) -> None:
        """The CA file of the system and the bundle made from it, when it changed."""
        async with self._lock:
            data = certificates.encode()
            if await self._disk.call(self._write, self._paths.trusted_ca, data, 0o644):
                await self._runner.run(["update-ca-certificates"], deadline_s=_TRUST_DEADLINE_S)

    async def _try(self, what: str, step: Callable[..., Awaitable[object]], *args: object) -> None:
        try:
            await step(*args)
        except (AgentError, OSError) as error:
            reason = error.for_operators() if isinstance(error, AgentError) else str(error)
            log.event(_LOGGER, logging.WARNING, "machine not as wanted", step=what, reason=reason)

    async def _route(self, address: str, gateway: str) -> None:
        try:
            destination = routes.check_network(address)
        except ApplianceError:
            # Names are reached by whatever route their address has (storage-commands.md 2).
            log.event(_LOGGER, logging.DEBUG, "no route for a name", name=address)
            return
        await self._route_network(destination, gateway)

    async def _route_network(self, destination: routes.Network, gateway: str) -> None:
        table = await routes.read_table(destination.version, self._runner)
        wanted = routes.plan(destination, gateway, table)
        if wanted is not None:
            await routes.apply(wanted, self._runner)
            log.event(_LOGGER, logging.INFO, "route set", to=destination, via=gateway,
                      device=wanted.device)  # fmt: skip

    async def _filter(self, rules: Sequence[firewall.Rule]) -> None:
        for rule in await firewall.apply(rules, self._runner):
            log.event(_LOGGER, logging.INFO, "filter rule added", chain=rule.chain,
                      rule=" ".join(rule.match))  # fmt: skip

    async def _allow_site(self, text: str) -> None:
        network = routes.check_network(text)
        if network in self._stores:
            return
        device = self._networks.private_device
        await self._filter([firewall.internal_site(network, private_device=device)])
        await self._route_network(network, self._networks.local_gateway)

    async def _take_stored_upload_key(self) -> None:
        text = await self._disk.call(_read, self._paths.upload_key)
        self._upload_key = Secret(text) if text else None

    def _machine_rules(self) -> tuple[firewall.Rule, ...]:
        return firewall.machine_rules(
            public_device=self._networks.public_device,
            private_device=self._networks.private_device,
        )

    def _write(self, path: Path, data: bytes, mode: int) -> bool:
        """Write when different; tells whether it was."""
        try:
            if path.is_file() and path.read_bytes() == data:
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, data, mode=mode)
        except OSError as error:
            raise ApplianceError(f"{path} cannot be written: {error.strerror}") from error
        return True


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ApplianceError(f"{path} cannot be read: {error.strerror}") from error
