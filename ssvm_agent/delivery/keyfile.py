# SPDX-License-Identifier: Apache-2.0
"""Private keys for logins, from PEM and OpenSSH files. Blocking; the key itself is never shown."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssvm_agent.delivery.errors import KeyFileError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.ssh import SSHPrivateKeyTypes
    from paramiko import PKey

_OTHERS: Final = 0o077
_MOST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """What ``authorized_keys`` holds of a key.

    Attributes:
        kind: First word, such as ``ecdsa-sha2-nistp256``.
        blob: Second word, base64.
        comment: The rest.
    """

    kind: str
    blob: str
    comment: str = ""

    @property
    def fingerprint(self) -> str:
        """As OpenSSH prints it: ``SHA256:…``."""
        return fingerprint_of(base64.b64decode(self.blob))

    def line(self) -> str:
        """Kind, key and comment."""
        return f"{self.kind} {self.blob} {self.comment}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateKey:
    """A key that opens doors."""

    path: Path
    public: PublicKey
    secret: PKey = field(repr=False)


def fingerprint_of(blob: bytes) -> str:
    """The fingerprint of a public key's bytes, as OpenSSH prints it."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def load_private(path: Path) -> PrivateKey:
    """Read a private key: ECDSA, RSA or Ed25519, in PEM or OpenSSH format, without passphrase.

    Raises:
        KeyFileError: It cannot be read, others may read it, or it is no such key.
    """
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    loaded = _parse(_read(path), path)
    # The one format in which the SSH library takes all kinds.
    text = loaded.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    secret = _class_of(loaded, path).from_private_key(io.StringIO(text))
    public = PublicKey(
        kind=secret.get_name(), blob=secret.get_base64(), comment=_comment_beside(path)
    )
    return PrivateKey(path=path, public=public, secret=secret)


def load_public(path: Path) -> PublicKey:
    """Read a public key file, one line.

    Raises:
        KeyFileError: It cannot be read, or holds something else.
    """
    try:
        words = path.read_text("ascii", "replace").split(maxsplit=2)
        kind, blob = words[:2]
        raw = base64.b64decode(blob, validate=True)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise KeyFileError(f"{path} does not hold a public key") from error
    if len(words) > 2 and "\n" in words[2].strip():
        raise KeyFileError(f"{path} holds more than one line")
    if raw[4 : 4 + len(kind)] != kind.encode():
        raise KeyFileError(f"{path} does not hold a public key")
    return PublicKey(kind=kind, blob=blob, comment=words[2].strip() if len(words) > 2 else "")


def _read(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode & 0o777
        if mode & _OTHERS:
            raise KeyFileError(
                f"{path} can be read by others", detail=f"mode {mode:04o}; chmod 600 {path}"
            )
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from error


def _parse(data: bytes, path: Path) -> SSHPrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
        load_ssh_private_key,
    )

    load = load_ssh_private_key if b"BEGIN OPENSSH" in data[:128] else load_pem_private_key
    try:
        return load(data, None)  # type: ignore[return-value]
    except TypeError as error:
        raise KeyFileError(f"{path} has a passphrase; keys of system VMs have none") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} is not a private key in PEM or OpenSSH format") from error


def _class_of(loaded: object, path: Path) -> type[PKey]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from paramiko import ECDSAKey, Ed25519Key, RSAKey

    kinds: tuple[tuple[type, type[PKey]], ...] = (
        (EllipticCurvePrivateKey, ECDSAKey),
        (RSAPrivateKey, RSAKey),
        (Ed25519PrivateKey, Ed25519Key),
    )
    for kind, known in kinds:
        if isinstance(loaded, kind):
            return known
    raise KeyFileError(f"{path} is neither an ECDSA nor an RSA nor an Ed25519 key")


def _comment_beside(path: Path) -> str:
    try:
        return load_public(path.with_name(f"{path.name}.pub")).comment
    except KeyFileError:
        return "cloud"
