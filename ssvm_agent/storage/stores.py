# SPDX-License-Identifier: Apache-2.0
"""A secondary store: what a command calls it, and blocking work on the one it means.

Each store has its own threads and its own locks, so that one that does not answer costs nobody else
anything (requirements R12). How a store gets mounted and stays alive is the business of
:mod:`ssvm_agent.storage.service`.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from ssvm_agent import log
from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.pools import DEFAULT_DEADLINE_S, WorkPool
from ssvm_agent.host.tasks import KeyedLocks
from ssvm_agent.masking import mask_url
from ssvm_agent.storage.errors import StoreUnavailableError, from_os_error
from ssvm_agent.storage.layout import StoreUrl
from ssvm_agent.storage.mounts import MountEntry
from ssvm_agent.storage.names import NameCache

T = TypeVar("T")

_logger = logging.getLogger(__name__)

# How long a store may take for a sign of life.
PROBE_DEADLINE_S: Final = 10.0

_STALE_ERRNOS: Final = frozenset(
    {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ESHUTDOWN,
     errno.EHOSTDOWN, errno.EREMOTEIO}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRef:
    """A store as a command names it.

    Attributes:
        url: ``nfs://…``, ``cifs://…`` (holds a password) or ``file:///…``.
        role: ``Image``, ``ImageCache``, ``Primary``, ``Backup`` or ``Object``.
        uuid: Usually absent.
        nfs_version: As given; checked when it is used.
    """

    url: str = field(repr=False)
    role: str = "Image"
    uuid: str | None = None
    nfs_version: str | None = None

    @property
    def display(self) -> str:
        """The URL without secrets, for logs and messages."""
        return mask_url(self.url)


class Life(Enum):
    """What a probe found."""

    ALIVE = "alive"
    NOT_MOUNTED = "not mounted"
    STALE = "stale"


class Store:
    """One store that was opened: its directory, its threads and its locks.

    Attributes:
        ref: How it was first named.
        root: Its directory on this machine.
        directory_name: Name of the directory; goes to ``_dir`` (storage-commands.md 3.1).
        url: The URL taken apart.
        address: Literal address of its host; empty for a plain directory.
        names: Names of directories that were browsed; for :mod:`ssvm_agent.storage.objects`.
        locks: One lock per relative directory, for whoever changes what is in it.
    """

    def __init__(
        self, ref: StoreRef, root: Path, directory_name: str, *, url: StoreUrl, address: str
    ) -> None:
        self.ref = ref
        self.root = root
        self.directory_name = directory_name
        self.url = url
        self.address = address
        self.locks = KeyedLocks()
        self.names = NameCache()
        self._mount: MountEntry | None = None
        self._new_pools()

    @property
    def is_mounted_here(self) -> bool:
        """Whether the store is a mount of ours rather than a plain directory."""
        return self.url.scheme != "file"

    @property
    def negotiated_version(self) -> str | None:
        """The NFS or SMB version in use, as the kernel reports it (requirements R11)."""
        return self._mount.version if self._mount else None

    @property
    def stuck_threads(self) -> int:
        """How many threads wait for a sign of life beyond their deadline."""
        return self._pool.stuck + self._probe_pool.stuck

    async def run(
        self,
        fn: Callable[..., T],
        *args: Any,
        deadline_s: float | None = DEFAULT_DEADLINE_S,
        what: str = "",
        **kwargs: Any,
    ) -> T:
        """Run a blocking function in the threads of this store.

        Args:
            fn: It raises plain ``OSError`` or storage errors.
            args: Its positional arguments.
            deadline_s: None waits without end.
            what: What it does, as the end of "Unable to …", for the text of errors.
            kwargs: Its keyword arguments.

        Raises:
            StoreUnavailableError: It was not done in time, or the store is known to hang.
            StorageError: What an ``OSError`` of it means.
        """
        work = partial(fn, *args, **kwargs)
        return await self._call(self._pool, work, deadline_s=deadline_s, what=what)

    async def probe(self, *, deadline_s: float = PROBE_DEADLINE_S) -> Life:
        """Look for a sign of life (requirements R12).

        Raises:
            StoreUnavailableError: There was none in time.
        """
        work = partial(_probe, self.root, self.is_mounted_here)
        return await self._call(self._probe_pool, work, deadline_s=deadline_s)

    async def statvfs(self, *, deadline_s: float = PROBE_DEADLINE_S) -> os.statvfs_result:
        """The capacity figures of the file system.

        Raises:
            StoreUnavailableError: They did not come in time.
            StorageError: The file system refused.
        """
        work = partial(os.statvfs, self.root)
        return await self._call(self._probe_pool, work, deadline_s=deadline_s)

    async def _call(
        self, pool: WorkPool, work: Callable[[], T], *, deadline_s: float | None, what: str = ""
    ) -> T:
        try:
            return await pool.call(work, deadline_s=deadline_s)
        except PoolError as error:
            raise StoreUnavailableError(
                f"The secondary storage {self.ref.display} does not respond", detail=error.message
            ) from error
        except OSError as error:
            raise from_os_error(error, what or f"use the storage {self.ref.display}") from error

    def _new_pools(self) -> None:
        # Liveness has threads of its own: a few long writes must not make the store look dead.
        self._pool = WorkPool(f"store {self.directory_name[:8]}", threads=8)
        self._probe_pool = WorkPool(f"store {self.directory_name[:8]} probe", threads=2)

    def attach(self, mount: MountEntry | None, *, fresh_threads: bool = False) -> None:
        """Take note of what is mounted now; for the store service.

        Args:
            mount: The entry of the mount table; None for a plain directory.
            fresh_threads: Leave the present threads to a mount that is gone.
        """
        self._mount = mount
        if fresh_threads:
            self.close()
            self._new_pools()

    def close(self) -> None:
        """Let the threads go; the mount stays."""
        self._pool.close()
        self._probe_pool.close()


def _probe(root: Path, mounted: bool) -> Life:
    try:
        own = root.stat()
        if mounted and own.st_dev == root.parent.stat().st_dev:
            return Life.NOT_MOUNTED
        os.statvfs(root)
    except (FileNotFoundError, NotADirectoryError):
        return Life.NOT_MOUNTED
    except OSError as error:
        if error.errno in _STALE_ERRNOS:
            name = errno.errorcode[error.errno]
            log.event(_logger, logging.WARNING, "store is stale", root=root, error=name)
            return Life.STALE
        raise
    return Life.ALIVE
