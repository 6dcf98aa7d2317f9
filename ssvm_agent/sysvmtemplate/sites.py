# SPDX-License-Identifier: Apache-2.0
"""One store that gets the template: what is checked there, taken, and put right beforehand."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ssvm_agent.storage.errors import NoSpaceError
from ssvm_agent.storage.layout import StoreUrl, local_directory_name
from ssvm_agent.storage.stores import Life, Store, StoreRef
from ssvm_agent.sysvmtemplate.errors import StoreUnusableError, TemplateExistsError
from ssvm_agent.sysvmtemplate.placement import (
    PROPERTIES,
    Plan,
    is_in_place,
    place,
    read_plan,
    undo,
)
from ssvm_agent.sysvmtemplate.result import StoreResult
from ssvm_agent.sysvmtemplate.workspace import StoreLock, Workspace

# Moving files of a template is a handful of operations; a server that needs longer is as good as
# dead.
_MOVE_DEADLINE_S: Final = 120.0
_RE_MOVE_DEADLINE_S: Final = 600.0
_MIB: Final = 1 << 20


@dataclass(slots=True, eq=False)
class Site:
    """A store and the place of one template on it.

    Attributes:
        occupants: What was in the place of the template before.
        free_bytes: Before the installation.
        keep_work: The work directory has something that a later run needs.
    """

    store: Store
    workspace: Workspace
    lock: StoreLock | None = None
    occupants: tuple[str, ...] = ()
    free_bytes: int = 0
    keep_work: bool = False
    _moving: threading.Lock = field(default_factory=threading.Lock)

    @property
    def mount(self) -> Path:
        """Where the store is mounted."""
        return self.store.root

    def result(self) -> StoreResult:
        """The site as it is reported."""
        return StoreResult(
            mount=self.mount,
            directory=self.workspace.destination,
            replaces=bool(self.occupants),
            free_bytes=self.free_bytes,
        )

    async def take(self) -> None:
        """Keep others away from the template.

        Raises:
            BusyError: Somebody is at it.
            StorageError: The store refuses.
        """
        self.lock = await self.store.run(_take, self.workspace, what=f"prepare {self.mount}")

    async def is_interrupted(self) -> bool:
        """Whether an installation was killed while it put its template in place."""
        return await self.store.run(read_plan, self.workspace) is not None

    async def put_right(self, database_uuid: str | None) -> str:
        """Undo, or bring to its end, what a killed installation left.

        Args:
            database_uuid: What the database has for the template; None when it is not asked.

        Returns:
            What was done, for the operator; empty when there was nothing.
        """
        plan = await self.store.run(read_plan, self.workspace)
        if plan is None:
            await self._clear()
            return ""
        if plan.database and database_uuid is not None:
            ended = plan.uuid == database_uuid
        else:
            ended = await self.store.run(is_in_place, self.workspace, plan)
        if not ended:
            await self.undo()
        await self._clear()
        verb = "brought to its end" if ended else "undone"
        return f"An earlier installation that was interrupted on {self.mount} has been {verb}"

    async def place(self, plan: Plan) -> None:
        """Move the finished template into place, and what it replaces out.

        Raises:
            StorageError: The store refuses; :meth:`undo` brings back what was there.
        """
        self.keep_work = True
        await self._move(
            place, self.workspace, plan,
            what=f"move the template into {self.workspace.destination}",
        )  # fmt: skip

    async def undo(self) -> None:
        """Bring back what was there before.

        Raises:
            StorageError: The store refuses; another attempt may be made.
        """
        self.keep_work = True
        await self._move(undo, self.workspace, what=f"put the old template back on {self.mount}")
        self.keep_work = False

    async def _move(self, fn: Callable[..., None], *args: object, what: str) -> None:
        def in_turn() -> None:
            # A move that was given up may still be going on in its thread.
            with self._moving:
                fn(*args)

        await self.store.run(in_turn, deadline_s=_MOVE_DEADLINE_S, what=what)

    async def examine(self, *, force: bool) -> None:
        """Look at the place of the template and at the free space.

        Raises:
            TemplateExistsError: Something is there, and shall not be replaced.
        """
        self.occupants = await self.store.run(_occupants, self.workspace)
        facts = await self.store.statvfs()
        self.free_bytes = facts.f_bavail * facts.f_frsize
        if not self.occupants or force:
            return
        what = "a template" if PROPERTIES in self.occupants else ", ".join(self.occupants[:5])
        raise TemplateExistsError(
            f"{self.workspace.destination} has {what} in it already. Use -F to replace it once the"
            " new one is complete, or -t to install under another id."
        )

    def check_space(self, least_bytes: int) -> None:
        """Refuse what cannot fit.

        Raises:
            NoSpaceError: There is less left than needed.
        """
        if self.free_bytes < least_bytes:
            raise NoSpaceError(
                f"{self.mount} has {self.free_bytes // _MIB} MiB left, the template needs at least "
                f"{-(-least_bytes // _MIB)} MiB"
                + (" beside the one it replaces" if self.occupants else "")
            )

    async def leave(self) -> None:
        """Remove what only the installation needed."""
        if self.lock is None:
            return
        if not self.keep_work:
            await self._clear()
        await self.store.run(self.lock.release)
        self.lock = None

    async def _clear(self) -> None:
        await self.store.run(
            self.workspace.clear, deadline_s=_RE_MOVE_DEADLINE_S,
            what=f"remove {self.workspace.home}",
        )  # fmt: skip


def open_store(mount: Path) -> Store:
    """A mounted store, as it is; nothing is mounted here."""
    return Store(
        StoreRef(url=f"file://{mount}"),
        mount,
        local_directory_name(str(mount)),
        url=StoreUrl(scheme="file", host="", path=str(mount)),
        address="",
    )


async def check_mounts(stores: Sequence[Store]) -> tuple[str, ...]:
    """Make sure that all stores can take a template.

    Returns:
        Remarks for the operator.

    Raises:
        StoreUnusableError: One is no directory, cannot be written to, or is given twice.
        StoreUnavailableError: One does not answer.
    """
    remarks: list[str] = []
    seen: dict[tuple[int, int], Path] = {}
    for store in stores:
        life = await store.probe()
        if life is not Life.ALIVE:
            reason = "is not there" if life is Life.NOT_MOUNTED else "has a stale mount"
            raise StoreUnusableError(
                f"{store.root} {reason}. Mount the secondary storage and give its mount point "
                "with -m."
            )
        identity, is_mount = await store.run(_identify, store.root)
        if identity in seen:
            raise StoreUnusableError(
                f"{seen[identity]} and {store.root} are the same store; give each once"
            )
        seen[identity] = store.root
        if not is_mount:
            remarks.append(
                f"{store.root} is not a mount point: make sure that the secondary storage itself "
                "is there and not the empty directory it should be mounted on"
            )
    return tuple(remarks)


def _identify(root: Path) -> tuple[tuple[int, int], bool]:
    """Device and inode, and whether something is mounted there."""
    if not root.is_dir():
        raise StoreUnusableError(f"{root} is not a directory. Give a mount point with -m.")
    if not os.access(root, os.W_OK | os.X_OK):
        raise StoreUnusableError(
            f"{root} cannot be written to. Run as root, mount it read-write, and check how the "
            "store is exported."
        )
    facts = root.stat()
    return (facts.st_dev, facts.st_ino), root.is_mount()


def _take(workspace: Workspace) -> StoreLock:
    workspace.check_paths()
    return StoreLock.take(workspace)


def _occupants(workspace: Workspace) -> tuple[str, ...]:
    workspace.check_paths()
    try:
        return tuple(sorted(path.name for path in workspace.destination.iterdir()))
    except FileNotFoundError:
        return ()
    except NotADirectoryError as error:
        raise StoreUnusableError(f"{workspace.destination} is not a directory") from error
