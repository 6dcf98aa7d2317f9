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
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import SealedTextError, SealVersion, open_sealed, seal
from ssvm_agent.web.errors import WebError

# A real metadata text has about 1 KiB; this bounds the work an unsigned text could cause.
MAX_METADATA_CHARS: Final = 64 << 10


class MetadataError(WebError):
    """A metadata text cannot be opened with this key."""

    code = "upload-metadata"


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
    return seal(key, plaintext, iv=iv)


def decrypt_metadata(key: Secret, text: str) -> tuple[str, SealVersion]:
    """The JSON inside a metadata text and the encryption that was used: V2 is tried before V1.

    Raises:
        MetadataError: It is neither, or not made with this key.
    """
    if len(text) > MAX_METADATA_CHARS:
        raise MetadataError("The metadata is too long.", detail=f"{len(text)} characters")
    try:
        return open_sealed(key, text)
    except SealedTextError as error:
        raise MetadataError(f"The metadata {error.message}") from error


def _mac(key: Secret, metadata: str, url: str, expires: str) -> bytes:
    # SHA-1 is what the server signs with; HMAC-SHA1 is not touched by collisions of SHA-1.
    return hmac.digest(key.reveal().encode(), f"{metadata}{url}{expires}".encode(), "sha1")


def _decode_signature(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""
