# SPDX-License-Identifier: Apache-2.0
"""Name resolution for the HTTP client, in a pool and with the guard in the only way through.

What :meth:`GuardedResolver.resolve` returns is what gets connected to, so a name cannot mean one
address when it is judged and another when it is used.
"""

from __future__ import annotations

import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.ingest.egress import EgressGuard
from ssvm_agent.ingest.errors import SourceFailedError
from ssvm_agent.ingest.limits import TransferLimits
from ssvm_agent.ingest.urls import parse_address

_AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]


class PlainResolver(AbstractResolver):
    """Resolves names without judging them: for proxies, which an operator chose."""

    def __init__(self, pool: WorkPool, limits: TransferLimits) -> None:
        self._pool = pool
        self._limits = limits

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name.

        Raises:
            SourceFailedError: ``Unable to resolve <host>.``
        """
        return [_result(host, port, info) for info in await self._look_up(host, port, family)]

    async def close(self) -> None:
        """Nothing is held."""

    async def _look_up(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> list[_AddressInfo]:
        try:
            return await self._pool.call(
                socket.getaddrinfo,
                host,
                port,
                family=family,
                type=socket.SOCK_STREAM,
                deadline_s=self._limits.connect_timeout_s,
            )
        except socket.gaierror as error:
            raise SourceFailedError(
                f"Unable to resolve {host}.",
                detail=str(error.strerror),
                retryable=error.errno == socket.EAI_AGAIN,
            ) from error
        except PoolError as error:
            raise SourceFailedError(
                f"Unable to resolve {host}.", detail=error.message, retryable=True
            ) from error


class GuardedResolver(PlainResolver):
    """Resolves names and lets the egress guard judge all answers."""

    def __init__(self, guard: EgressGuard, pool: WorkPool, limits: TransferLimits) -> None:
        super().__init__(pool, limits)
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name, each of them allowed.

        Raises:
            SourceFailedError: ``Unable to resolve <host>.``
            BlockedAddressError: One of them is not allowed.
        """
        results = await super().resolve(host, port, family)
        self._guard.check(host, [parse_address(result["host"]) for result in results])
        return results

    async def judge_if_known(self, host: str) -> None:
        """Judge a name that somebody else will resolve; not knowing it is no error here."""
        try:
            await self.resolve(host)
        except SourceFailedError:
            return


def _result(host: str, port: int, info: _AddressInfo) -> ResolveResult:
    family, _, proto, _, address = info
    return ResolveResult(
        hostname=host,
        host=str(address[0]),
        port=port,
        family=family,
        proto=proto,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
