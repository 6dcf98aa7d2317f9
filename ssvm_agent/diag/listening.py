# SPDX-License-Identifier: Apache-2.0
"""Who listens on TCP, from the kernel's own table. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_LISTEN: Final = "0A"


def listeners(proc_net_tcp: str) -> Iterator[tuple[str, int]]:
    """Address and port of each listening socket in ``/proc/net/tcp`` or ``tcp6``."""
    for line in proc_net_tcp.splitlines():
        words = line.split()
        if len(words) > 3 and words[3] == _LISTEN:
            address, _, port = words[1].partition(":")
            yield _address(address), int(port, 16)


def _address(text: str) -> str:
    # Groups of four bytes in the order of the machine, which is little-endian on ours.
    groups = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    raw = b"".join(groups)
    return str(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))
