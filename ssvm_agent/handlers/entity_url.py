# SPDX-License-Identifier: Apache-2.0
"""Links to files users fetch: create and delete (storage-commands.md 3.7, 3.8)."""

from __future__ import annotations

import logging
import shutil
from pathlib import PurePosixPath
from typing import Final

from ssvm_agent import log
from ssvm_agent.errors import AgentError
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import required
from ssvm_agent.ingest.ova_files import pack_ova
from ssvm_agent.messages.base import Answer
from ssvm_agent.messages.entity_url import (
    CreateEntityDownloadURLAnswer,
    CreateEntityDownloadURLCommand,
    DeleteEntityDownloadURLCommand,
)
from ssvm_agent.messages.names import ExtractType
from ssvm_agent.storage.errors import NotFoundError, PathEscapeError, StorageError
from ssvm_agent.storage.layout import SNAPSHOTS, TEMPLATES, VOLUMES, check_relative
from ssvm_agent.storage.paths import is_plain_directory, resolve_inside
from ssvm_agent.storage.stores import Store
from ssvm_agent.web.errors import PublishError
from ssvm_agent.web.server import WebServices

_logger = logging.getLogger(__name__)

# Area, account, volume, file: nothing shorter is a copy made for a link (requirements S8).
_EXPORT_DEPTH: Final = 4
_OVA: Final = ".ova"
_TEMPORARY_SNAPSHOT: Final = "_temp"


@REGISTRY.command(CreateEntityDownloadURLCommand, CreateEntityDownloadURLAnswer)
async def create(
    command: CreateEntityDownloadURLCommand, services: Services
) -> CreateEntityDownloadURLAnswer:
    """Publish one file; the server makes the URL itself."""
    # Compat: storage-commands.md 12: 4.5 sends one name, later servers a directory and a name.
    names = (
        (command.extract_link_uuid,)
        if command.extract_link_uuid
        else (command.filepath_in_extract_url, command.filename_in_extract_url)
    )
    parent, path = required(command.parent, "parent"), required(command.install_path, "installPath")
    await _web(services).publish(
        parent,
        await _packed(services, parent, path),
        *(required(name, "filenameInExtractURL") for name in names),
    )
    return CreateEntityDownloadURLAnswer(details="")


@REGISTRY.command(DeleteEntityDownloadURLCommand, Answer)
async def delete(command: DeleteEntityDownloadURLCommand, services: Services) -> Answer:
    """Take a link back, and delete the copy that was made for it."""
    if command.extract_url:
        await _withdraw(_web(services), command.extract_url)
    if command.type in {ExtractType.VOLUME, ExtractType.SNAPSHOT} and command.path:
        store = await services.stores.find(required(command.parent_path, "parentPath"))
        if command.type == ExtractType.VOLUME:
            await _delete_volume(store, command.path)
        else:
            await _delete_temporary_snapshot(store, command.path)
    return Answer(details="")


async def _packed(services: Services, parent: str, path: str) -> str:
    """A template's OVA may exist only as its parts; it is packed first (3.20)."""
    if not path.endswith(_OVA) or not path.lstrip("/").startswith(f"{TEMPLATES}/"):
        return path
    try:
        store = await services.stores.find(parent)
        return await pack_ova(store, path, owner=services.settings.name)
    except NotFoundError:
        # Publishing it says what is missing.
        return path


async def _withdraw(web: WebServices, url: str) -> None:
    try:
        await web.withdraw(url)
    except AgentError as error:
        # Compat: storage-commands.md 3.8: a link that stays never fails the command.
        log.event(_logger, logging.WARNING, "link not withdrawn", reason=error.for_operators())


async def _delete_volume(store: Store, path: str) -> None:
    try:
        relative = _export_path(path, VOLUMES)
        await store.run(_remove, store, relative, what=f"delete {relative}")
    except StorageError as error:
        # Compat: storage-commands.md 3.8
        raise StorageError(
            f"Error in deleting volume {path} : {error.message}", detail=error.detail
        ) from error


async def _delete_temporary_snapshot(store: Store, path: str) -> None:
    flattened = path.removesuffix(_TEMPORARY_SNAPSHOT) + _TEMPORARY_SNAPSHOT
    try:
        relative = _export_path(flattened, SNAPSHOTS)
        await store.run(_remove, store, relative, what=f"delete {relative}")
    except StorageError as error:
        # Compat: storage-commands.md 3.8
        raise StorageError(
            f"Error deleting temporary snapshot {flattened}.", detail=error.for_operators()
        ) from error


def _export_path(path: str, area: PurePosixPath) -> PurePosixPath:
    relative = check_relative(path, strip_slash=True)
    if relative.parts[:1] != area.parts or len(relative.parts) < _EXPORT_DEPTH:
        raise PathEscapeError("The path does not name a file of this kind")
    return relative


def _remove(store: Store, relative: PurePosixPath) -> None:
    """Blocking: remove a file, or a directory with its files; nothing there is fine (R13)."""
    place = resolve_inside(store.root, relative)
    if is_plain_directory(place):
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _web(services: Services) -> WebServices:
    if services.web is None:
        raise PublishError("This agent serves no files: publishing is switched off.")
    return services.web
