# SPDX-License-Identifier: Apache-2.0
"""Between transfer objects and the domain: stores, kinds of images, entries of lists.

Used by every handler that touches storage, so that each translation exists once. Pure.
"""

from __future__ import annotations

from typing import TypeVar

from ssvm_agent.messages.base import DataStoreTO, DataTO, class_name_of
from ssvm_agent.messages.objects import (
    BackupDeltaTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    TemplateProp,
    VolumeObjectTO,
)
from ssvm_agent.messages.stores import S3TO, NfsTO, SwiftTO
from ssvm_agent.storage.catalog import TemplateEntry
from ssvm_agent.storage.errors import StorageError, UnsupportedStoreError
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.storage.stores import StoreRef

T = TypeVar("T")


def required(value: T | None, name: str) -> T:
    """A field that the command cannot do without.

    Raises:
        StorageError: It is missing; the message names it as it travels.
    """
    if value is None:
        raise StorageError(f"The command lacks the field {name}")
    return value


def store_ref(store: DataStoreTO | None, *, nfs_version: str | None = None) -> StoreRef:
    """The store a command means (storage-commands.md 1.2).

    Args:
        store: As it came.
        nfs_version: Of the command, where its value counts (storage-commands.md 8); it goes before
            the one of the store.

    Raises:
        UnsupportedStoreError: It is missing, or not one this agent can mount.
    """
    match store:
        case None:
            raise UnsupportedStoreError("The command names no store")
        case NfsTO(url=str() as url) if url.strip():
            return StoreRef(
                url=url.strip(),
                role=store.role or "Image",
                uuid=store.uuid,
                nfs_version=nfs_version or store.nfs_version,
            )
        case NfsTO():
            raise UnsupportedStoreError("The store has no URL")
        case S3TO() | SwiftTO():
            kind = type(store).__name__.removesuffix("TO")
            raise UnsupportedStoreError(
                f"Unsupported image data store: {kind} object stores are not served by this agent"
            )
        case other:
            raise UnsupportedStoreError(f"Unsupported image data store: {class_name_of(other)}")


def url_ref(url: str | None, *, nfs_version: str | None = None) -> StoreRef:
    """The store of a plain ``secUrl`` field.

    Raises:
        UnsupportedStoreError: It is missing.
    """
    if url is None or not url.strip():
        raise UnsupportedStoreError("The command names no store")
    return StoreRef(url=url.strip(), nfs_version=nfs_version)


def store_of(data: DataTO) -> DataStoreTO | None:
    """The store an object is on."""
    match data:
        case TemplateObjectTO():
            return data.image_data_store
        case VolumeObjectTO() | SnapshotObjectTO() | BackupDeltaTO():
            return data.data_store
        case _:
            return None


def kind_of(data: DataTO) -> ImageKind | None:
    """What an object is; None for a backup, which is no image of a store's three trees."""
    match data:
        case TemplateObjectTO():
            return ImageKind.TEMPLATE
        case VolumeObjectTO():
            return ImageKind.VOLUME
        case SnapshotObjectTO():
            return ImageKind.SNAPSHOT
        case _:
            return None


def template_prop(entry: TemplateEntry) -> TemplateProp:
    """An entry of a list as it travels."""
    return TemplateProp(
        template_name=entry.unique_name,
        install_path=entry.install_path,
        size=entry.size_bytes,
        physical_size=entry.physical_size_bytes,
        id=entry.id,
        is_public=entry.is_public,
        is_corrupted=entry.is_corrupted,
    )
