# SPDX-License-Identifier: Apache-2.0
"""The key pair with which system VMs are entered over SSH (boot-and-system.md 3.2). Blocking."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssvm_agent.delivery.errors import DeliveryError
from ssvm_agent.host.files import atomic_write

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_RSA_BITS: Final = 3072


class KeyType(StrEnum):
    """Kinds of keys; RSA is for images whose sshd is too old for the other."""

    ECDSA = "ecdsa"
    RSA = "rsa"


def generate(path: Path, kind: KeyType, *, comment: str = "cloud") -> str:
    """Write a new private key, 0600, and its public key, 0644, beside it.

    Args:
        path: The private key's file; the public one has ``.pub`` added.
        kind: What to make.
        comment: Last word of the public key.

    Returns:
        The line for ``authorized_keys``.

    Raises:
        DeliveryError: A file is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    public = path.with_name(f"{path.name}.pub")
    for file in (path, public):
        if file.exists():
            raise DeliveryError(f"{file} exists; a key in use is never overwritten")
    key = _new(kind)
    # Compat: boot-and-system.md 3.2, PEM: other SSH libraries of a cloud read nothing newer.
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    shown = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    line = f"{shown} {comment}"
    try:
        atomic_write(path, secret, mode=0o600)
        atomic_write(public, f"{line}\n".encode(), mode=0o644)
    except OSError as error:
        raise DeliveryError(f"{path} cannot be written: {error.strerror}") from error
    return line


def _new(kind: KeyType) -> EllipticCurvePrivateKey | RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if kind is KeyType.RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())
