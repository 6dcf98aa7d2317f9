# SPDX-License-Identifier: Apache-2.0
"""The cryptography of signed uploads, both directions (storage-commands.md 5.3).

Pure: it knows keys, texts and bytes, no requests and no clock. The signing half exists for whoever
plays the management server.

The shared key (``postUploadKey``) signs *metadata + url + expires* and encrypts the metadata. Two
encryptions are in use: V2, AES-256-GCM, by servers since 4.18, and V1, ``PBEWithMD5AndDES``, by
older ones. V1 protects little and authenticates nothing, which is why a signature is always
checked before a metadata text is opened.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ssvm_agent.masking import Secret
from ssvm_agent.web.errors import WebError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

_V2_IV_BYTES: Final = 12
_V2_TAG_BYTES: Final = 16
_V1_SALT_BYTES: Final = 8
_V1_ITERATIONS: Final = 1000
_DES_BLOCK_BYTES: Final = 8
# A real metadata text has about 1 KiB; this bounds the work an unsigned text could cause.
MAX_METADATA_CHARS: Final = 64 << 10


class MetadataError(WebError):
    """A metadata text cannot be opened with this key."""

    code = "upload-metadata"


class MetadataVersion(StrEnum):
    """How a metadata text was encrypted."""

    V1 = "PBEWithMD5AndDES"
    V2 = "AES-256-GCM"


def sign(key: Secret, *, metadata: str, url: str, expires: str) -> str:
    """The ``X-signature`` of an upload: Base64 of HMAC-SHA1 over the three texts."""
    return base64.b64encode(_mac(key, metadata, url, expires)).decode("ascii")


def signed_url(
    key: Secret, signature: str, *, metadata: str, urls: Iterable[str], expires: str
) -> str | None:
    """Which of the legitimate URLs was signed, or ``None``.

    Compares in constant time and always with every candidate, so the time taken tells nothing about
    the signature (S6).
    """
    given = _decode_signature(signature)
    found: str | None = None
    for url in urls:
        if hmac.compare_digest(_mac(key, metadata, url, expires), given):
            found = url
    return found


def parse_expiry(text: str) -> datetime:
    """The ``X-expires`` header as an aware time.

    Raises:
        ValueError: It is no ISO 8601 time with a zone.
    """
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    return moment


def encrypt_metadata(key: Secret, plaintext: str, *, iv: bytes) -> str:
    """A V2 metadata text. ``iv`` has 12 bytes and is never used twice with one key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = AESGCM(_v2_key(key)).encrypt(iv, plaintext.encode(), None)
    return base64.b64encode(iv + sealed).decode("ascii")


def encrypt_metadata_v1(key: Secret, plaintext: str, *, salt: bytes) -> str:
    """A V1 metadata text, as servers before 4.18 write it. ``salt`` has 8 bytes."""
    data = plaintext.encode()
    padding = _DES_BLOCK_BYTES - len(data) % _DES_BLOCK_BYTES
    encryptor = _v1_cipher(key, salt).encryptor()
    sealed = encryptor.update(data + bytes([padding]) * padding) + encryptor.finalize()
    return base64.b64encode(salt + sealed).decode("ascii")


def decrypt_metadata(key: Secret, text: str) -> tuple[str, MetadataVersion]:
    """The JSON inside a metadata text and the encryption that was used: V2 is tried before V1.

    Raises:
        MetadataError: It is neither, or not made with this key.
    """
    if len(text) > MAX_METADATA_CHARS:
        raise MetadataError("The metadata is too long.", detail=f"{len(text)} characters")
    try:
        sealed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MetadataError("The metadata is not Base64.") from error
    for version, opened in ((MetadataVersion.V2, _open_v2), (MetadataVersion.V1, _open_v1)):
        plaintext = opened(key, sealed)
        if plaintext is None:
            continue
        try:
            return plaintext.decode("utf-8"), version
        except UnicodeDecodeError:
            continue
    raise MetadataError("The metadata was not made with the key of this cloud.")


def _mac(key: Secret, metadata: str, url: str, expires: str) -> bytes:
    # SHA-1 is what the server signs with; HMAC-SHA1 is not touched by collisions of SHA-1.
    return hmac.digest(key.reveal().encode(), f"{metadata}{url}{expires}".encode(), "sha1")


def _decode_signature(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _v2_key(key: Secret) -> bytes:
    return hashlib.sha256(key.reveal().encode()).digest()


def _open_v2(key: Secret, sealed: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(sealed) < _V2_IV_BYTES + _V2_TAG_BYTES:
        return None
    try:
        return AESGCM(_v2_key(key)).decrypt(sealed[:_V2_IV_BYTES], sealed[_V2_IV_BYTES:], None)
    except InvalidTag:
        return None


def _open_v1(key: Secret, sealed: bytes) -> bytes | None:
    salt, body = sealed[:_V1_SALT_BYTES], sealed[_V1_SALT_BYTES:]
    if not body or len(body) % _DES_BLOCK_BYTES:
        return None
    decryptor = _v1_cipher(key, salt).decryptor()
    padded = decryptor.update(body) + decryptor.finalize()
    padding = padded[-1]
    if not 1 <= padding <= _DES_BLOCK_BYTES or padded[-padding:] != bytes([padding]) * padding:
        return None
    return padded[:-padding]


def _v1_cipher(key: Secret, salt: bytes) -> Cipher[modes.CBC]:
    """DES-CBC with key and IV from 1000 rounds of MD5 (PKCS#5 version 1)."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    digest = hashlib.md5(key.reveal().encode() + salt, usedforsecurity=False).digest()
    for _ in range(_V1_ITERATIONS - 1):
        digest = hashlib.md5(digest, usedforsecurity=False).digest()
    # Single DES is triple DES with three equal keys.
    return Cipher(TripleDES(digest[:8] * 3), modes.CBC(digest[8:]))
