# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from ssvm_agent.handlers import mapping
from ssvm_agent.messages.base import DataStoreTO, DataTO
from ssvm_agent.messages.objects import (
    BackupDeltaTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from ssvm_agent.messages.stores import S3TO, ImageStoreTO, NfsTO, SwiftTO
from ssvm_agent.storage.catalog import TemplateEntry
from ssvm_agent.storage.errors import StorageError, UnsupportedStoreError
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.storage.stores import StoreRef

STORE = NfsTO(url=" nfs://10.1.1.5/e ", role="ImageCache", uuid="u", nfs_version="4.1")


def test_an_nfs_store_becomes_a_reference() -> None:
    """storage-commands.md 1.2."""
    assert mapping.store_ref(STORE) == StoreRef(
        url="nfs://10.1.1.5/e", role="ImageCache", uuid="u", nfs_version="4.1"
    )
    assert mapping.store_ref(NfsTO(url="nfs://h/e")).role == "Image"


def test_the_version_of_the_command_goes_before_that_of_the_store() -> None:
    """storage-commands.md 8."""
    assert mapping.store_ref(STORE, nfs_version="3").nfs_version == "3"


@pytest.mark.parametrize(
    "store",
    [None, NfsTO(), NfsTO(url=""), S3TO(bucket_name="b"), SwiftTO(), ImageStoreTO(uri="x")],
)
def test_other_stores_are_refused_by_name(store: DataStoreTO | None) -> None:
    with pytest.raises(UnsupportedStoreError) as caught:
        mapping.store_ref(store)
    assert str(caught.value)


def test_a_url_alone_names_a_store() -> None:
    assert mapping.url_ref("nfs://h/e", nfs_version="3") == StoreRef(
        url="nfs://h/e", nfs_version="3"
    )
    for missing in (None, " "):
        with pytest.raises(UnsupportedStoreError):
            mapping.url_ref(missing)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (TemplateObjectTO(image_data_store=STORE), ImageKind.TEMPLATE),
        (VolumeObjectTO(data_store=STORE), ImageKind.VOLUME),
        (SnapshotObjectTO(data_store=STORE), ImageKind.SNAPSHOT),
        (BackupDeltaTO(data_store=STORE), None),
    ],
)
def test_an_object_tells_its_store_and_kind(data: DataTO, kind: ImageKind | None) -> None:
    assert mapping.store_of(data) is STORE
    assert mapping.kind_of(data) is kind


def test_an_object_of_an_unknown_class_tells_nothing() -> None:
    assert mapping.store_of(DataTO()) is None
    assert mapping.kind_of(DataTO()) is None


def test_a_missing_field_is_named() -> None:
    assert mapping.required(0, "id") == 0
    with pytest.raises(StorageError, match="lacks the field srcPath"):
        mapping.required(None, "srcPath")


def test_an_entry_travels_with_both_sizes() -> None:
    """storage-commands.md 1.3: ``size`` is the virtual one."""
    entry = TemplateEntry(
        unique_name="n", install_path="p", size_bytes=10, physical_size_bytes=5, id=7,
        is_public=True, is_corrupted=True,
    )  # fmt: skip
    prop = mapping.template_prop(entry)
    assert (prop.template_name, prop.install_path, prop.size, prop.physical_size) == (
        "n",
        "p",
        10,
        5,
    )
    assert (prop.id, prop.is_public, prop.is_corrupted) == (7, True, True)
