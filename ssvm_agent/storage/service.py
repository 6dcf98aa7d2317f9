# SPDX-License-Identifier: Apache-2.0
"""Opening secondary stores and keeping them alive.

Theory of operation: :meth:`StoreService.open` is the way in for every command. It resolves the
store's address once, mounts when nothing is mounted, and proves the mount alive (requirements R12):
``statvfs`` answers and the directory is on another device than its parent, both in time, in threads
that belong to this store alone. What the probe finds decides:

* alive: the store is handed out;
* not mounted: mount it;
* stale (the kernel says the handle or the server's export is gone): lazy unmount, mount, one retry;
* silent: an error at once. The mount is left alone, because a server that comes back continues
  where it stopped; only after ``release_s`` of silence it is detached to give the threads back.

Locks are per store, so a store that takes long to mount delays nobody else. A failed attempt is
remembered for a moment, so that those who waited for the same lock do not each try again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ssvm_agent import log
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.errors import HostError, PoolError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.host.tasks import KeyedLocks
from ssvm_agent.storage.errors import (
    MountFailedError,
    NotFoundError,
    StorageError,
    StoreUnavailableError,
)
from ssvm_agent.storage.layout import (
    StoreUrl,
    local_directory_name,
    mount_directory_name,
    parse_store_url,
)
from ssvm_agent.storage.mounts import Mounter, check_nfs_version
from ssvm_agent.storage.paths import DIRECTORY_MODE, make_directories
from ssvm_agent.storage.resolver import first_address
from ssvm_agent.storage.stores import PROBE_DEADLINE_S, Life, Store, StoreRef

_logger = logging.getLogger(__name__)

# What a store holds from the moment it is mounted; template/ appears with the first template.
_FIRST_DIRECTORIES: Final = ("snapshots", "volumes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a store, in seconds; each wait contains the ones above it.

    Attributes:
        resolve_s: For the address of its host.
        probe_s: For a sign of life.
        failure_s: A failed attempt answers for others this long.
        release_s: A mount silent this long is detached.
    """

    resolve_s: float = 10.0
    probe_s: float = PROBE_DEADLINE_S
    failure_s: float = 5.0
    release_s: float = 300.0


@dataclass(slots=True)
class _Record:
    """What the service remembers of one store."""

    store: Store
    attached: bool = False
    failure: tuple[float, StorageError] | None = None
    silent_since: float | None = None


