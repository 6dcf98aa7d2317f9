# SPDX-License-Identifier: Apache-2.0
"""SSH connections for asyncio: the blocking ones, in a bounded pool, each wait with a deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from ssvm_agent.delivery.access import Access
from ssvm_agent.delivery.errors import ConnectionLostError, LoginRefusedError, RemoteError
from ssvm_agent.delivery.keyfile import PrivateKey
from ssvm_agent.delivery.output import Outcome
from ssvm_agent.delivery.ssh import Connection
from ssvm_agent.delivery.targets import Target
from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.pools import WorkPool

T = TypeVar("T")

# For commands that only look, or write one small file.
QUICK_S: Final = 60.0
# The connection's own deadline comes first and says more.
_GRACE_S: Final = 5.0


class Session:
    """A login on one system VM; use :meth:`Door.session`."""

    def __init__(self, connection: Connection, target: Target, pool: WorkPool) -> None:
        self.target = target
        self._connection = connection
        self._pool = pool

    async def run(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_s: float = QUICK_S,
        limit_bytes: int = 1024 * 1024,
    ) -> Outcome:
        """Run a command to its end, whatever its exit code.

        Raises:
            ConnectionLostError: It was not seen to end.
        """
        return await self.call(
            lambda: self._connection.run(
                arguments, stdin=stdin, deadline_s=deadline_s, limit_bytes=limit_bytes
            ),
            within_s=deadline_s,
        )

    async def sh(
        self, script: str, *arguments: str, stdin: bytes = b"", deadline_s: float = QUICK_S
    ) -> bytes:
        """Run a shell script that must succeed, and return its output.

        Raises:
            ConnectionLostError: It was not seen to end.
            RemoteError: It failed.
        """
        words = ["/bin/sh", "-c", script, "sh", *arguments]
        outcome = await self.run(words, stdin=stdin, deadline_s=deadline_s)
        if outcome.code:
            raise RemoteError(
                f"{self.target.name}: {outcome.said() or 'a command failed'}",
                detail=f"exit code {outcome.code}",
            )
        return outcome.output

    async def works(self) -> bool:
        """Whether commands are run; a restricted key logs in and runs something else."""
        return (await self.sh("echo $((6 * 7))")).strip() == b"42"

    async def call(self, work: Callable[[], T], *, within_s: float) -> T:
        """Run blocking work on the connection.

        Raises:
            ConnectionLostError: It was not done in time; the connection is closed.
        """
        try:
            return await self._pool.call(work, deadline_s=within_s + _GRACE_S)
        except PoolError as error:
            self._connection.close()
            raise ConnectionLostError(
                f"{self.target.name} does not answer in time", detail=error.message
            ) from error

    @property
    def connection(self) -> Connection:
        """The connection, for :meth:`call`."""
        return self._connection


class Door:
    """Opens sessions.

    Args:
        access: How to get to system VMs.
        pool: Threads for the connections; two for each target in work at a time are enough.
    """

    def __init__(self, access: Access, pool: WorkPool) -> None:
        self._access = access
        self._pool = pool

    @asynccontextmanager
    async def session(self, target: Target, key: PrivateKey) -> AsyncIterator[Session]:
        """A login, closed at the end.

        Raises:
            DeliveryError: As :meth:`ssvm_agent.delivery.ssh.Connection.open`.
        """
        connection = Connection(target, key, self._access)
        session = Session(connection, target, self._pool)
        try:
            await session.call(connection.open, within_s=self._access.deadlines.login_s)
            yield session
        finally:
            connection.close()

    async def accepts(self, target: Target, key: PrivateKey) -> bool:
        """Whether a fresh login with this key gets as far as running a command.

        Raises:
            DeliveryError: It could not be found out.
        """
        try:
            async with self.session(target, key) as session:
                return await session.works()
        except LoginRefusedError:
            return False
