# SPDX-License-Identifier: Apache-2.0
"""Routes the agent declares: what must be reachable through which gateway (R10).

The decision is pure (:func:`plan`): a connected prefix is never overridden, the outgoing interface
is the one whose connected prefix holds the gateway, and a route that is there already is left
alone. Only :func:`apply` and :func:`read_table` run a program.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from ssvm_agent.appliance.errors import ApplianceError, BadRequestError
from ssvm_agent.host.run import Runner

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_DEADLINE_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One entry of the routing table; without gateway it is a connected prefix."""

    destination: Network
    gateway: Address | None
    device: str


def check_network(text: str) -> Network:
    """An address or a network; host bits are dropped.

    Raises:
        BadRequestError: It is neither, or it is everything.
    """
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise BadRequestError(f"{text!r} is neither an address nor a network") from None
    if network.prefixlen == 0:
        raise BadRequestError(f"{text!r} would be everything")
    return network


def plan(destination: Network, gateway: str, table: Sequence[Route]) -> Route | None:
    """The route to add or change, or ``None`` when nothing is to do.

    Args:
        destination: What is to be reached.
        gateway: Next hop; empty when CloudStack gave none. One of the other family is none: what
            it cannot lead to is left to the routes that are there.
        table: The present routes.

    Raises:
        ApplianceError: The gateway is no address, or on no connected prefix.
    """
    connected = [
        route
        for route in table
        if route.gateway is None
        and route.destination.version == destination.version
        and route.destination.prefixlen > 0
    ]
    if any(holds(route.destination, destination) for route in connected):
        return None
    if not gateway:
        return None
    try:
        hop = ip_address(gateway)
    except ValueError:
        raise ApplianceError(f"The gateway {gateway!r} is not an address") from None
    if hop.version != destination.version:
        return None
    if hop.version == 6 and hop.is_link_local:
        # Every interface has this prefix.
        raise ApplianceError(f"The gateway {gateway} to {destination} is link-local; a route needs"
                             " one whose network tells the interface")  # fmt: skip
    nearest = max(
        (route for route in connected if hop in route.destination),
        key=lambda route: route.destination.prefixlen,
        default=None,
    )
    if nearest is None:
        raise ApplianceError(f"The gateway {gateway} to {destination} is on no connected network")
    wanted = Route(destination=destination, gateway=hop, device=nearest.device)
    return None if wanted in table else wanted


async def read_table(version: int, runner: Runner) -> tuple[Route, ...]:
    """The routes of the main table for IPv4 or IPv6.

    Raises:
        HostError: The program is missing, failed or took too long.
        ApplianceError: It said something we cannot read.
    """
    result = await runner.run(
        ["ip", "-json", f"-{version}", "route", "show", "table", "main"], deadline_s=_DEADLINE_S
    )
    try:
        entries = json.loads(result.stdout or b"[]")
        return tuple(route for entry in entries if (route := _route(entry, version)))
    except (ValueError, TypeError, AttributeError) as error:
        raise ApplianceError("The routing table cannot be read", detail=str(error)) from error


async def apply(route: Route, runner: Runner) -> None:
    """Put one planned route into the table.

    Raises:
        HostError: The program is missing, failed or took too long.
    """
    version = route.destination.version
    await runner.run(
        ["ip", f"-{version}", "route", "replace", str(route.destination),
         "via", str(route.gateway), "dev", route.device],
        deadline_s=_DEADLINE_S,
    )  # fmt: skip


def holds(outer: Network, inner: Network) -> bool:
    """Whether one network is all in the other; never across families."""
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def _route(entry: dict[str, Any], version: int) -> Route | None:
    text = entry.get("dst", "")
    if entry.get("type", "unicast") != "unicast" or "dev" not in entry or not text:
        return None
    everything = "0.0.0.0/0" if version == 4 else "::/0"
    gateway = entry.get("gateway")
    return Route(
        destination=ip_network(everything if text == "default" else text),
        gateway=ip_address(gateway) if gateway else None,
        device=str(entry["dev"]),
    )
