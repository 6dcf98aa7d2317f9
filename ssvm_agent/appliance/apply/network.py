# SPDX-License-Identifier: Apache-2.0
"""The network that is, beside the network a plan wants: a list of single changes. Pure.

Each change knows how it is undone. What is there and was not declared by us stays: other addresses,
routes to other destinations, interfaces the plan does not name. Three things of others give way,
because the plan says otherwise about the very same thing: the prefix length of our own address, the
gateway of a declared destination, the name of an interface whose hardware address the plan knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ssvm_agent.appliance.apply.changes import (
    Address,
    Change,
    KernelRoute,
    LinkState,
    NetworkState,
    Owned,
    Rename,
    SetAddress,
    SetMtu,
    SetRoute,
    SetSwitch,
    SetUp,
)
from ssvm_agent.appliance.plan.model import Interface, MachinePlan, Route

# What the kernel gives a route that names no metric: 0 for IPv4, this for IPv6.
_IPV6_PRIORITY: Final = 1024
# linux/rtnetlink.h RTPROT_KERNEL: these come and go with addresses by themselves.
KERNEL_PROTOCOL: Final = 2
# Compat: boot-and-system.md 2.2, what an interface with an IPv6 address needs.
# Differs: forwarding stays off, since this machine is no router, and a forwarding kernel takes no
# router advertisements.
_IPV6_SWITCHES: Final = {
    "disable_ipv6": "0", "accept_ra": "1", "accept_dad": "0", "use_tempaddr": "0",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to do.

    Attributes:
        changes: In the order they are made.
        impossible: Item to reason, for what the machine at hand cannot be.
        left_alone: Item to reason, for what has to stay as it is.
        notes: What an operator should look at, as sentences.
        present: Items that are as wanted already.
        owned: What is ours once the changes are made.
    """

    changes: tuple[Change, ...]
    impossible: Mapping[str, str]
    left_alone: Mapping[str, str]
    notes: tuple[str, ...]
    present: tuple[str, ...]
    owned: Owned


def decide(
    plan: MachinePlan, state: NetworkState, owned: Owned, *, without: Iterable[str] = ()
) -> Decision:
    """The changes from what is to what the plan wants.

    Args:
        plan: What is wanted.
        state: What is.
        owned: What earlier applies of this boot made.
        without: Items to leave as they are, since they were tried and failed.
    """
    return _Decider(plan, state, owned, frozenset(without)).decide()


