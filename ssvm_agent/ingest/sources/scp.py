# SPDX-License-Identifier: Apache-2.0
"""A file on an SSH server: ``scp://user@host[:port]/path?password=…`` (storage-commands.md 4.6).

The file is read over the SFTP subsystem, as today's scp programs do: it tells the length, can go on
after a drop, and needs no shell on the other side. The host passes the egress guard, its key is
held against the known hosts, and every step has a deadline.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qs

from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.egress import EgressGuard
from ssvm_agent.ingest.errors import BadUrlError, SourceFailedError, SourceRestartedError
from ssvm_agent.ingest.hostkeys import HostKeys
from ssvm_agent.ingest.limits import BLOCK_SIZE_BYTES, TransferLimits
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.resolver import GuardedResolver
from ssvm_agent.ingest.retry import RetryBudget
from ssvm_agent.ingest.source import BytesLike, ResumePoint
from ssvm_agent.ingest.urls import SourceUrl
from ssvm_agent.masking import Secret

if TYPE_CHECKING:
    from paramiko import SFTPFile, Transport

T = TypeVar("T")

# Read requests under way at a time hide the round trip; 32 KiB each is what every server takes.
_WINDOW_BYTES: Final = 2 * BLOCK_SIZE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ScpEquipment:
    """What all scp sources share."""

    guard: EgressGuard
    pool: WorkPool
    limits: TransferLimits
    host_keys: HostKeys


class ScpSource:
    """One file over SSH; see :class:`ssvm_agent.ingest.source.Source`."""

    def __init__(self, url: SourceUrl, *, equipment: ScpEquipment, budget: RetryBudget) -> None:
        passwords = parse_qs(url.query, keep_blank_values=True).get("password", [""])
        if not url.user:
            raise BadUrlError(f"URI is incorrect: {url}", detail="no user")
        self._url = url
        self._password = Secret(passwords[0])
        self._equipment = equipment
        self._budget = budget
        self._size: int | None = None
        self._validator: str | None = None

    @property
    def expected_size_bytes(self) -> int | None:
        """The length once the file is open."""
        return self._size

    @property
    def checksum(self) -> ExpectedChecksum | None:
        """An SSH server promises none."""
        return None

    @property
    def validator(self) -> str | None:
        """Length and time of the file."""
        return self._validator

    async def measure(self) -> int | None:
        """Not known before it is opened."""
        return None

    def describe(self) -> str:
        """The URL without the password."""
        return str(self._url)

    async def open(
        self, progress: Progress, *, resume: ResumePoint | None = None
    ) -> AsyncGenerator[BytesLike, None]:
        """The file in blocks, going on after drops."""
        have = resume.offset if resume else 0
        self._validator = resume.validator if resume else None
        while True:
            try:
                async with aclosing(self._attempt(have)) as blocks:
                    async for block in blocks:
                        have += len(block)
                        self._budget.received(len(block))
                        yield block
            except SourceRestartedError as error:
                await self._budget.pause(error, progress)
                raise
            except SourceFailedError as error:
                await self._budget.pause(error, progress)
            else:
                return

    async def _attempt(self, have: int) -> AsyncGenerator[bytes, None]:
        """One connection: the file from ``have`` to its end."""
        session = _Session(self._url, self._password, self._equipment)
        try:
            size, validator = await self._begin(session)
            if have and validator != self._validator:
                raise SourceRestartedError(f"The file on {self._url.host} has changed")
            self._size, self._validator = size, validator
            while have < size:
                block = await self._call(session.read, have, min(_WINDOW_BYTES, size - have))
                if not block:
                    raise SourceRestartedError(f"The file on {self._url.host} became shorter")
                have += len(block)
                yield block
        finally:
            session.close()

    async def _begin(self, session: _Session) -> tuple[int, str]:
        url, equipment = self._url, self._equipment
        if url.address is not None:
            equipment.guard.check(url.host, [url.address])
            address = url.host
        else:
            resolver = GuardedResolver(equipment.guard, equipment.pool, equipment.limits)
            address = (await resolver.resolve(url.host, url.port))[0]["host"]
        size, validator = await self._call(session.begin, address)
        if size == 0:
            raise SourceFailedError(f"The file at {url} is empty")
        self._budget.answered()
        return size, validator

    async def _call(self, fn: Callable[..., T], *args: object) -> T:
        limits = self._equipment.limits
        try:
            return await self._equipment.pool.call(
                fn, *args, deadline_s=limits.connect_timeout_s + limits.idle_timeout_s
            )
        except PoolError as error:
            raise SourceFailedError(
                f"{self._url.host} does not answer in time", detail=error.message, retryable=True
            ) from error


class _Session:
    """One SSH connection with the file open in it; every method but :meth:`close` blocks."""

    def __init__(self, url: SourceUrl, password: Secret, equipment: ScpEquipment) -> None:
        self._url = url
        self._password = password
        self._limits = equipment.limits
        self._host_keys = equipment.host_keys
        self._transport: Transport | None = None
        self._file: SFTPFile | None = None

    def begin(self, address: str) -> tuple[int, str]:
        """Connect, authenticate, open: length and validator of the file."""
        import paramiko

        url = self._url
        try:
            connection = socket.create_connection(
                (address, url.port), timeout=self._limits.connect_timeout_s
            )
            transport = self._transport = paramiko.Transport(connection)
            self._negotiate(transport)
            transport.auth_password(url.user, self._password.reveal())
            channel = transport.open_session(timeout=self._limits.header_timeout_s)
            channel.settimeout(self._limits.idle_timeout_s)
            channel.invoke_subsystem("sftp")
            self._file = paramiko.SFTPClient(channel).open(url.decoded_path, "rb")
            facts = self._file.stat()
        except paramiko.AuthenticationException as error:
            # Compat: storage-commands.md 4.6
            raise SourceFailedError("Unable to authenticate", detail=url.host) from error
        except (FileNotFoundError, PermissionError) as error:
            raise SourceFailedError(f"Unable to find {url}", detail=str(error)) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._dropped(error) from error
        return facts.st_size or 0, f"{facts.st_size}-{facts.st_mtime}"

    def _negotiate(self, transport: Transport) -> None:
        """Agree on keys and check the server's, before anything secret is sent."""
        url = self._url
        known = self._host_keys.known_types(url.host, url.port)
        if known:
            options = transport.get_security_options()
            wanted = [kind for kind in options.key_types if _base_type(kind) in known]
            options.key_types = wanted or options.key_types
        transport.banner_timeout = self._limits.header_timeout_s
        transport.auth_timeout = self._limits.header_timeout_s
        transport.start_client(timeout=self._limits.header_timeout_s)
        self._host_keys.verify(url.host, url.port, transport.get_remote_server_key())

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file; fewer than asked for when it has become shorter."""
        import paramiko

        file = self._file
        if file is None:
            raise SourceFailedError("The connection is closed", retryable=True)
        try:
            pieces = [
                (place, min(BLOCK_SIZE_BYTES, offset + length - place))
                for place in range(offset, offset + length, BLOCK_SIZE_BYTES)
            ]
            return b"".join(file.readv(pieces))
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._dropped(error) from error

    def close(self) -> None:
        """Drop the connection; a call that still waits on it ends."""
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.close()

    def _dropped(self, error: BaseException) -> SourceFailedError:
        return SourceFailedError(
            f"The SSH connection to {self._url.host}:{self._url.port} failed",
            detail=str(error) or type(error).__name__,
            retryable=True,
        )


def _base_type(key_type: str) -> str:
    """The key type behind a signature algorithm."""
    return "ssh-rsa" if key_type.startswith("rsa-sha2-") else key_type
