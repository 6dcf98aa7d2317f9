# SPDX-License-Identifier: Apache-2.0
"""Do packets of the storage interface's full size arrive at the storage servers (5.3.4)?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from ssvm_agent.diag.check import Check, Need
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.ping import ping
from ssvm_agent.diag.stores import store_servers
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped

# IPv4 and ICMP, or IPv6 and ICMPv6.
_HEADERS_BYTES: Final = {4: 28, 6: 48}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of small and full packets to one server."""

    address: str
    payload_bytes: int
    small: bool | None
    full: bool | None


class PathMtuCheck(Check):
    """Full-size packets, not to be fragmented."""

    slug = "path-mtu"
    title = "full-size packets reach the storage servers"
    needs = (Need.SYSTEM_VM,)

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        storage = facts.plan.interface("eth3")
        if storage is None or storage.mtu is None:
            return [skipped("There is no storage network of its own.")]
        mtu = storage.mtu
        servers = [server.host for server in await store_servers(facts)]
        literal = [server for server in servers if _version(server)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_probe(facts, server, mtu)) for server in literal]
        return judge(mtu, [task.result() for task in tasks])


def judge(mtu: int, probes: Sequence[Probe]) -> list[Verdict]:
    """The verdicts."""
    found: list[Verdict] = []
    for probe in probes:
        how = f"ping -M do -s {probe.payload_bytes} {probe.address}"
        if not probe.small:
            found.append(skipped(f"{probe.address} does not answer ping, which proves nothing."))
        elif probe.full is False:
            found.append(
                error(
                    f"Packets of {mtu} bytes do not reach the storage server {probe.address},"
                    " smaller ones do: mounts will hang on the first large read or write.",
                    how,
                    "Set the same MTU on every switch and host of the storage network, or lower"
                    " secstorage.vm.mtu.size and destroy the system VM.",
                )
            )
        else:
            found.append(ok(f"{probe.address} takes packets of {mtu} bytes.", how))
    return found or [skipped("No storage server's address is known yet.")]


async def _probe(facts: Facts, address: str, mtu: int) -> Probe:
    payload_bytes = mtu - _HEADERS_BYTES[_version(address) or 4]
    small = await ping(facts.runner, address, count=1)
    full = await ping(facts.runner, address, count=2, payload_bytes=payload_bytes)
    return Probe(
        address=address, payload_bytes=payload_bytes, small=small.answered, full=full.answered
    )


def _version(text: str) -> int | None:
    try:
        return ip_address(text).version
    except ValueError:
        return None
