# SPDX-License-Identifier: Apache-2.0
"""Do the servers of the stores take connections, and do they export what is used (5.3.6)?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.stores import StoreServer, store_servers
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped, warning
from ssvm_agent.host.errors import HostError
from ssvm_agent.link.errors import ConnectError
from ssvm_agent.link.reach import open_tcp

_PORTS: Final = {"nfs": 2049, "cifs": 445}
_PORTMAPPER: Final = 111
_CONNECT_DEADLINE_S: Final = 5.0
_EXPORTS_DEADLINE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What came of connecting to one server.

    Attributes:
        server: Which.
        problem: Why the port of the file service cannot be reached; empty when it can.
        has_portmapper: Whether port 111 takes connections, which NFS version 3 needs.
        exports: What it exports, as it tells; ``None`` when it does not tell.
    """

    server: StoreServer
    problem: str = ""
    has_portmapper: bool = True
    exports: frozenset[str] | None = None


class StorageServersCheck(Check):
    """The servers of all stores that are known."""

    slug = "storage-servers"
    title = "storage servers can be reached"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        servers = await store_servers(facts)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_reach(facts, server)) for server in servers]
        return judge([task.result() for task in tasks], facts.settings.nfs_version)


def judge(reached: Sequence[Reached], nfs_version: str | None) -> list[Verdict]:
    """The verdicts.

    Args:
        reached: Of every server.
        nfs_version: As set; version 3 cannot do without the port mapper.
    """
    found: list[Verdict] = []
    for one in reached:
        host, port = one.server.host, _PORTS[one.server.kind]
        how = f"a TCP connection to {host} port {port}"
        if one.problem:
            found.append(
                error(
                    one.problem,
                    how,
                    "Check that the file server runs and that its network is reached"
                    f" (ssvm-check routes), and open port {port} for the addresses of the storage"
                    " or management network.",
                )
            )
            continue
        found.append(ok(f"{host} takes connections on port {port}.", how))
        if one.server.kind == "nfs" and nfs_version == "3" and not one.has_portmapper:
            found.append(
                warning(
                    f"{host} takes no connections on port {_PORTMAPPER}, which NFS version 3"
                    " needs.",
                    f"a TCP connection to {host} port {_PORTMAPPER}",
                    "Open ports 111, 2049 and mountd's on the server, or set"
                    " secstorage.nfs.version to 4.1.",
                )
            )
        found += _exports(one)
    return found or [skipped("No storage server is known yet: none is mounted or named.")]


def _exports(reached: Reached) -> list[Verdict]:
    server, exports = reached.server, reached.exports
    if not exports:
        return []  # version 4 alone tells nothing, and an empty list is what it says then
    return [
        warning(
            f"{server.host} does not list {path} among its exports.",
            f"showmount -e {server.host}",
            "Export the path to this machine's storage (or management) address, read-write with"
            " no_root_squash.",
        )
        for path in server.exports
        if not any(path == export or path.startswith(f"{export.rstrip('/')}/")
                   for export in exports)
    ]  # fmt: skip


def parse_exports(output: str) -> frozenset[str]:
    """The paths of ``showmount --exports --no-headers``."""
    return frozenset(line.split()[0] for line in output.splitlines() if line.startswith("/"))


async def _reach(facts: Facts, server: StoreServer) -> Reached:
    try:
        await _connect(facts, server.host, _PORTS[server.kind])
    except ConnectError as error_:
        return Reached(server=server, problem=error_.message)
    if server.kind != "nfs":
        return Reached(server=server)
    try:
        await _connect(facts, server.host, _PORTMAPPER)
    except ConnectError:
        return Reached(server=server, has_portmapper=False)
    return Reached(server=server, exports=await _ask_exports(facts, server.host))


async def _connect(facts: Facts, host: str, port: int) -> None:
    link = await open_tcp(host, port, deadline_s=_CONNECT_DEADLINE_S, pool=facts.local)
    link.close()


async def _ask_exports(facts: Facts, host: str) -> frozenset[str] | None:
    try:
        result = await facts.runner.run(
            ["showmount", "--no-headers", "--exports", host], deadline_s=_EXPORTS_DEADLINE_S
        )
    except HostError:
        return None
    return parse_exports(result.text)
