# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from ssvm_agent.web.upload_crypto import MetadataError
from ssvm_agent.web.upload_metadata import GIB, parse_metadata

DOCUMENT: dict[str, object] = {
    "entityId": 205,
    "entityUUID": "11111111-2222-3333-4444-555555555555",
    "absolutePath": "template/tmpl/2/205",
    "checksum": None,
    "type": "TEMPLATE",
    "name": "205-2-x",
    "localPath": None,
    "requiresHvm": True,
    "imageFormat": "QCOW2",
    "dataTo": "nfs://10.1.1.5/export",
    "dataToRole": "Image",
    "remoteEndPoint": "10.1.1.9",
    "maxUploadSize": "50",
    "description": "d",
    "defaultMaxSecondaryStorageInGB": 400,
    "processTimeout": 0,
    "accountId": 2,
    "zoneId": 1,
    "somethingNew": {"a": 1},
}


def test_all_fields_of_the_server_are_read() -> None:
    """storage-commands.md 5.4."""
    metadata = parse_metadata(json.dumps(DOCUMENT))
    assert metadata.entity_id == 205
    assert metadata.directory == "template/tmpl/2/205"
    assert metadata.kind == "TEMPLATE"
    assert metadata.requires_hvm
    assert metadata.max_size_bytes == 50 * GIB
    assert metadata.account_limit_bytes == 400 * GIB
    assert metadata.checksum == ""
    assert metadata.process_timeout_s == 3600


def test_a_limit_in_bytes_is_recognised() -> None:
    """storage-commands.md 5.4: 4.22 sends bytes, 4.23 GiB."""
    document = {**DOCUMENT, "defaultMaxSecondaryStorageInGB": 400 * GIB}
    assert parse_metadata(json.dumps(document)).account_limit_bytes == 400 * GIB


def test_minus_one_is_no_limit() -> None:
    document = {**DOCUMENT, "defaultMaxSecondaryStorageInGB": -1}
    assert parse_metadata(json.dumps(document)).account_limit_bytes is None


@pytest.mark.parametrize(
    "change",
    [
        {"entityUUID": None},
        {"entityUUID": ""},
        {"type": "ISO"},
        {"type": None},
        {"absolutePath": None},
        {"name": None},
        {"imageFormat": None},
        {"dataTo": None},
        {"maxUploadSize": None},
        {"maxUploadSize": "0"},
        {"maxUploadSize": "-1"},
        {"maxUploadSize": "many"},
        {"maxUploadSize": "9" * 10},
        {"entityId": "x"},
        {"requiresHvm": {}},
    ],
)
def test_a_missing_or_wrong_field_refuses_the_whole(change: dict[str, object]) -> None:
    with pytest.raises(MetadataError):
        parse_metadata(json.dumps({**DOCUMENT, **change}))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '"x"'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(MetadataError):
        parse_metadata(text)


def test_it_prints_without_the_store_s_password() -> None:
    document = {**DOCUMENT, "dataTo": "cifs://h/s?user=a&password=geheim"}
    assert "geheim" not in repr(parse_metadata(json.dumps(document)))
