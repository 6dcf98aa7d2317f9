# SPDX-License-Identifier: Apache-2.0
"""One file into a system VM over SFTP: goes on where it was cut, is named when it is complete."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from ssvm_agent.delivery.errors import ConnectionLostError, RemoteError
from ssvm_agent.delivery.session import Session
from ssvm_agent.delivery.ssh import Connection

if TYPE_CHECKING:
    from paramiko import SFTPFile

_BLOCK_BYTES: Final = 1024 * 1024
# For one block; slower than this is no connection.
_BLOCK_S: Final = 120.0
_CHECK_S: Final = 300.0
_CHECK: Final = """
set -eu
[ -f "$1" ] || exit 3
[ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$2" ] || exit 3
[ "$1" = "$3" ] || { sync "$1"; mv -f "$1" "$3"; sync "$(dirname "$3")"; }
"""
_DIFFERENT: Final = 3


async def upload(
    session: Session,
    local: Path,
    remote: str,
    *,
    sha256: str,
    progress: Callable[[int, int], None],
) -> None:
    """Bring a file to a path, or find it there.

    Args:
        session: The login.
        local: The file.
        remote: Its path there; the directory exists. A part left by an earlier try is used.
        sha256: Its checksum.
        progress: Sees bytes done and bytes in all.

    Raises:
        ConnectionLostError: Try again, it goes on from where it was.
        RemoteError: The disk is full, or what arrived is not the file.
    """
    if await _is(session, remote, sha256, final=remote):
        return
    part = f"{remote}.part"
    transfer = _Transfer(session.connection, local, part)
    try:
        have, size = await session.call(transfer.begin, within_s=_BLOCK_S)
        progress(have, size)
        while have < size:
            have = await session.call(transfer.step, within_s=_BLOCK_S)
            progress(have, size)
        await session.call(transfer.finish, within_s=_BLOCK_S)
    finally:
        transfer.close()
    if not await _is(session, part, sha256, final=remote):
        await session.sh('rm -f "$1"', part)
        raise RemoteError(f"{local.name} arrived damaged; it was removed, try again")


async def _is(session: Session, path: str, sha256: str, *, final: str) -> bool:
    words = ["/bin/sh", "-c", _CHECK, "sh", path, sha256, final]
    outcome = await session.run(words, deadline_s=_CHECK_S)
    if outcome.code not in (0, _DIFFERENT):
        raise RemoteError(f"{shlex.quote(path)} cannot be checked: {outcome.said()}")
    return outcome.code == 0


class _Transfer:
    """The file on its way. Blocking."""

    def __init__(self, connection: Connection, local: Path, part: str) -> None:
        self._connection = connection
        self._local = local
        self._part = part
        self._source: BinaryIO | None = None
        self._sink: SFTPFile | None = None

    def begin(self) -> tuple[int, int]:
        """Open both ends: how much is there, and how much it will be."""
        source = self._source = self._local.open("rb")
        size = self._local.stat().st_size
        client = self._connection.sftp()
        with self._connection.translated(f"{self._part} cannot be written"):
            sink = self._sink = client.open(self._part, "ab")
            # Answers are read at the end, or when they come, and not after each piece.
            sink.set_pipelined(True)
            have = sink.stat().st_size or 0
            if have > size:
                sink.truncate(0)
                have = 0
        source.seek(have)
        return have, size

    def step(self) -> int:
        """Send a block: how much is there then."""
        assert self._source is not None
        assert self._sink is not None
        block = self._source.read(_BLOCK_BYTES)
        if not block:
            raise RemoteError(f"{self._local} became shorter while it was sent")
        try:
            with self._connection.translated(f"{self._part} cannot be written"):
                self._sink.write(block)
        except ConnectionLostError as error:
            raise self._refusal(error) from error
        return self._source.tell()

    def finish(self) -> None:
        """Wait until all of it was taken."""
        assert self._source is not None
        assert self._sink is not None
        try:
            with self._connection.translated(f"{self._part} cannot be written"):
                # Its answer comes after those to all writes.
                taken = self._sink.stat().st_size
                self._sink.close()
                if taken != self._source.tell():
                    raise OSError(f"{taken} of {self._source.tell()} bytes were taken")
        except ConnectionLostError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: ConnectionLostError) -> ConnectionLostError | RemoteError:
        """A server that still talks has refused to write, and has said why in one word only."""
        if not self._connection.is_alive():
            return error
        return RemoteError(
            f"{self._part} cannot be written; is the disk full?", detail=error.detail
        )

    def close(self) -> None:
        """Let go of the file here; the connection's owner closes the other end."""
        if self._source is not None:
            self._source.close()
