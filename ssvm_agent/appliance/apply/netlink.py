# SPDX-License-Identifier: Apache-2.0
"""The kernel's network through netlink: read it whole, make a list of changes or none of them.

Blocking; call it in a pool. It decides nothing: what is to change comes from
:mod:`ssvm_agent.appliance.apply.network`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any, Final, Protocol

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
from ssvm_agent.appliance.apply.network import lost_routes
from ssvm_agent.appliance.errors import ApplianceError

# linux/if.h, linux/rtnetlink.h
_IFF_UP: Final = 1
_TABLE_MAIN: Final = 254
_UNICAST: Final = 1
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_SWITCHES: Final = ("disable_ipv6", "accept_ra", "accept_dad", "use_tempaddr")


class ChangeError(ApplianceError):
    """A change was refused by the kernel; everything was put back.

    Attributes:
        item: What it belonged to.
        is_restored: Whether putting back worked; if not, the detail says what remains.
    """

    code = "network"

    def __init__(self, item: str, message: str, *, is_restored: bool, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.item = item
        self.is_restored = is_restored


class NetworkDoor(Protocol):
    """The kernel's network, or a pretended one in tests."""

    def read(self) -> NetworkState:
        """Everything there is."""
        ...

    def make(self, changes: Sequence[Change]) -> None:
        """Make the changes in order, all or none.

        Raises:
            ChangeError: One could not be made; those before it were undone.
        """
        ...

    def undo(self, changes: Sequence[Change], before: NetworkState) -> tuple[str, ...]:
        """Take back changes that were made; returns what could not be taken back."""
        ...


