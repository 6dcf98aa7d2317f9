# SPDX-License-Identifier: Apache-2.0
"""The egress guard: which addresses an image may be fetched from (requirements S2).

Pure. A host is judged by *all* addresses it resolves to, and the connection is then made to one of
the judged addresses; nothing is resolved a second time between check and use.

Private networks are allowed as such, because many clouds keep their image server there; what
reaches them is further limited by the machine's firewall and the allowed internal sites. But a
name that answers with public *and* private addresses at once is refused: it has no honest use here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from ssvm_agent.ingest.errors import BlockedAddressError
from ssvm_agent.ingest.urls import IpAddress

IpNetwork = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[IpNetwork, ...]:
    return tuple(ip_network(text) for text in texts)


_LOOPBACK: Final = _networks("127.0.0.0/8", "::1/128")
_NEVER: Final = _networks(
    "0.0.0.0/8",       # "this host"; connecting to 0.0.0.0 reaches loopback
    "169.254.0.0/16",  # link-local, instance metadata
    "192.0.0.0/24",    # protocol assignments, instance metadata of one cloud
    "224.0.0.0/4",     # multicast
    "240.0.0.0/4",     # reserved, broadcast
    "::/96",           # unspecified and v4-compatible
    "::ffff:0:0/96",   # v4-mapped
    "64:ff9b::/96",    # NAT64 carries a v4 address
    "64:ff9b:1::/48",
    "2001::/32",       # Teredo carries a v4 address
    "2002::/16",       # 6to4 carries a v4 address
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "fd00:ec2::/32",   # instance metadata over IPv6
)  # fmt: skip
_PRIVATE: Final = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"
)


class EgressGuard:
    """Judges addresses; the allowed internal sites may be replaced while it is in use.

    Args:
        allowed_cidrs: Networks the operator allows although they are blocked or private. An allowed
            network lifts a block only where it lies inside the blocked range, so that ``0.0.0.0/0``
            does not open the metadata service.
        blocked_cidrs: Networks to refuse besides the built-in ones.
        allow_loopback: For development and tests only.
    """

    def __init__(
        self,
        *,
        allowed_cidrs: Iterable[str] = (),
        blocked_cidrs: Iterable[str] = (),
        allow_loopback: bool = False,
    ) -> None:
        self._configured = _parse(allowed_cidrs)
        self._allowed = self._configured
        self._blocked = _NEVER + _parse(blocked_cidrs)
        self._allow_loopback = allow_loopback

    def allow_internal_sites(self, cidrs: Iterable[str]) -> None:
        """Replace the sites the management server allows; configured ones stay."""
        self._allowed = self._configured + _parse(cidrs)

    def check(self, host: str, addresses: Sequence[IpAddress]) -> None:
        """Let all addresses of a host pass, or none.

        Raises:
            BlockedAddressError: One of them is blocked, there are none, or public and private
                addresses are mixed.
        """
        if not addresses:
            raise BlockedAddressError(f"{host} has no address")
        for address in addresses:
            if self._is_blocked(address):
                raise BlockedAddressError(
                    "Illegal host specified in URL.", detail=f"{host} is {address}"
                )
        inside = [a for a in addresses if self._is_inside(a)]
        if inside and len(inside) != len(addresses):
            raise BlockedAddressError(
                "Illegal host specified in URL.",
                detail=f"{host} has public addresses and the internal one {inside[0]}",
            )

    def _is_blocked(self, address: IpAddress) -> bool:
        if _contains(_LOOPBACK, address):
            return not self._allow_loopback
        blocking = [net for net in self._blocked if address in net]
        return bool(blocking) and not any(
            address in allowed and any(_within(allowed, net) for net in blocking)
            for allowed in self._allowed
        )

    def _is_inside(self, address: IpAddress) -> bool:
        """Whether an address is internal and nobody allowed it on purpose."""
        if _contains(self._allowed, address):
            return False
        return _contains(_PRIVATE, address) or _contains(_LOOPBACK, address)


def _parse(cidrs: Iterable[str]) -> tuple[IpNetwork, ...]:
    return tuple(ip_network(cidr.strip(), strict=False) for cidr in cidrs if cidr.strip())


def _contains(networks: Iterable[IpNetwork], address: IpAddress) -> bool:
    return any(address in network for network in networks)


def _within(inner: IpNetwork, outer: IpNetwork) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer)
    return False
