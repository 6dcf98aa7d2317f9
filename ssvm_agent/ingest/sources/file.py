# SPDX-License-Identifier: Apache-2.0
"""A file on another mounted store of this machine (``file://``).

Only what lies below the mount root can be read, and no symbolic link on the way is followed:
anything else would be a way to read the machine's own files (storage-commands.md 4.6, 10).
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final, TypeVar

from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.errors import SourceFailedError
from ssvm_agent.ingest.limits import BLOCK_SIZE_BYTES, TransferLimits
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.source import BytesLike, ResumePoint
from ssvm_agent.ingest.urls import SourceUrl
from ssvm_agent.storage.errors import StorageError
from ssvm_agent.storage.paths import resolve_inside

T = TypeVar("T")

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class FileSource:
    """One file below the mount root; see :class:`ssvm_agent.ingest.source.Source`.

    Args:
        url: ``file://<mount directory>/<path>``, or the absolute path below the mount root.
        mount_root: Directory below which stores are mounted.
        pool: For reading.
        limits: The idle time-out bounds each read.
    """

    def __init__(
        self, url: SourceUrl, *, mount_root: Path, pool: WorkPool, limits: TransferLimits
    ) -> None:
        self._url = url
        self._mount_root = mount_root
        self._pool = pool
        self._limits = limits
        self._size: int | None = None

    @property
    def expected_size_bytes(self) -> int | None:
        """The length of the file once it is open."""
        return self._size

    @property
    def checksum(self) -> ExpectedChecksum | None:
        """A file promises none."""
        return None

    @property
    def validator(self) -> str | None:
        """Local copies are not resumed: they are fast and the file may have changed."""
        return None

    async def measure(self) -> int | None:
        """Not known before it is opened."""
        return None

    def describe(self) -> str:
        """The URL."""
        return str(self._url)

    async def open(
        self, progress: Progress, *, resume: ResumePoint | None = None
    ) -> AsyncGenerator[BytesLike, None]:
        """The file in blocks."""
        del progress, resume
        descriptor = await self._call(self._open)
        try:
            while block := await self._call(os.read, descriptor, BLOCK_SIZE_BYTES):
                yield block
        finally:
            os.close(descriptor)

    async def _call(self, fn: Callable[..., T], *args: object) -> T:
        try:
            return await self._pool.call(fn, *args, deadline_s=self._limits.idle_timeout_s)
        except PoolError as error:
            raise SourceFailedError(
                f"{self._url} does not respond", detail=error.message
            ) from error
        except (OSError, StorageError) as error:
            # Compat: storage-commands.md 4.6. One text for "missing" and "not allowed", so that it
            # tells nothing about files elsewhere.
            raise SourceFailedError(f"Unable to find {self._url}", detail=str(error)) from error

    def _open(self) -> int:
        path = resolve_inside(self._mount_root, self._relative(), must_exist=True)
        descriptor = os.open(path, _FLAGS)
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            raise FileNotFoundError(2, os.strerror(2), str(path))
        self._size = facts.st_size
        return descriptor

    def _relative(self) -> str:
        """The path below the mount root that the URL means."""
        path = self._url.decoded_path
        if self._url.host in {"", "localhost"}:
            root = f"{self._mount_root}/"
            if not path.startswith(root):
                raise FileNotFoundError(2, os.strerror(2), path)
            return path.removeprefix(root)
        return f"{self._url.host}{path}"
