# SPDX-License-Identifier: Apache-2.0
"""The network as the kernel has it, and single changes to it that know how they are undone.

Pure data: no kernel, no plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

Address = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkState:
    """An interface as the kernel has it."""

    name: str
    mac: str = ""
    mtu: int = 1500
    is_up: bool = False
    addresses: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRoute:
    """A route of the main table.

    Attributes:
        destination: Network; prefix length 0 for the default route.
        gateway: Next hop; empty for a connected network.
        device: Outgoing interface; empty when there are several next hops.
        priority: Metric as the kernel counts it.
        protocol: Who made it, by the kernel's numbers.
        scope: Likewise.
        source: Preferred source address; may be empty.
    """

    destination: Network
    gateway: str
    device: str
    priority: int = 0
    protocol: int = 3
    scope: int = 0
    source: str = ""

    @property
    def text(self) -> str:
        """As operators write it."""
        name = "default" if self.destination.prefixlen == 0 else str(self.destination)
        return f"{name} via {self.gateway}" if self.gateway else name


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkState:
    """What the kernel has; switches are ``net.ipv6`` settings by interface and name."""

    links: Mapping[str, LinkState]
    routes: tuple[KernelRoute, ...] = ()
    switches: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """What an earlier apply of this boot put there; only this may be removed again."""

    addresses: frozenset[tuple[str, Address]] = frozenset()
    routes: frozenset[tuple[Network, str, str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """Give an interface another name; it is down for that moment."""

    item: str
    old: str
    new: str

    def undo(self) -> Rename:
        """The other way round."""
        return Rename(item=self.item, old=self.new, new=self.old)

    @property
    def text(self) -> str:
        """What an operator reads."""
        return f"{self.old} is renamed to {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSwitch:
    """Set ``net.ipv6.conf.<device>.<name>``."""

    item: str
    device: str
    name: str
    old: str
    new: str

    def undo(self) -> SetSwitch:
        """Back to the old value."""
        return replace(self, old=self.new, new=self.old)

    @property
    def text(self) -> str:
        """What an operator reads."""
        return f"{self.name} {self.old} becomes {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMtu:
    """Set the MTU of an interface."""

    item: str
    device: str
    old: int
    new: int

    def undo(self) -> SetMtu:
        """Back to the old value."""
        return replace(self, old=self.new, new=self.old)

    @property
    def text(self) -> str:
        """What an operator reads."""
        return f"MTU {self.old} becomes {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """Bring an interface up, or down again."""

    item: str
    device: str
    up: bool

    def undo(self) -> SetUp:
        """The other way round."""
        return replace(self, up=not self.up)

    @property
    def text(self) -> str:
        """What an operator reads."""
        return "brought up" if self.up else "brought down"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAddress:
    """Add an address to an interface, or remove it."""

    item: str
    device: str
    address: Address
    present: bool

    def undo(self) -> SetAddress:
        """The other way round."""
        return replace(self, present=not self.present)

    @property
    def text(self) -> str:
        """What an operator reads."""
        return f"{self.address} {'added' if self.present else 'removed'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRoute:
    """Put a route in place of another to the same destination, or of none."""

    item: str
    old: KernelRoute | None
    new: KernelRoute | None

    def undo(self) -> SetRoute:
        """The other way round."""
        return replace(self, old=self.new, new=self.old)

    @property
    def text(self) -> str:
        """What an operator reads."""
        if self.new is None:
            return "removed"
        instead = f" instead of {self.old.gateway or self.old.device}" if self.old else ""
        return f"via {self.new.gateway} dev {self.new.device}{instead}"


Change = Rename | SetSwitch | SetMtu | SetUp | SetAddress | SetRoute