class Netlink:
    """The network of the namespace this process lives in."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._switches = proc / "sys/net/ipv6/conf"
        self._switches4 = proc / "sys/net/ipv4/conf"

    def read(self) -> NetworkState:
        """See :class:`NetworkDoor`."""
        with _open() as kernel:
            return self._read(kernel)

    def make(self, changes: Sequence[Change]) -> None:
        """See :class:`NetworkDoor`."""
        if not changes:
            return
        with _open() as kernel:
            before = self._read(kernel)
            for number, change in enumerate(changes):
                try:
                    self._make(kernel, change)
                except Exception as error:
                    left = self._undo(kernel, changes[:number], before)
                    raise ChangeError(
                        change.item,
                        f"{change.text}: {_reason(error)}",
                        is_restored=not left,
                        detail="; ".join(left),
                    ) from error
            # What the kernel dropped on the way and nobody meant to drop.
            for route in lost_routes(before, self._read(kernel), changes):
                self._try(kernel, route)

    def undo(self, changes: Sequence[Change], before: NetworkState) -> tuple[str, ...]:
        """See :class:`NetworkDoor`."""
        with _open() as kernel:
            return self._undo(kernel, changes, before)

    def _undo(
        self, kernel: Any, changes: Sequence[Change], before: NetworkState
    ) -> tuple[str, ...]:
        for change in reversed(changes):
            # One that cannot be undone may be gone by itself; what counts is looked at below.
            self._try(kernel, change.undo())
        for route in lost_routes(before, self._read(kernel)):
            self._try(kernel, route)
        return differences(before, self._read(kernel))

    def _try(self, kernel: Any, change: Change) -> None:
        try:
            self._make(kernel, change)
        except Exception:  # noqa: BLE001 - the caller compares what is with what was
            return

    # --- reading ---------------------------------------------------------------------------------

    def _read(self, kernel: Any) -> NetworkState:
        names: dict[int, str] = {}
        addresses: dict[int, set[Any]] = {}
        for message in kernel.get_addr():
            text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            if text and message["family"] in _FAMILIES:
                found = ip_interface(f"{text}/{message['prefixlen']}")
                addresses.setdefault(message["index"], set()).add(found)
        links: dict[str, LinkState] = {}
        for message in kernel.get_links():
            name = message.get_attr("IFLA_IFNAME")
            names[message["index"]] = name
            links[name] = LinkState(
                name=name,
                mac=(message.get_attr("IFLA_ADDRESS") or "").lower(),
                mtu=message.get_attr("IFLA_MTU") or 0,
                is_up=bool(message["flags"] & _IFF_UP),
                addresses=frozenset(addresses.get(message["index"], ())),
            )
        routes = tuple(
            _route(message, names)
            for family in _FAMILIES
            for message in kernel.get_routes(family=family, table=_TABLE_MAIN)
            if message["type"] == _UNICAST
        )
        return NetworkState(links=links, routes=routes, switches=self._read_switches(links))

    def _read_switches(self, links: dict[str, LinkState]) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for link in links:
            for name in _SWITCHES:
                try:
                    found[link, name] = (self._switches / link / name).read_text().strip()
                except OSError:
                    continue
        return found

    # --- changing --------------------------------------------------------------------------------

    def _make(self, kernel: Any, change: Change) -> None:
        match change:
            case Rename():
                self._rename(kernel, change)
            case SetSwitch():
                (self._switches / change.device / change.name).write_text(change.new)
            case SetMtu():
                kernel.link("set", index=_index(kernel, change.device), mtu=change.new)
            case SetUp():
                state = "up" if change.up else "down"
                kernel.link("set", index=_index(kernel, change.device), state=state)
            case SetAddress():
                self._address(kernel, change)
            case SetRoute():
                self._set_route(kernel, change)

    def _rename(self, kernel: Any, change: Rename) -> None:
        index = _index(kernel, change.old)
        is_up = bool(kernel.get_links(index)[0]["flags"] & _IFF_UP)
        kernel.link("set", index=index, state="down")
        kernel.link("set", index=index, ifname=change.new)
        if is_up:
            kernel.link("set", index=index, state="up")

    def _address(self, kernel: Any, change: SetAddress) -> None:
        own = change.address
        if not change.present and own.version == 4:
            # Otherwise the kernel drops every other address of the same network with it.
            (self._switches4 / change.device / "promote_secondaries").write_text("1")
        extra = (
            {"broadcast": str(own.network.broadcast_address)}
            if change.present and own.version == 4 and own.network.prefixlen < 31
            else {}
        )
        kernel.addr(
            "add" if change.present else "del",
            index=_index(kernel, change.device),
            address=str(own.ip),
            prefixlen=own.network.prefixlen,
            **extra,
        )

    def _set_route(self, kernel: Any, change: SetRoute) -> None:
        if change.new is None:
            if change.old is not None:
                kernel.route("del", **_arguments(kernel, change.old))
            return
        kernel.route("replace" if change.old else "add", **_arguments(kernel, change.new))


def differences(before: NetworkState, now: NetworkState) -> tuple[str, ...]:
    """What is not as it was, as sentences; what the kernel makes by itself is left out."""
    left: list[str] = []
    for name, link in before.links.items():
        other = now.links.get(name)
        if other is None:
            left.append(f"interface {name} is gone")
        elif (other.is_up, other.mtu) != (link.is_up, link.mtu):
            left.append(f"interface {name} is not as it was")
        else:
            lost = {one for one in link.addresses - other.addresses if not one.is_link_local}
            left.extend(f"{name} has lost {address}" for address in sorted(map(str, lost)))
    left.extend(f"route {change.new.text} is gone" for change in lost_routes(before, now)
                if change.new)  # fmt: skip
    return tuple(left)


def _open() -> Any:
    # Costs 0.4 s, and only those who change the network need it.
    from pyroute2 import IPRoute

    return IPRoute()


def _index(kernel: Any, name: str) -> int:
    found = kernel.link_lookup(ifname=name)
    if not found:
        raise ApplianceError(f"there is no interface {name}")
    return int(found[0])


def _route(message: Any, names: dict[int, str]) -> KernelRoute:
    everything = "0.0.0.0" if message["family"] == socket.AF_INET else "::"  # noqa: S104 - a route
    text = message.get_attr("RTA_DST") or everything
    several = message.get_attr("RTA_MULTIPATH") is not None
    return KernelRoute(
        destination=ip_network(f"{text}/{message['dst_len']}"),
        gateway=message.get_attr("RTA_GATEWAY") or "",
        device="" if several else names.get(message.get_attr("RTA_OIF") or 0, ""),
        priority=message.get_attr("RTA_PRIORITY") or 0,
        protocol=message["proto"],
        scope=message["scope"],
        source=message.get_attr("RTA_PREFSRC") or "",
    )


def _arguments(kernel: Any, route: KernelRoute) -> dict[str, Any]:
    family = socket.AF_INET if route.destination.version == 4 else socket.AF_INET6
    arguments: dict[str, Any] = {
        "family": family,
        "dst": str(route.destination),
        "oif": _index(kernel, route.device),
        "proto": route.protocol,
        "scope": route.scope,
        "table": _TABLE_MAIN,
    }
    if route.gateway:
        arguments["gateway"] = route.gateway
    if route.priority:
        arguments["priority"] = route.priority
    if route.source:
        arguments["prefsrc"] = route.source
    return arguments


def _reason(error: Exception) -> str:
    if isinstance(error, ApplianceError):
        return error.message
    # (errno, text) for netlink and for files.
    text = error.args[1] if len(error.args) > 1 else error
    return str(text)
