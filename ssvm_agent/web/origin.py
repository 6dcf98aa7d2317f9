# SPDX-License-Identifier: Apache-2.0
"""Which public URLs an upload may have been signed for (storage-commands.md 5.3, requirement R5).

The server signs ``<http|https>://<host>/upload/<uuid>`` without a port. What the client sees as
host may reach us as ``Host``, or, behind a proxy, as ``X-Forwarded-Host``; the latter is believed
only from a peer we trust. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Network = IPv4Network | IPv6Network

# A host with an optional port, nothing that could change the meaning of a URL built from it.
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::\d{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request came from and what it claims about the URL the client used."""

    peer: str
    """Address of the TCP peer."""
    scheme: str
    """``http`` or ``https``, as the connection itself is."""
    host: str = ""
    """``Host`` header."""
    forwarded_host: str = ""
    """``X-Forwarded-Host`` header, not yet believed."""
    forwarded_scheme: str = ""
    """``X-Forwarded-Proto`` header, not yet believed."""
    forwarded_for: str = ""
    """``X-Forwarded-For`` header, not yet believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginRules:
    """What is configured about our public URLs."""

    signed_scheme: str
    """Scheme the server signs with (``useHttpsToUpload``)."""
    public_hosts: tuple[str, ...] = ()
    """Public address and names, without port."""
    trusted_proxies: tuple[Network, ...] = ()
    """Peers whose ``X-Forwarded-*`` headers are believed."""

    def trusts(self, peer: str) -> bool:
        """Whether the peer is a proxy of ours. Loopback always is: it is this machine."""
        address = parse_peer(peer)
        if address is None:
            return False
        return address.is_loopback or any(
            address in network
            for network in self.trusted_proxies
            if network.version == address.version
        )


def legitimate_urls(rules: OriginRules, origin: Origin, uuid: str) -> tuple[str, ...]:
    """Every URL the upload of ``uuid`` may have been signed for, likeliest first.

    At most a dozen: two schemes times the configured hosts and two headers.
    """
    trusted = rules.trusts(origin.peer)
    hosts: list[str] = []
    if trusted and origin.forwarded_host:
        # The first of a list is what the client asked for; proxies append.
        hosts.extend(_spellings(origin.forwarded_host.split(",")[0]))
    hosts.extend(_spellings(origin.host))
    hosts.extend(rules.public_hosts)
    schemes = [rules.signed_scheme, origin.scheme]
    if trusted and origin.forwarded_scheme in {"http", "https"}:
        schemes.append(origin.forwarded_scheme)
    return tuple(
        f"{scheme}://{host}/upload/{uuid}"
        for scheme in dict.fromkeys(schemes)
        for host in dict.fromkeys(hosts)
    )


def client_address(rules: OriginRules, origin: Origin) -> str:
    """The client as far as we can believe it, for logs and the copy guard.

    A trusted proxy appends the peer it saw; walking back over trusted ones gives the client.
    """
    if not rules.trusts(origin.peer) or not origin.forwarded_for:
        return origin.peer
    for entry in reversed(origin.forwarded_for.split(",")):
        address = parse_peer(entry.strip())
        if address is None:
            break
        if not rules.trusts(str(address)):
            return str(address)
    return origin.peer


def parse_peer(text: str) -> IPv4Address | IPv6Address | None:
    """An address text; IPv4 inside IPv6 becomes IPv4, a zone index is dropped. None: no address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _spellings(header: str) -> Iterable[str]:
    """A host header as it stands and without its port; nothing when it is no host."""
    found = _HOST.fullmatch(header.strip())
    if found is None:
        return ()
    return (found["host"], found[0])
