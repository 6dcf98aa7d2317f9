# SPDX-License-Identifier: Apache-2.0
"""CopyCommand: which of the copies is meant, and what the server is told of the result.

storage-commands.md 3.15: the kinds and stores of the two objects decide; the first case that fits
is taken. The copying itself is in :mod:`ssvm_agent.storage.copies`.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from ssvm_agent.dispatch.registry import Lane
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import kind_of, required, store_of, store_ref
from ssvm_agent.ingest.image_check import check_image, check_snapshot, skip_check
from ssvm_agent.messages.base import Answer, DataStoreTO, DataTO, UnsupportedAnswer, class_name_of
from ssvm_agent.messages.copy import CopyCmdAnswer, CopyCommand
from ssvm_agent.messages.names import DataStoreRole, HypervisorType, ImageFormat
from ssvm_agent.messages.objects import SnapshotObjectTO, TemplateObjectTO, VolumeObjectTO
from ssvm_agent.messages.stores import S3TO, NfsTO, SwiftTO
from ssvm_agent.storage.copies import (
    Check,
    Copied,
    CopyTools,
    Place,
    migrate,
    template_from_snapshot,
)
from ssvm_agent.storage.errors import StorageError, UnsupportedStoreError
from ssvm_agent.storage.xenserver import template_from_chain

_SNAPSHOT_ROLES: Final = frozenset(
    {DataStoreRole.IMAGE, DataStoreRole.IMAGE_CACHE, DataStoreRole.PRIMARY}
)
# Compat: storage-commands.md 3.15: a format in the answer overwrites that of the template, so it is
# left out where the server expects none, as for an ISO.
_ANSWERED_FORMATS: Final = {
    ".vhd": ImageFormat.VHD,
    ".vhdx": ImageFormat.VHDX,
    ".qcow2": ImageFormat.QCOW2,
    ".ova": ImageFormat.OVA,
    ".tar": ImageFormat.TAR,
    ".raw": ImageFormat.RAW,
    ".img": ImageFormat.RAW,
    ".vmdk": ImageFormat.VMDK,
    ".vdi": ImageFormat.VDI,
}


@REGISTRY.command(CopyCommand, CopyCmdAnswer, lane=Lane.LONG, honours_wait=True)
async def handle(command: CopyCommand, services: Services) -> Answer:
    """Copy an object; the answer carries it as it is at its new place."""
    source, target = required(command.src, "srcTO"), required(command.dest, "destTO")
    source_store = required(store_of(source), "srcTO.dataStore")
    target_store = required(store_of(target), "destTO.dataStore")
    if _is_migration(source, target):
        return await _migrate(source, target, services)
    if isinstance(source, SnapshotObjectTO) and isinstance(target, TemplateObjectTO):
        return await _make_template(source, target, services)
    roles = _role(source_store), _role(target_store)
    if roles[1] == DataStoreRole.IMAGE_CACHE and _is_object_store(source_store):
        raise UnsupportedStoreError(
            "Unable to fetch from an object store to the cache: object stores are not served by "
            "this agent"
        )
    if roles == (DataStoreRole.IMAGE_CACHE, DataStoreRole.IMAGE):
        raise UnsupportedStoreError(
            "Unable to copy from the cache to the image store: that is for object stores, which "
            "are not served by this agent"
        )
    return UnsupportedAnswer.to(class_name_of(command))


def _role(store: DataStoreTO | None) -> str | None:
    match store:
        case NfsTO():
            return store.role or DataStoreRole.IMAGE
        case S3TO() | SwiftTO():
            return DataStoreRole.IMAGE
        case _:
            return None


def _is_object_store(store: DataStoreTO | None) -> bool:
    return isinstance(store, S3TO | SwiftTO)


def _is_migration(source: DataTO, target: DataTO) -> bool:
    """Case a: from one image store to another, as the same kind of object."""
    same_kind = kind_of(source) is not None and kind_of(source) is kind_of(target)
    stores = (store_of(source), store_of(target))
    return same_kind and all(
        isinstance(store, NfsTO) and _role(store) == DataStoreRole.IMAGE for store in stores
    )


def _tools(services: Services) -> CopyTools:
    return CopyTools(owner=services.jobs.tools.owner, clock=services.clock)


async def _migrate(source: DataTO, target: DataTO, services: Services) -> CopyCmdAnswer:
    kind = kind_of(source)
    assert kind is not None
    copied = await migrate(
        kind,
        await _place(source, "srcTO", services),
        await _place(target, "destTO", services),
        check=_check_of(source),
        tools=_tools(services),
    )
    return CopyCmdAnswer(new_data=_migrated(source, copied))


def _check_of(source: DataTO) -> Check:
    """How strictly an object is looked at when it is moved (requirements S1)."""
    if not isinstance(source, SnapshotObjectTO):
        return check_image
    # An incremental snapshot names its parent by design; no guest starts from it.
    return skip_check if source.kvm_incremental_snapshot else check_snapshot


async def _place(data: DataTO, name: str, services: Services) -> Place:
    path = _path_of(data, name)
    return Place(store=await services.stores.open(store_ref(store_of(data))), path=path)


def _path_of(data: DataTO, name: str) -> str:
    match data:
        case TemplateObjectTO() | VolumeObjectTO() | SnapshotObjectTO():
            return required(data.path, f"{name}.path")
        case _:
            raise StorageError(f"{name} is of a kind that is not kept on secondary storage")


def _migrated(source: DataTO, copied: Copied) -> DataTO:
    """The object at its new place; every field set overwrites the server's row."""
    match source:
        case TemplateObjectTO():
            return _template(copied)
        case VolumeObjectTO():
            return VolumeObjectTO(path=copied.path, size=copied.virtual_size_bytes)
        case SnapshotObjectTO():
            # An absent parent would cut the row off its chain (storage-commands.md 3.15).
            return SnapshotObjectTO(
                path=copied.path,
                physical_size=copied.physical_size_bytes,
                parent_snapshot_path=source.parent_snapshot_path,
            )
        case _:
            raise AssertionError(source)


