# SPDX-License-Identifier: Apache-2.0
"""A keystore file with a private key and trusted CA certificates that Java reads (RFC 7292).

Java lists a certificate as trusted only when its bag carries an attribute of Java's own. The
library at hand writes either a key with its chain, or a store of trusted certificates. A PKCS#12
file is a sequence of separately encrypted containers under one checksum, so the two are joined here
into one sequence with a new checksum. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ssvm_agent.masking import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12PrivateKeyTypes
    from cryptography.x509 import Certificate

_SEQUENCE: Final = 0x30
_OCTET_STRING: Final = 0x04
_CONTEXT_0: Final = 0xA0
_INTEGER_3: Final = bytes.fromhex("020103")
_OID_DATA: Final = bytes.fromhex("06092a864886f70d010701")
_SHA256_IDENTIFIER: Final = bytes.fromhex("300d06096086480165030402010500")
_MAC_ITERATIONS: Final = 10_000
_SALT_BYTES: Final = 20
_SHA256_BLOCK: Final = 64
_MAC_KEY: Final = 3  # RFC 7292 B.3: the purpose "integrity key"


def keystore(
    *,
    key: PKCS12PrivateKeyTypes,
    alias: str,
    chain: Sequence[Certificate],
    trusted: Sequence[tuple[str, Certificate]],
    passphrase: Secret,
) -> bytes:
    """The whole file.

    Args:
        key: The private key.
        alias: Its name in the store.
        chain: Its certificate, then those above it.
        trusted: Alias and certificate of each trusted CA.
        passphrase: For the store and the key; not empty.
    """
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    protection = BestAvailableEncryption(passphrase.reveal().encode())
    own = pkcs12.serialize_key_and_certificates(
        alias.encode(), key, chain[0], list(chain[1:]), protection
    )
    if not trusted:
        return own
    authorities = pkcs12.serialize_java_truststore(
        [pkcs12.PKCS12Certificate(one, name.encode()) for name, one in trusted], protection
    )
    return _sealed(_containers(own) + _containers(authorities), passphrase)


def _containers(file: bytes) -> bytes:
    """The encoded containers of a file: the elements of its AuthenticatedSafe."""
    _, whole, _ = _read(file)
    _, _, rest = _read(whole)  # version
    _, info, _ = _read(rest)  # ContentInfo
    _, _, rest = _read(info)  # its type, data
    _, wrapped, _ = _read(rest)
    _, octets, _ = _read(wrapped)
    _, elements, _ = _read(octets)
    return elements


def _sealed(containers: bytes, passphrase: Secret) -> bytes:
    """A file around containers, with its checksum."""
    safe = _write(_SEQUENCE, containers)
    salt = secrets.token_bytes(_SALT_BYTES)
    key = _derive(passphrase.reveal(), salt, _MAC_ITERATIONS, _MAC_KEY)
    digest = hmac.digest(key, safe, "sha256")
    mac = _write(
        _SEQUENCE,
        _write(_SEQUENCE, _SHA256_IDENTIFIER + _write(_OCTET_STRING, digest))
        + _write(_OCTET_STRING, salt)
        + _write(0x02, _MAC_ITERATIONS.to_bytes(2, "big")),
    )
    content = _write(_SEQUENCE, _OID_DATA + _write(_CONTEXT_0, _write(_OCTET_STRING, safe)))
    return _write(_SEQUENCE, _INTEGER_3 + content + mac)


def _derive(passphrase: str, salt: bytes, iterations: int, purpose: int) -> bytes:
    """The key derivation of RFC 7292 B.2 with SHA-256, one block of output."""
    secret = (passphrase + "\0").encode("utf-16-be")
    diversifier = bytes([purpose]) * _SHA256_BLOCK
    result = hashlib.sha256(diversifier + _fill(salt) + _fill(secret)).digest()
    for _ in range(iterations - 1):
        result = hashlib.sha256(result).digest()
    return result


def _fill(data: bytes) -> bytes:
    """The data repeated up to a multiple of the hash's block."""
    length = -(-len(data) // _SHA256_BLOCK) * _SHA256_BLOCK
    return (data * (length // len(data) + 1))[:length]


def _read(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content and rest of the first DER element of data we made ourselves."""
    tag, first = data[0], data[1]
    start = 2
    length = first
    if first & 0x80:
        start += first & 0x7F
        length = int.from_bytes(data[2:start], "big")
    return tag, data[start : start + length], data[start + length :]


def _write(tag: int, content: bytes) -> bytes:
    """One DER element."""
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content
