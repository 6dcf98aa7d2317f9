# SPDX-License-Identifier: Apache-2.0
"""Signatures of bundles: Ed25519 over the manifest, which holds the checksum of everything else."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from ssvm_agent.payload.errors import BuildError, BundleError
from ssvm_agent.payload.manifest import MANIFEST, SIGNATURE


def sign(root: Path, private_key: Path) -> None:
    """Sign the manifest of a tree with a private key (PEM).

    Raises:
        BuildError: The key cannot be used.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BuildError(f"{private_key} is no private key in PEM without a passphrase.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BuildError(
            f"{private_key} is no Ed25519 key; make one: openssl genpkey -algorithm ed25519"
        )
    text = base64.b64encode(key.sign((root / MANIFEST).read_bytes()))
    (root / SIGNATURE).write_bytes(text + b"\n")


def verify(root: Path, public_key: Path) -> None:
    """Check that an unpacked bundle was signed by the owner of a key.

    Raises:
        BundleError: It was not, or it is not signed, or the key cannot be used.
    """
    path = root / SIGNATURE
    check((root / MANIFEST).read_bytes(), path.read_bytes() if path.exists() else None, public_key)


def check(manifest: bytes, signature: bytes | None, public_key: Path) -> None:
    """Check that a manifest was signed by the owner of a key.

    Args:
        manifest: As it lies in the bundle.
        signature: The same; None when the bundle has none.
        public_key: Its file (PEM).

    Raises:
        BundleError: It was not, or it is not signed, or the key cannot be used.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{public_key} is no public key in PEM.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{public_key} is no Ed25519 key.")
    if signature is None:
        raise BundleError("The bundle is not signed; deliver a signed one.")
    try:
        key.verify(base64.b64decode(signature.strip(), validate=True), manifest)
    except (InvalidSignature, binascii.Error) as error:
        raise BundleError(
            f"The bundle's signature is not by {public_key}; do not use this bundle."
        ) from error
