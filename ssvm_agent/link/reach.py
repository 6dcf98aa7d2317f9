# SPDX-License-Identifier: Apache-2.0
"""From a server's name to a TCP connection, one named step after the other: DNS, route, TCP (R1).

Every failure is a :class:`~ssvm_agent.link.errors.ConnectError` that says in one sentence what an
operator has to look at. It knows no TLS and no protocol.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from typing import Final

from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.link.errors import ConnectError, Step

_DNS_DEADLINE_S: Final = 15.0  # three tries of the resolver's usual 5 s

# A silent peer is noticed after 30 s + 3 x 10 s without traffic, and after as long with unanswered
# data: sooner than the server gives up on missing pings (150 s, agent-lifecycle.md 3.1).
_KEEPALIVE_IDLE_S: Final = 30
_KEEPALIVE_INTERVAL_S: Final = 10
_KEEPALIVE_PROBES: Final = 3
_USER_TIMEOUT_MS: Final = 60_000

Address = tuple[socket.AddressFamily, tuple[str, int]]


async def open_tcp(host: str, port: int, *, deadline_s: float, pool: WorkPool) -> socket.socket:
    """A connected, non-blocking socket with keep-alive, to the first address that answers.

    Args:
        host: Name or address.
        port: TCP port.
        deadline_s: For each address.
        pool: For the resolver, which blocks.

    Raises:
        ConnectError: None answered; its step is the first that failed.
    """
    addresses = await resolve(host, port, pool=pool)
    routed = [address for address in addresses if _no_route(address) is None]
    if not routed:
        reason = _no_route(addresses[0])
        raise ConnectError(f"There is no route to {host}: {reason}.", step=Step.ROUTE)
    failure: ConnectError | None = None
    for address in routed:
        try:
            return await _connect(address, host, deadline_s)
        except ConnectError as error:
            failure = failure or error
    assert failure is not None
    raise failure


async def is_reachable(host: str, port: int, *, deadline_s: float, pool: WorkPool) -> bool:
    """Whether a TCP connection to a server can be made; it is closed again at once."""
    try:
        probe = await open_tcp(host, port, deadline_s=deadline_s, pool=pool)
    except ConnectError:
        return False
    probe.close()
    return True


async def resolve(host: str, port: int, *, pool: WorkPool) -> list[Address]:
    """The addresses of a host, IPv4 first.

    Raises:
        ConnectError: The name does not resolve.
    """
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
        return [(family, (host, port))]
    try:
        found = await pool.call(
            socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, deadline_s=_DNS_DEADLINE_S
        )
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConnectError(
            f"The name {host} cannot be resolved: {reason}.", step=Step.DNS
        ) from error
    except PoolError as error:
        raise ConnectError(
            f"The name {host} cannot be resolved: the name servers do not answer.", step=Step.DNS
        ) from error
    addresses = [(family, (str(place[0]), port)) for family, _, _, _, place in found]
    return sorted(dict.fromkeys(addresses), key=lambda address: address[0] != socket.AF_INET)


def _no_route(address: Address) -> str | None:
    """Why the kernel has no way to an address; asked by a datagram socket that sends nothing."""
    family, place = address
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
            probe.connect(place)
    except OSError as error:
        return os.strerror(error.errno or 0)
    return None


async def _connect(address: Address, host: str, deadline_s: float) -> socket.socket:
    family, place = address
    link = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _set_options(link)
        async with asyncio.timeout(deadline_s):
            await asyncio.get_running_loop().sock_connect(link, place)
    except TimeoutError as error:
        link.close()
        raise ConnectError(
            f"{_name(host, place)} does not answer within {deadline_s:g} s; does a firewall drop"
            " the connection?"
        ) from error
    except OSError as error:
        link.close()
        raise _explained(error, host, place) from error
    except BaseException:
        link.close()
        raise
    return link


def _set_options(link: socket.socket) -> None:
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)


def _name(host: str, place: tuple[str, int]) -> str:
    shown = host if host == place[0] else f"{host} ({place[0]})"
    return f"{shown} port {place[1]}"


def _explained(error: OSError, host: str, place: tuple[str, int]) -> ConnectError:
    match error.errno:
        case errno.ECONNREFUSED:
            reason = "refuses the connection; does a management server run there?"
        case errno.ETIMEDOUT:
            reason = "does not answer; does a firewall drop the connection?"
        case errno.EHOSTUNREACH | errno.ENETUNREACH:
            reason = "cannot be reached: no such host answers on the way"
        case errno.ECONNRESET | errno.EPIPE:
            reason = "resets the connection"
        case _:
            reason = f"cannot be connected to: {error.strerror or error}"
    stop = "" if reason.endswith("?") else "."
    return ConnectError(f"{_name(host, place)} {reason}{stop}", detail=str(error))
