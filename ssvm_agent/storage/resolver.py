# SPDX-License-Identifier: Apache-2.0
"""The address of a store's host: the first one the system resolver gives."""

from __future__ import annotations

import socket


def first_address(host: str) -> str:
    """The first IPv4 address of a host, else its first IPv6 address (storage-commands.md 8).

    Blocking; a literal address is returned as it is.

    Raises:
        OSError: It has none, or the resolver does not answer.
    """
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror as error:
        # Only a host without an IPv4 address is asked for an IPv6 one: a resolver that is down for
        # a moment must not lead to another mount directory.
        if error.errno not in {socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY}:
            raise
        found = socket.getaddrinfo(host, None, socket.AF_INET6, socket.SOCK_STREAM)
    return str(found[0][4][0])
