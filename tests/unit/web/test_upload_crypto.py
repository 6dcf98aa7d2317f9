# SPDX-License-Identifier: Apache-2.0
import base64
from datetime import UTC, datetime

import pytest

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import SealVersion, seal_v1
from ssvm_agent.web.upload_crypto import (
    MAX_METADATA_CHARS,
    MetadataError,
    decrypt_metadata,
    encrypt_metadata,
    parse_expiry,
    sign,
    signed_url,
)

KEY = Secret("test-psk")
PLAIN = '{"entityId":205}'
V2 = "AAECAwQFBgcICQoL/YAJRQODYuTiZzM5KgguE35g1Vj41vzGDzZWEd5fesw="
V1 = "AQIDBAUGBwj3jjteSx+sGdjFgQH4eNvCUxMnu4siN9Q="
URL = "https://203.0.113.7/upload/11111111-2222-3333-4444-555555555555"
EXPIRES = "2030-01-01T00:00:00.000Z"
SIGNATURE = "7Gd5mL5t29yX9ACbfhn5wm/myvg="


def test_metadata_is_encrypted_as_the_vectors_say() -> None:
    """storage-commands.md 5.3, test vectors."""
    assert encrypt_metadata(KEY, PLAIN, iv=bytes(range(12))) == V2
    assert seal_v1(KEY, PLAIN, salt=bytes(range(1, 9))) == V1


@pytest.mark.parametrize(("text", "version"), [(V2, SealVersion.V2), (V1, SealVersion.V1)])
def test_metadata_of_both_versions_is_opened(text: str, version: SealVersion) -> None:
    """storage-commands.md 5.3: V2, then V1."""
    assert decrypt_metadata(KEY, text) == (PLAIN, version)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        base64.b64encode(b"short").decode(),
        base64.b64encode(bytes(40)).decode(),
        base64.b64encode(bytes(24)).decode(),
        V2[:-4] + "AAA=",
        "A" * (MAX_METADATA_CHARS + 4),
    ],
)
def test_what_is_no_metadata_is_refused(text: str) -> None:
    with pytest.raises(MetadataError):
        decrypt_metadata(KEY, text)


@pytest.mark.parametrize("text", [V1, V2])
def test_metadata_of_another_key_is_refused(text: str) -> None:
    with pytest.raises(MetadataError):
        decrypt_metadata(Secret("other"), text)


def test_text_that_is_not_utf_8_is_refused() -> None:
    import hashlib

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    iv = bytes(12)
    sealed = AESGCM(hashlib.sha256(b"test-psk").digest()).encrypt(iv, b"\xff\xfe", None)
    with pytest.raises(MetadataError):
        decrypt_metadata(KEY, base64.b64encode(iv + sealed).decode())


def test_the_signature_is_that_of_the_vector() -> None:
    """storage-commands.md 5.3, test vectors."""
    assert sign(KEY, metadata=V2, url=URL, expires=EXPIRES) == SIGNATURE


def test_the_signed_url_is_found_among_the_candidates() -> None:
    urls = ["http://203.0.113.7/upload/x", URL, "https://other/upload/x"]
    assert signed_url(KEY, SIGNATURE, metadata=V2, urls=urls, expires=EXPIRES) == URL


@pytest.mark.parametrize(
    ("signature", "metadata", "expires"),
    [
        ("", V2, EXPIRES),
        ("%%%", V2, EXPIRES),
        (SIGNATURE[:-2] + "A=", V2, EXPIRES),
        (SIGNATURE, V1, EXPIRES),
        (SIGNATURE, V2, "2031-01-01T00:00:00.000Z"),
        (base64.b64encode(base64.b64decode(SIGNATURE)[:10]).decode(), V2, EXPIRES),
    ],
)
def test_any_other_text_is_not_signed(signature: str, metadata: str, expires: str) -> None:
    assert signed_url(KEY, signature, metadata=metadata, urls=[URL], expires=expires) is None


@pytest.mark.parametrize(
    "text",
    ["2025-01-31T12:00:00.000Z", "2025-01-31T12:00:00.000+00:00", " 2025-01-31T14:00:00+0200 "],
)
def test_expiry_is_read_with_its_zone(text: str) -> None:
    assert parse_expiry(text) == datetime(2025, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "tomorrow", "2025-01-31T12:00:00", "1738324800"])
def test_an_expiry_without_zone_or_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any reason is the same to the caller
        parse_expiry(text)