def _template(copied: Copied, *, name: str | None = None) -> TemplateObjectTO:
    return TemplateObjectTO(
        path=copied.path,
        size=copied.virtual_size_bytes,
        physical_size=copied.physical_size_bytes,
        format=_ANSWERED_FORMATS.get(PurePosixPath(copied.path).suffix.lower()),
        name=name,
    )


async def _make_template(
    source: SnapshotObjectTO, target: TemplateObjectTO, services: Services
) -> Answer:
    """Case b: a template out of a snapshot."""
    source_store = store_of(source)
    if not _is_object_store(source_store) and _role(source_store) not in _SNAPSHOT_ROLES:
        return UnsupportedAnswer.to(class_name_of(CopyCommand))
    snapshot, template = (
        await _place(source, "srcTO", services),
        await _place(target, "destTO", services),
    )
    match source.hypervisor_type:
        case HypervisorType.KVM:
            copied = await template_from_snapshot(
                snapshot, template, unique_name=_unique_name(target),
                extension=_extension(source), check=check_image, tools=_tools(services),
            )  # fmt: skip
            return CopyCmdAnswer(new_data=_template(copied))
        case HypervisorType.XENSERVER:
            copied, name = await template_from_chain(
                snapshot, template, check=check_image, runner=services.runner,
                tools=_tools(services),
            )  # fmt: skip
            # Compat: storage-commands.md 3.15 b: only here the server takes the name over.
            return CopyCmdAnswer(new_data=_template(copied, name=name))
        case other:
            raise StorageError(
                f"Templates from snapshots of {other or 'an unnamed hypervisor'} are not made here"
            )


def _unique_name(template: TemplateObjectTO) -> str:
    # Compat: storage-commands.md 1.3: the name of a template object is its unique name.
    return required(template.name or template.unique_name, "destTO.name")


def _extension(snapshot: SnapshotObjectTO) -> str:
    """Of the format of the snapshot, which is that of its volume."""
    wanted = snapshot.volume.format if snapshot.volume else None
    match wanted:
        case None | ImageFormat.QCOW2:
            return "qcow2"
        case ImageFormat.RAW:
            return "raw"
        case other:
            raise StorageError(f"Unknown image format {other}")
