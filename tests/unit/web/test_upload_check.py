# SPDX-License-Identifier: Apache-2.0
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from ssvm_agent.masking import Secret
from ssvm_agent.web.errors import UploadRefusedError
from ssvm_agent.web.upload_check import (
    FORM_ALLOWANCE_BYTES,
    Grant,
    authenticate,
    require_quota,
    require_size,
    upload_request,
)
from ssvm_agent.web.upload_crypto import encrypt_metadata, sign
from ssvm_agent.web.upload_metadata import GIB

KEY = Secret("test-psk")
UUID = "11111111-2222-3333-4444-555555555555"
URL = f"https://203.0.113.7/upload/{UUID}"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EXPIRES = "2026-11-23T12:00:01.000Z"
DOCUMENT = {
    "entityId": 5, "entityUUID": UUID, "type": "VOLUME", "absolutePath": "volumes/2/5", "name": "n",
    "imageFormat": "RAW", "dataTo": "nfs://h/e", "maxUploadSize": "2", "accountId": 2,
    "defaultMaxSecondaryStorageInGB": 10,
}  # fmt: skip


def headers(document: dict[str, Any] | None = None, **changes: str) -> CIMultiDict[str]:
    metadata = encrypt_metadata(KEY, json.dumps(document or DOCUMENT), iv=bytes(12))
    metadata = changes.pop("metadata", metadata)
    expires = changes.pop("expires", EXPIRES)
    return CIMultiDict(
        {
            "x-signature": sign(KEY, metadata=metadata, url=URL, expires=expires),
            "x-metadata": metadata,
            "x-expires": expires,
            "content-length": "1000",
            **{name.replace("_", "-"): value for name, value in changes.items()},
        }
    )


def check(given: CIMultiDict[str], *, key: Secret | None = KEY, now: datetime = NOW) -> Grant:
    return authenticate(upload_request(UUID, given), key=key, urls=[URL], now=now)


def refusal(given: CIMultiDict[str], **options: Any) -> tuple[int, str]:
    with pytest.raises(UploadRefusedError) as caught:
        check(given, **options)
    return int(caught.value.status), caught.value.message


def test_a_signed_request_is_granted() -> None:
    """storage-commands.md 5.5.2."""
    grant = check(headers())
    assert grant.signed_url == URL
    assert grant.content_length == 1000
    assert grant.metadata.entity_uuid == UUID
    assert grant.signed_until == NOW + timedelta(seconds=1)


@pytest.mark.parametrize("name", ["x_signature", "x_metadata", "x_expires"])
def test_each_of_the_three_is_compulsory(name: str) -> None:
    expected = (400, "signature, metadata and expires are compulsory fields.")
    assert refusal(headers(None, **{name: ""})) == expected


@pytest.mark.parametrize("length", ["", "0", "-5", "5x", "9" * 19, "\u0665", " 5"])
def test_the_length_must_be_a_positive_number(length: str) -> None:
    expected = (400, "content length is not set in the request or has invalid value.")
    assert refusal(headers(content_length=length)) == expected


def test_without_a_key_nothing_can_be_checked() -> None:
    assert refusal(headers(), key=None)[0] == 503


def test_a_wrong_signature_is_told_before_anything_else_is_looked_at() -> None:
    """Requirement S6."""
    expected = (400, "signature validation failed.")
    assert refusal(headers(x_signature="AAAA")) == expected
    assert refusal(headers(x_signature="AAAA", expires="junk")) == expected
    assert refusal(headers(), key=Secret("other")) == expected
    assert refusal(headers(metadata="A" * (70 << 10))) == expected


def test_the_time_must_lie_ahead() -> None:
    expected = (400, "request not valid anymore.")
    assert refusal(headers(), now=NOW + timedelta(seconds=1)) == expected
    assert refusal(headers(expires="junk")) == expected


def test_metadata_must_be_readable_and_for_this_upload() -> None:
    expected = (400, "unable decode and deserialize metadata.")
    assert refusal(headers(metadata="AAAA")) == expected
    assert refusal(headers({**DOCUMENT, "type": "X"})) == expected
    assert refusal(headers({**DOCUMENT, "entityUUID": "other"})) == expected


def test_the_form_may_be_a_little_longer_than_the_file() -> None:
    """storage-commands.md 5.5.4; requirement R15."""
    most = 2 * GIB + FORM_ALLOWANCE_BYTES
    require_size(check(headers(content_length=str(most))))
    with pytest.raises(UploadRefusedError, match=r"received: 3GB\. Maximum allowed size: 2GB\."):
        require_size(check(headers(content_length=str(most + 1))))


def test_the_quota_counts_what_is_there_and_what_comes() -> None:
    """storage-commands.md 5.5.5."""
    grant = check(headers())
    require_quota(grant, 10 * GIB - 1000)
    with pytest.raises(UploadRefusedError, match="Maximum number of resources"):
        require_quota(grant, 10 * GIB - 999)
    unlimited = check(headers({**DOCUMENT, "defaultMaxSecondaryStorageInGB": -1}))
    require_quota(unlimited, 1 << 60)
