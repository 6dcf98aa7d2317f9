# SPDX-License-Identifier: Apache-2.0
"""DeleteCommand: delete a template, volume, snapshot or backup (storage-commands.md 3.13)."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from ssvm_agent.dispatch.failures import delete_failure
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required, store_of, store_ref
from ssvm_agent.ingest.jobs import store_key
from ssvm_agent.messages.base import Answer, DataTO
from ssvm_agent.messages.delete import DeleteCommand
from ssvm_agent.messages.objects import (
    BackupDeltaTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from ssvm_agent.storage.errors import StorageError
from ssvm_agent.storage.layout import ImageKind, check_relative
from ssvm_agent.storage.removal import (
    Removal,
    remove_backup,
    remove_image,
    remove_snapshot,
)

if TYPE_CHECKING:
    from ssvm_agent.storage.stores import Store

# Compat: storage-commands.md 3.13
_NO_PATH: Final = "Object with null install path does not exist on image store , no need to delete"


@REGISTRY.command(DeleteCommand, Answer, on_error=delete_failure)
async def handle(command: DeleteCommand, services: Services) -> Answer:
    """Delete one object; what is not there counts as deleted."""
    data = required(command.data, "data")
    path = _path_of(data)
    if path is None or not path.strip():
        return Answer(details=_NO_PATH)
    store = await services.stores.open(store_ref(store_of(data)))
    await _stop_jobs(store, path, services)
    owner = services.jobs.tools.owner
    match data:
        case TemplateObjectTO():
            kind, noun = ImageKind.TEMPLATE, "template parent"
            removal = await remove_image(store, kind, path, data.id, owner=owner)
        case VolumeObjectTO():
            kind, noun = ImageKind.VOLUME, "volume parent"
            removal = await remove_image(store, kind, path, data.id, owner=owner)
        case SnapshotObjectTO():
            noun = "snapshot"
            removal = await remove_snapshot(store, path, data.checkpoint_path)
        case BackupDeltaTO():
            noun = "backup"
            removal = await remove_backup(store, path, data.screenshot_path)
        case _:
            raise StorageError("The object is of a kind that is not kept on secondary storage")
    return Answer(details=_told(removal, noun))


def _path_of(data: DataTO) -> str | None:
    match data:
        case TemplateObjectTO() | VolumeObjectTO() | SnapshotObjectTO() | BackupDeltaTO():
            return data.path
        case _:
            raise StorageError("The object is of a kind that is not kept on secondary storage")


def _told(removal: Removal, noun: str) -> str | None:
    """Success needs no words, unless there was nothing to do."""
    if removal.existed:
        return None
    return f"{noun} directory {removal.directory.name} doesn't exist"


async def _stop_jobs(store: Store, path: str, services: Services) -> None:
    """Abort downloads of our own into what is to be deleted; they would write it again."""
    wanted = check_relative(path, strip_slash=True)
    directories = {wanted, wanted.parent}
    key = store_key(store.url)
    for job in services.jobs.all():
        same_place = PurePosixPath(job.key.directory.strip("/")) in directories
        if job.is_running and job.key.store == key and same_place:
            await services.jobs.abort(job)
