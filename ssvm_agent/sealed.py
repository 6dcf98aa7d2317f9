# SPDX-License-Identifier: Apache-2.0
"""The two encryptions in which management servers keep and pass on secrets.

V2, AES-256-GCM, is used by servers since 4.18 and V1, ``PBEWithMD5AndDES``, by older ones; both for
the metadata of uploads (storage-commands.md 5.3) and for the ``ENC(…)`` values of ``db.properties``
(boot-and-system.md 6.1). V1 protects little and authenticates nothing.

Pure: keys, texts and bytes. What the texts mean is not known here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ssvm_agent.errors import AgentError
from ssvm_agent.masking import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

_V2_IV_BYTES: Final = 12
_V2_TAG_BYTES: Final = 16
_V1_SALT_BYTES: Final = 8
_V1_ITERATIONS: Final = 1000
_DES_BLOCK_BYTES: Final = 8


class SealedTextError(AgentError):
    """A text cannot be opened; the message ends a sentence that says which text."""

    code = "sealed-text"


class SealVersion(StrEnum):
    """How a text was encrypted."""

    V1 = "PBEWithMD5AndDES"
    V2 = "AES-256-GCM"


def seal(key: Secret, plaintext: str, *, iv: bytes) -> str:
    """A V2 text. ``iv`` has 12 bytes and is never used twice with one key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = AESGCM(_v2_key(key)).encrypt(iv, plaintext.encode(), None)
    return base64.b64encode(iv + sealed).decode("ascii")


def seal_v1(key: Secret, plaintext: str, *, salt: bytes) -> str:
    """A V1 text. ``salt`` has 8 bytes."""
    data = plaintext.encode()
    padding = _DES_BLOCK_BYTES - len(data) % _DES_BLOCK_BYTES
    encryptor = _v1_cipher(key, salt).encryptor()
    sealed = encryptor.update(data + bytes([padding]) * padding) + encryptor.finalize()
    return base64.b64encode(salt + sealed).decode("ascii")


def open_sealed(key: Secret, text: str) -> tuple[str, SealVersion]:
    """The plaintext and the encryption that was used: V2 is tried before V1.

    Raises:
        SealedTextError: It is neither, or not made with this key.
    """
    try:
        sealed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SealedTextError("is not Base64.") from error
    for version, opened in ((SealVersion.V2, _open_v2), (SealVersion.V1, _open_v1)):
        plaintext = opened(key, sealed)
        if plaintext is None:
            continue
        try:
            return plaintext.decode("utf-8"), version
        except UnicodeDecodeError:
            continue
    raise SealedTextError("was not made with this key.")


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
