# SPDX-License-Identifier: Apache-2.0
"""Read-only facts about this machine's network: addresses of interfaces, host name, architecture.

Asks the kernel over a route netlink socket, which keeps the order that ``ip addr`` shows and costs
no import. Changing the network is the business of :mod:`ssvm_agent.appliance`.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h
_NETLINK_ROUTE: Final = 0
_RTM_GETADDR: Final = 22
_RTM_NEWADDR: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_DONE: Final = 3
_NLMSG_ERROR: Final = 2
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_MESSAGE_HEADER: Final = struct.Struct("=IHHII")
_ADDRESS_HEADER: Final = struct.Struct("=BBBBI")
_ATTRIBUTE_HEADER: Final = struct.Struct("=HH")
_ANSWER_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceFacts:
    """One network interface as Startup reports it (agent-lifecycle.md 2.3).

    Attributes:
        name: Kernel name, such as ``eth1``.
        address: First usable IPv4 address, dotted.
        netmask: Its mask, dotted.
        mac: Hardware address, lower case with colons; empty when the kernel shows none.
    """

    name: str
    address: str
    netmask: str
    mac: str


def interface(name: str) -> InterfaceFacts | None:
    """The facts of an interface, or None when it is missing or has no usable IPv4 address.

    Usable is the first IPv4 address that is not loopback, link-local or multicast
    (agent-lifecycle.md 2.3).
    """
    try:
        index = socket.if_nametoindex(name)
        dump = _dump_addresses()
    except OSError:
        return None
    for owner, found in parse_addresses(dump):
        address = found.ip
        if owner != index or address.is_loopback or address.is_link_local or address.is_multicast:
            continue
        return InterfaceFacts(
            name=name, address=str(address), netmask=str(found.netmask), mac=_mac(name)
        )
    return None


def host_name() -> str:
    """The name of this machine as ``hostname`` prints it."""
    return socket.gethostname().strip()


def architecture() -> str:
    """The machine architecture as ``arch`` prints it, such as ``x86_64``."""
    return os.uname().machine


def parse_addresses(dump: bytes) -> Iterator[tuple[int, ipaddress.IPv4Interface]]:
    """Interface index and IPv4 address for each record of an RTM_GETADDR dump, in its order."""
    for kind, body in _records(dump, _MESSAGE_HEADER):
        if kind != _RTM_NEWADDR or len(body) < _ADDRESS_HEADER.size:
            continue
        _, prefix_length, _, _, index = _ADDRESS_HEADER.unpack_from(body)
        attributes = dict(_records(body[_ADDRESS_HEADER.size :], _ATTRIBUTE_HEADER))
        # On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL is us.
        raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
        if raw is not None and len(raw) == 4:
            yield index, ipaddress.IPv4Interface((raw, prefix_length))


def _records(data: bytes, header: struct.Struct) -> Iterator[tuple[int, bytes]]:
    """Type and body of each length-prefixed, 4-byte aligned record."""
    position = 0
    while position + header.size <= len(data):
        length, kind = header.unpack_from(data, position)[:2]
        if length < header.size:
            return
        yield kind, data[position + header.size : position + length]
        position += (length + 3) & ~3


def _dump_addresses() -> bytes:
    """Every IPv4 address record of this network namespace, as the kernel sends them."""
    request = _MESSAGE_HEADER.pack(
        _MESSAGE_HEADER.size + _ADDRESS_HEADER.size, _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0
    ) + _ADDRESS_HEADER.pack(socket.AF_INET, 0, 0, 0, 0)
    dump = b""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE
    ) as channel:
        channel.settimeout(_ANSWER_TIMEOUT_S)
        channel.send(request)
        while True:
            part = channel.recv(1 << 16)
            dump += part
            kinds = {kind for kind, _ in _records(part, _MESSAGE_HEADER)}
            if not part or kinds & {_NLMSG_DONE, _NLMSG_ERROR}:
                return dump


def _mac(name: str) -> str:
    try:
        return Path("/sys/class/net", name, "address").read_text(encoding="ascii").strip().lower()
    except OSError:
        return ""
