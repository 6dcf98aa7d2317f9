# SPDX-License-Identifier: Apache-2.0
"""Everything outside the guest, wired together: networks, stores, images, a management server.

The guest itself comes from :mod:`tests.vm.lab.guest`. A :class:`World` is what scenarios get; how
the parts work is the parts' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.authority import CertificateAuthority
from ssvm_agent.simulator.downloads import Download
from ssvm_agent.simulator.model import Fields, HostStatus, ImageStore, Message
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.timing import Timing
from ssvm_agent.simulator.zone import Zone
from tests.fixtures.nginx import WebServer, serve
from tests.vm.lab.ganesha import NfsServer, nfs_server, rpcbind, small_file_system
from tests.vm.lab.network import GUESTS, Networks, add_address, networks
from tests.vm.lab.shell import Shell
from tests.vm.lab.sites import Catalogue, Published

PORT: Final = 8250
UP_S: Final = 180.0
# Room for every object of a day at once; small enough to be filled in a moment.
_STORE_MIB: Final = 768
# A real server's patience towards an emulated guest; what happens by itself happens often.
TIMING: Final = replace(
    Timing(),
    ping_interval_s=3.0,
    ping_timeout_s=45.0,
    download_poll_s=0.5,
    command_wait_s=150.0,
    purge_delay_s=0.05,
)
# Written by the agent for itself; never an object of the cloud.
_BOOKKEEPING: Final = (".ssvm", "lost+found")


@dataclass(slots=True)
class World:
    """What scenarios work with.

    Attributes:
        stores: The NFS servers, in the order of the zone's stores.
        expected: What must lie in each store in the end: path → SHA-256 of the content.
    """

    folder: Path
    networks: Networks
    stores: list[NfsServer]
    site: WebServer
    slow_site: WebServer
    images: Catalogue
    shell: Shell
    zone: Zone
    authority: CertificateAuthority
    expected: list[dict[str, str]] = field(default_factory=lambda: [{}, {}])
    _server: ManagementServer | None = None

    # --- the management server -------------------------------------------------------------------

    @property
    def server(self) -> ManagementServer:
        """The one that runs."""
        assert self._server is not None, "no management server runs"
        return self._server

    async def start_server(self, authority: CertificateAuthority | None = None) -> None:
        """Start the management server, with the rows of the one before."""
        server = ManagementServer(
            zone=self.zone,
            timing=TIMING,
            authority=authority or self.authority,
            host=self.networks.management.host,
            port=PORT,
        )
        self._server = await server.__aenter__()

    async def kill_server(self) -> None:
        """Its connections are reset and its port is closed, as when the process is killed."""
        server, self._server = self.server, None
        for session in list(server._state.sessions.values()):
            session.link.abort()
        await server.__aexit__(None, None, None)

    async def up(self, deadline_s: float = UP_S) -> None:
        """Wait until the host is Up."""
        await self.server.wait_for_status(HostStatus.UP, deadline_s=deadline_s)

    async def ask(self, message: Message) -> Message:
        """An answer that has to be true."""
        answer = await self.server.ask(message)
        assert answer.result, f"{message.simple_name}: {answer.details}"
        return answer

    # --- stores and images -----------------------------------------------------------------------

    def store(self, number: int) -> ImageStore:
        """The row of a store."""
        return self.zone.stores[number]

    def path(self, store: int, install_path: str) -> Path:
        """A file of a store as the NFS server sees it."""
        return self.stores[store].directory / install_path

    def register(
        self, name: str, image: Published, *, store: int = 0, slow: bool = False, **more: Any
    ) -> Download:
        """Have an image downloaded."""
        site = self.slow_site if slow else self.site
        return self.server.register(
            name=name,
            url=site.url(image.path),
            format=image.format,
            checksum=image.checksum,
            store=store,
            **more,
        )

    async def bring_in(
        self, name: str, image: Published, *, deadline_s: float = 120, **more: Any
    ) -> Fields:
        """Download an image and check what lies in the store afterwards; the answer's fields."""
        store = int(more.get("store", 0))
        fields = await self.register(name, image, **more).result(deadline_s)
        self.expect(store, fields["installPath"], image.plain)
        return fields

    def expect(self, store: int, install_path: str, content: Path) -> None:
        """From now on this object lies in the store, with this content; checked at once."""
        digest = _digest(content)
        assert _digest(self.path(store, install_path)) == digest, install_path
        self.expected[store][install_path] = digest

    def gone(self, store: int, install_path: str) -> None:
        """From now on there is no such object; checked at once."""
        assert not self.path(store, install_path).exists(), install_path
        self.expected[store].pop(install_path, None)

    async def listed(self, store: int, kind: str = "TEMPLATE") -> dict[str, Fields]:
        """What the guest lists of a store."""
        build = commands.list_template if kind == "TEMPLATE" else commands.list_volume
        answer = await self.ask(build(self.store(store)))
        return dict(answer.fields["templateInfos"])

    def check_trees(self) -> None:
        """Both stores hold exactly what they must, byte by byte, and nothing half done."""
        for number, server in enumerate(self.stores):
            found = dict(_tree(server.directory))
            objects = {
                path: digest
                for path, digest in found.items()
                if not path.endswith(("/template.properties", "/volume.properties"))
            }
            assert objects == self.expected[number]
            described = {str(Path(path).parent) for path in found if path not in objects}
            for path in objects:
                top = path.partition("/")[0]
                assert top == "snapshots" or str(Path(path).parent) in described, path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tree(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_file() and not name.startswith(_BOOKKEEPING):
            yield name, _digest(path)


@asynccontextmanager
async def world(folder: Path, *, storage_network: bool = False) -> AsyncIterator[World]:
    """Set everything up but the guest.

    Args:
        folder: On a file system that NFS can export (ext4, xfs); a short path.
        storage_network: Whether the zone has one; the stores are there then.
    """
    authority = await asyncio.to_thread(CertificateAuthority.create)
    async with AsyncExitStack() as stack:
        nets = stack.enter_context(networks(folder, storage=storage_network))
        stack.enter_context(rpcbind())
        stores = []
        for number in (1, 2):
            directory = stack.enter_context(
                small_file_system(folder / f"store{number}", _STORE_MIB)
            )
            address = add_address(nets.of_stores, 1 + number)
            stores.append(
                stack.enter_context(
                    nfs_server(directory, address, number, folder / f"ganesha{number}")
                )
            )
        site_root = folder / "site"
        site_root.mkdir()
        address = nets.public.host
        site = stack.enter_context(serve(site_root, folder / "nginx", address=address))
        slow_site = stack.enter_context(
            serve(site_root, folder / "nginx-slow", address=address, bytes_per_second=1 << 20)
        )
        zone = Zone(
            stores=[ImageStore(url=stores[0].url, nfs_version="3"), ImageStore(url=stores[1].url)],
            servers=(nets.management.host,),
            allowed_sites=(nets.public.cidr,),
        )
        shell = Shell(nets.control.address(GUESTS[0]), folder / "ssh")
        made = World(
            folder, nets, stores, site, slow_site, Catalogue(site_root), shell, zone, authority
        )
        await made.start_server()
        try:
            yield made
        finally:
            with contextlib.suppress(AssertionError):
                await made.kill_server()
            shell.forget()
