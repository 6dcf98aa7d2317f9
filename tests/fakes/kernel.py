# SPDX-License-Identifier: Apache-2.0
"""A kernel's network that only pretends: changes are made to a state in memory, all or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address

from ssvm_agent.appliance.apply.changes import (
    Change,
    KernelRoute,
    LinkState,
    NetworkState,
    Rename,
    SetAddress,
    SetMtu,
    SetRoute,
    SetSwitch,
    SetUp,
)
from ssvm_agent.appliance.apply.netlink import ChangeError, differences
from ssvm_agent.appliance.apply.network import lost_routes


class FakeKernel:
    """See :class:`ssvm_agent.appliance.apply.netlink.NetworkDoor`.

    ``refuse`` tells which changes fail; like a real kernel it drops routes that have lost the
    network their next hop was on.
    """

    def __init__(self, state: NetworkState, refuse: Callable[[Change], bool] | None = None) -> None:
        self.state = state
        self.refuse = refuse or (lambda _: False)
        self.made: list[Change] = []

    def read(self) -> NetworkState:
        return self.state

    def make(self, changes: Sequence[Change]) -> None:
        before = self.state
        for change in changes:
            if self.refuse(change):
                self.state = before
                raise ChangeError(change.item, f"{change.text}: refused", is_restored=True)
            self._make(change)
            self.made.append(change)
        for route in lost_routes(before, self.state, changes):
            self._make(route)

    def undo(self, changes: Sequence[Change], before: NetworkState) -> tuple[str, ...]:
        for change in reversed(changes):
            self._make(change.undo())
        for route in lost_routes(before, self.state):
            self._make(route)
        return differences(before, self.state)

    def _make(self, change: Change) -> None:
        links = dict(self.state.links)
        switches = dict(self.state.switches)
        routes = list(self.state.routes)
        match change:
            case Rename():
                assert change.new not in links, "the kernel has no two interfaces of one name"
                links[change.new] = replace(links.pop(change.old), name=change.new)
                routes = [
                    replace(one, device=change.new) if one.device == change.old else one
                    for one in routes
                ]
                switches = {
                    (change.new if device == change.old else device, name): value
                    for (device, name), value in switches.items()
                }
            case SetSwitch():
                switches[change.device, change.name] = change.new
            case SetMtu():
                links[change.device] = replace(links[change.device], mtu=change.new)
            case SetUp():
                links[change.device] = replace(links[change.device], is_up=change.up)
            case SetAddress():
                own = links[change.device].addresses
                own = own | {change.address} if change.present else own - {change.address}
                links[change.device] = replace(links[change.device], addresses=own)
            case SetRoute():
                gone = change.old or change.new
                routes = [one for one in routes if gone is None or _key(one) != _key(gone)]
                routes += [change.new] if change.new else []
        routes = [one for one in routes if _has_way(one, links)]
        self.state = NetworkState(links=links, routes=tuple(routes), switches=switches)


def _key(route: KernelRoute) -> tuple[object, ...]:
    return route.destination, route.priority


def _has_way(route: KernelRoute, links: dict[str, LinkState]) -> bool:
    if not route.gateway:
        return True
    link = links.get(route.device)
    if link is None or not link.is_up:
        return False
    hop = ip_address(route.gateway)
    return hop.is_link_local or any(hop in one.network for one in link.addresses)