class _Decider:
    def __init__(
        self, plan: MachinePlan, state: NetworkState, owned: Owned, without: frozenset[str]
    ) -> None:
        self._plan = plan
        self._state = state
        self._owned = owned
        self._without = without
        self._changes: list[Change] = []
        self._impossible: dict[str, str] = {}
        self._left_alone: dict[str, str] = {}
        self._notes: list[str] = []
        self._items: list[str] = []

    def decide(self) -> Decision:
        links = self._links_by_wanted_name()
        usable = [nic for nic in self._plan.interfaces if nic.name in links]
        for nic in usable:
            self._interface(nic, links[nic.name])
        wanted = self._wanted_addresses(usable)
        self._drop_addresses(wanted, links)
        ready = {nic.name for nic in usable if nic.is_configured}
        routes = [route for route in self._plan.routes if self._is_possible(route, ready)]
        self._drop_routes(routes)
        for route in routes:
            self._route(route)
        touched = {change.item for change in self._changes} | {
            *self._impossible, *self._left_alone
        }  # fmt: skip
        return Decision(
            changes=tuple(self._changes),
            impossible=self._impossible,
            left_alone=self._left_alone,
            notes=tuple(self._notes),
            present=tuple(name for name in dict.fromkeys(self._items) if name not in touched),
            owned=Owned(
                addresses=wanted,
                routes=frozenset((route.destination, route.via, route.dev) for route in routes),
            ),
        )

    # --- interfaces ------------------------------------------------------------------------------

    def _links_by_wanted_name(self) -> dict[str, LinkState]:
        """The interfaces of the plan that exist, by the name they shall have."""
        by_mac = {link.mac: link for link in self._state.links.values() if link.mac}
        found: dict[str, LinkState] = {}
        for nic in self._plan.interfaces:
            if nic.mac is not None and nic.mac in by_mac:
                found[nic.name] = by_mac[nic.mac]
        taken = {link.name for link in found.values()}
        for nic in self._plan.interfaces:
            item = _interface_item(nic.name)
            if item in self._without:
                found.pop(nic.name, None)
            elif nic.name not in found and nic.is_configured:
                link = self._state.links.get(nic.name)
                if link is None or link.name in taken:
                    self._impossible[item] = (
                        f"no interface has the hardware address {nic.mac}" if nic.mac
                        else f"there is no interface {nic.name}"
                    )  # fmt: skip
                else:
                    found[nic.name] = link
                    if nic.mac is not None:
                        # A wrong hardware address in the text must not cost the network.
                        self._notes.append(
                            f"no interface has the hardware address {nic.mac} of {nic.name};"
                            f" the one of this name was taken"
                        )
        self._rename(found)
        return found

    def _rename(self, found: Mapping[str, LinkState]) -> None:
        moving = {name: link for name, link in found.items() if link.name != name}
        leaving = {link.name for link in moving.values()}
        # By way of names nobody has, since two interfaces may have to swap theirs. Who stands in
        # the way and has no place in the plan goes aside.
        for name, link in moving.items():
            if name in self._state.links and name not in leaving:
                self._changes.append(
                    Rename(item=_interface_item(name), old=name, new=f"was-{name}")
                )
            self._changes.append(
                Rename(item=_interface_item(name), old=link.name, new=f"new-{name}")
            )
        for name in moving:
            self._changes.append(Rename(item=_interface_item(name), old=f"new-{name}", new=name))

    def _interface(self, nic: Interface, link: LinkState) -> None:
        item = _interface_item(nic.name)
        if not nic.is_configured:
            return
        self._items.append(item)
        if nic.address6 is not None:
            for name, value in _IPV6_SWITCHES.items():
                old = self._state.switches.get((nic.name, name))
                if old is not None and old != value:
                    self._changes.append(
                        SetSwitch(item=item, device=nic.name, name=name, old=old, new=value)
                    )
        if nic.mtu is not None and nic.mtu != link.mtu:
            self._changes.append(SetMtu(item=item, device=nic.name, old=link.mtu, new=nic.mtu))
        if not link.is_up:
            self._changes.append(SetUp(item=item, device=nic.name, up=True))
        for address in _addresses(nic):
            if address in link.addresses:
                continue
            for other in sorted(link.addresses, key=str):
                if other.ip == address.ip:
                    self._address(item, nic.name, other, present=False)
            self._address(item, nic.name, address, present=True)

    def _address(self, item: str, device: str, address: Address, *, present: bool) -> None:
        self._changes.append(SetAddress(item=item, device=device, address=address, present=present))

    def _wanted_addresses(self, usable: Sequence[Interface]) -> frozenset[tuple[str, Address]]:
        return frozenset((nic.name, address) for nic in usable for address in _addresses(nic))

    def _drop_addresses(
        self, wanted: frozenset[tuple[str, Address]], links: Mapping[str, LinkState]
    ) -> None:
        going = {(one.device, one.address) for one in self._changes
                 if isinstance(one, SetAddress) and not one.present}  # fmt: skip
        for device, address in sorted(self._owned.addresses - wanted - going, key=str):
            link = links.get(device) or self._state.links.get(device)
            item = _interface_item(device)
            if link is not None and address in link.addresses and item not in self._without:
                self._address(item, device, address, present=False)

    # --- routes ----------------------------------------------------------------------------------

    def _is_possible(self, route: Route, ready: set[str]) -> bool:
        item = _route_item(route.text, route.destination.version)
        if item in self._without:
            return False
        if route.dev not in ready:
            self._impossible[item] = f"{route.dev} is not there"
            return False
        return True

    def _route(self, route: Route) -> None:
        item = _route_item(route.text, route.destination.version)
        self._items.append(item)
        same = [one for one in self._state.routes if one.destination == route.destination]
        if any(one.gateway == route.via and one.device == route.dev for one in same):
            return
        if any(not one.gateway and one.device for one in same):
            # R10: a connected network is never routed away.
            self._left_alone[item] = "the network is connected; no route is made over it"
            return
        priority = _IPV6_PRIORITY if route.destination.version == 6 else 0
        rival = next((one for one in same if one.priority == priority), None)
        if rival is not None and not rival.device:
            self._left_alone[item] = "a route with several next hops is there; it was left alone"
            return
        new = KernelRoute(
            destination=route.destination, gateway=route.via, device=route.dev, priority=priority
        )
        self._changes.append(SetRoute(item=item, old=rival, new=new))

    def _drop_routes(self, routes: Sequence[Route]) -> None:
        wanted = {route.destination for route in routes}
        for one in self._state.routes:
            key = (one.destination, one.gateway, one.device)
            item = _route_item(
                "default" if one.destination.prefixlen == 0 else str(one.destination),
                one.destination.version,
            )
            if key in self._owned.routes and one.destination not in wanted:
                self._changes.append(SetRoute(item=item, old=one, new=None))


def lost_routes(
    before: NetworkState, now: NetworkState, changes: Iterable[Change] = ()
) -> tuple[SetRoute, ...]:
    """Routes the kernel dropped by itself when addresses and interfaces came and went.

    Args:
        before: What was there.
        now: What is left.
        changes: What was meant; destinations in it are not lost but decided.
    """
    have = {(route.destination, route.priority) for route in now.routes}
    decided = {
        route.destination
        for change in changes
        if isinstance(change, SetRoute)
        for route in (change.old, change.new)
        if route is not None
    }
    return tuple(
        SetRoute(item=f"route {route.text}", old=None, new=route)
        for route in before.routes
        if (route.destination, route.priority) not in have
        and route.destination not in decided
        and route.protocol != KERNEL_PROTOCOL
        and route.device in now.links
    )


def _addresses(nic: Interface) -> Iterator[Address]:
    if nic.address is not None:
        yield nic.address
    if nic.address6 is not None:
        yield nic.address6


def _interface_item(name: str) -> str:
    return f"interface {name}"


def _route_item(text: str, version: int) -> str:
    return f"route {text}" if version == 4 or text != "default" else "route default (IPv6)"