class StoreService:
    """All the stores this agent has been told about.

    Args:
        mount_root: Network stores are mounted below it.
        runner: Starts the mount programs.
        clock: For remembering failures.
        nfs_version: Used when a command names none.
        patience: How long to wait for what.
        mounter: Replaces the real mount programs and table in tests.
        resolve: Finds the address of a host; blocking, raises ``OSError``.
        on_attached: Told about each store when it is first opened and after each remount.
    """

    def __init__(
        self,
        *,
        mount_root: Path,
        runner: Runner,
        clock: Clock,
        nfs_version: str | None = None,
        patience: Patience | None = None,
        mounter: Mounter | None = None,
        resolve: Callable[[str], str] = first_address,
        on_attached: Callable[[Store], None] | None = None,
    ) -> None:
        self._mount_root = mount_root
        self._clock = clock
        self._nfs_version = nfs_version
        self._patience = patience or Patience()
        self._local = WorkPool("this machine's files and resolver", threads=4)
        self._mounter = mounter or Mounter(runner, self._local)
        self._resolve = resolve
        self._on_attached = on_attached
        self._locks = KeyedLocks()
        self._names: dict[tuple[str, str, str], str] = {}
        self._records: dict[str, _Record] = {}

    def known(self) -> tuple[Store, ...]:
        """The stores that were opened so far, alive or not."""
        return tuple(record.store for record in self._records.values())

    async def close(self) -> None:
        """Let all threads go; the mounts stay for the web server and for the next start."""
        for store in self.known():
            store.close()
        self._local.close()

    async def open(self, ref: StoreRef) -> Store:
        """A store that is mounted and answers.

        Raises:
            UnsupportedStoreError: The URL or the NFS version cannot be used.
            MountFailedError: It could not be mounted.
            StoreUnavailableError: It does not answer, or its host has no address.
        """
        url = parse_store_url(ref.url)
        version = check_nfs_version(ref.nfs_version) or check_nfs_version(self._nfs_version)
        key = (url.scheme, url.host.lower(), url.path)
        async with self._locks.hold(key):
            name = self._names.get(key)
            address = ""
            if name is None:
                address = await self._address(url)
                name = _directory_name(url, address)
        root = Path(url.path) if url.scheme == "file" else self._mount_root / name
        async with self._locks.hold(name):
            record = self._records.setdefault(
                name, _Record(Store(ref, root, name, url=url, address=address))
            )
            try:
                await self._ensure_alive(record, version)
            except StorageError:
                # The host may have moved: its address is looked up again next time.
                self._names.pop(key, None)
                raise
            self._names[key] = name
        return record.store

    async def find(self, directory_name: str) -> Store:
        """The store of a directory below the mount root, as ``parent`` fields name it.

        A mount that an earlier process made is taken over.

        Raises:
            NotFoundError: There is no such store here.
            StoreUnavailableError: It does not answer.
        """
        record = self._records.get(directory_name)
        if record is not None:
            return await self.open(record.store.ref)
        for entry in await self._local.call(self._mounter.entries):
            if entry.mount_point == self._mount_root / directory_name:
                address, _, path = entry.source.rpartition(":/")
                address = address.strip("[]")
                if mount_directory_name(address, f"/{path}") == directory_name:
                    host = f"[{address}]" if ":" in address else address
                    return await self.open(StoreRef(url=f"nfs://{host}/{quote(path)}"))
        raise NotFoundError(f"There is no secondary storage {directory_name[:64]} on this machine")

    async def _address(self, url: StoreUrl) -> str:
        if url.scheme == "file":
            return ""
        try:
            return await self._local.call(
                self._resolve, url.host, deadline_s=self._patience.resolve_s
            )
        except (OSError, PoolError) as error:
            raise StoreUnavailableError(
                f"The secondary storage host {url.host} cannot be resolved", detail=str(error)
            ) from error

    async def _ensure_alive(self, record: _Record, version: str | None) -> None:
        now = self._clock.monotonic()
        if record.failure and now - record.failure[0] < self._patience.failure_s:
            earlier = record.failure[1]
            raise type(earlier)(earlier.message, detail=earlier.detail) from earlier
        try:
            await self._revive(record, version)
        except StorageError as error:
            record.failure = (self._clock.monotonic(), error)
            raise
        record.failure = None
        record.silent_since = None

    async def _revive(self, record: _Record, version: str | None) -> None:
        """Probe, and do what the finding asks for; see the module docstring."""
        store = record.store
        try:
            life = await store.probe(deadline_s=self._patience.probe_s)
            if life is Life.STALE:
                # Others work on this mount: what passes by itself is no reason to take it away.
                life = await store.probe(deadline_s=self._patience.probe_s)
        except StoreUnavailableError:
            if not self._is_given_up(record):
                raise
            life = Life.STALE
        if life is not Life.ALIVE:
            if not store.is_mounted_here:
                raise StoreUnavailableError(f"The directory {store.root} is not there")
            record.attached = False
            if life is Life.STALE:
                await self._detach(record)
            await self._mount(store, version)
            life = await store.probe(deadline_s=self._patience.probe_s)
            if life is not Life.ALIVE:
                raise StoreUnavailableError(
                    f"The secondary storage {store.ref.display} is {life.value} after mounting it"
                )
        if not record.attached:
            await self._attach(record)

    def _is_given_up(self, record: _Record) -> bool:
        """Whether a mount has been silent for so long that its threads are taken back."""
        now = self._clock.monotonic()
        if record.silent_since is None:
            record.silent_since = now
        silent = now - record.silent_since >= self._patience.release_s
        return silent and record.store.is_mounted_here

    async def _detach(self, record: _Record) -> None:
        store = record.store
        log.event(_logger, logging.WARNING, "detaching a stale store", store=store.ref.display)
        try:
            await self._mounter.unmount(store.root)
        except HostError as error:
            raise StoreUnavailableError(
                f"The stale mount of {store.ref.display} cannot be detached", detail=error.message
            ) from error
        store.attach(None, fresh_threads=True)
        record.silent_since = None

    async def _mount(self, store: Store, version: str | None) -> None:
        try:
            await self._local.call(_make_mount_point, store.root)
        except (OSError, PoolError) as error:
            raise MountFailedError(
                f"Unable to create local folder for: {store.root} in order to mount "
                f"{store.ref.display}",
                detail=str(error),
            ) from error
        try:
            await self._mounter.mount(store.url, store.address, store.root, version)
        except MountFailedError:
            with contextlib.suppress(OSError, PoolError):
                await self._local.call(store.root.rmdir)
            raise

    async def _attach(self, record: _Record) -> None:
        """Take note of a store found alive, and complete what it must hold."""
        store = record.store
        entry = await self._local.call(self._mounter.find, store.root)
        store.attach(entry if store.is_mounted_here else None)
        record.attached = True
        log.event(
            _logger, logging.INFO, "store attached", store=store.ref.display,
            directory=store.directory_name, version=store.negotiated_version or "-",
        )  # fmt: skip
        try:
            await store.run(_make_first_directories, store.root)
        except StorageError as error:
            # Compat: storage-commands.md 8: only logged; a read-only store can still be listed.
            log.event(
                _logger, logging.WARNING, "store lacks directories", store=store.ref.display,
                reason=error.for_operators(),
            )  # fmt: skip
        if self._on_attached is not None:
            self._on_attached(store)


def _directory_name(url: StoreUrl, address: str) -> str:
    if url.scheme == "file":
        return local_directory_name(url.path)
    return mount_directory_name(address, url.path)


def _make_mount_point(root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    try:
        root.mkdir()
    except FileExistsError:
        return
    root.chmod(DIRECTORY_MODE)


def _make_first_directories(root: Path) -> None:
    for name in _FIRST_DIRECTORIES:
        make_directories(root, name)
