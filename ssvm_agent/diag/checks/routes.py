# SPDX-License-Identifier: Apache-2.0
"""Does what must be reached leave by the interface it is meant to (5.3.4)?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from ssvm_agent.appliance import routes as table_of
from ssvm_agent.appliance.plan.model import MachinePlan
from ssvm_agent.diag.check import Check, Need
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.stores import store_servers
from ssvm_agent.diag.verdict import Verdict, error, ok, warning
from ssvm_agent.host.errors import HostError
from ssvm_agent.host.run import Runner

_PROGRAM_DEADLINE_S: Final = 5.0
_REPAIR: Final = (
    "Run ssvm-agent boot apply and restart the agent; it sets the routes the boot text asks for."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the kernel would send to a destination.

    Attributes:
        what: What lives there, for people.
        address: The destination.
        device: Where it leaves; empty when there is no way.
        gateway: The next hop; empty when it is on the link.
        intended: The interfaces that are right for it.
    """

    what: str
    address: str
    device: str = ""
    gateway: str = ""
    intended: tuple[str, ...] = ()


class RoutesCheck(Check):
    """The ways to everything the agent needs."""

    slug = "routes"
    title = "traffic leaves by the intended interfaces"
    needs = (Need.SYSTEM_VM,)

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        table = await table_of.read_table(4, facts.runner)
        if any(nic.address6 is not None for nic in facts.plan.interfaces):
            table += await table_of.read_table(6, facts.runner)
        destinations = await _destinations(facts)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(find_way(way, facts.runner)) for way in destinations]
        return judge(facts.plan, table, [task.result() for task in tasks])


def judge(plan: MachinePlan, table: Sequence[table_of.Route], ways: Sequence[Way]) -> list[Verdict]:
    """The verdicts.

    Args:
        plan: With the routes the boot text asks for.
        table: The main routing tables, of IPv6 too when the machine has such addresses.
        ways: How the kernel would send.
    """
    found = [*_default(plan, table), *_overlaps(table)]
    for way in ways:
        found += _of_one(way)
    return found or [ok(f"{len(ways)} destinations and the default route.", "ip route")]


def _default(plan: MachinePlan, table: Sequence[table_of.Route]) -> list[Verdict]:
    """The default route of each family that is wanted and not there."""
    first = {
        route.destination: route for route in reversed(plan.routes)
        if route.destination.prefixlen == 0
    }  # fmt: skip
    found = []
    for destination, wanted in first.items():
        present = [route for route in table if route.destination == destination]
        if any(str(one.gateway) == wanted.via and one.device == wanted.dev for one in present):
            continue
        shown = ", ".join(f"via {one.gateway} dev {one.device}" for one in present)
        name = "default route" if destination.version == 4 else "IPv6 default route"
        found.append(
            error(
                f"The {name} is {shown or 'missing'}; it must be via {wanted.via} dev"
                f" {wanted.dev}.",
                f"ip -{destination.version} route show default",
                _REPAIR,
            )
        )
    return found


def _overlaps(table: Sequence[table_of.Route]) -> list[Verdict]:
    """Routes through a gateway that take a part of a connected network away."""
    connected = [one for one in table if one.gateway is None and one.destination.prefixlen > 0]
    return [
        warning(
            f"The route to {route.destination} via {route.gateway} dev {route.device} takes"
            f" traffic of the network {own.destination} that is connected to {own.device}.",
            "ip route",
            "If it is an allowed internal site, narrow secstorage.allowed.internal.sites so that"
            " it leaves out the storage and management networks; then ip route delete"
            f" {route.destination}.",
        )
        for route in table
        for own in connected
        if route.gateway is not None
        and own.destination.prefixlen < route.destination.prefixlen
        and route.destination.prefixlen < route.destination.max_prefixlen
        and table_of.holds(own.destination, route.destination)
        and route.device != own.device
    ]


def _of_one(way: Way) -> list[Verdict]:
    how = f"ip route get {way.address}"
    if not way.device:
        return [error(f"There is no route to {way.what} {way.address}.", how, _REPAIR)]
    if way.intended and way.device not in way.intended:
        via = f" via {way.gateway}" if way.gateway else ""
        return [
            warning(
                f"Traffic to {way.what} {way.address} leaves by {way.device}{via}, not by"
                f" {' or '.join(way.intended)}.",
                how,
                f"{_REPAIR} If the route comes from an allowed internal site, narrow"
                " secstorage.allowed.internal.sites.",
            )
        ]
    return []


async def _destinations(facts: Facts) -> list[Way]:
    networks = facts.settings.networks
    storage = "eth3" if facts.plan.interface("eth3") else networks.private_device
    found = [
        Way(what="management server", address=server, intended=(networks.private_device,))
        for server in facts.settings.management_servers
    ]
    found += [
        Way(what="internal name server", address=server, intended=(networks.private_device,))
        for server in networks.internal_dns
    ]
    found += [
        Way(what="management network", address=str(route.destination[0]), intended=(route.dev,))
        for route in facts.plan.routes
        if route.dev == networks.private_device
    ]
    found += [
        # A store in the management network is as good when there is a storage network too.
        Way(what="storage server", address=server.host,
            intended=(storage, networks.private_device))
        for server in await store_servers(facts)
    ]  # fmt: skip
    return [way for way in found if _is_literal(way.address)]


async def find_way(way: Way, runner: Runner) -> Way:
    """The way with what the kernel says of it."""
    try:
        result = await runner.run(
            ["ip", "-json", "route", "get", way.address], deadline_s=_PROGRAM_DEADLINE_S
        )
        entry = json.loads(result.stdout)[0]
    except (HostError, ValueError, LookupError):
        return way
    return Way(
        what=way.what,
        address=way.address,
        device=str(entry.get("dev", "")),
        gateway=str(entry.get("gateway", "")),
        intended=way.intended,
    )


def _is_literal(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
