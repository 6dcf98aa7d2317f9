# SPDX-License-Identifier: Apache-2.0
"""A bundle of the agent on this machine, checked before a byte of it leaves. Blocking."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Final

from ssvm_agent.delivery.errors import BundleError

_MANIFEST: Final = "manifest.json"
_SIGNATURE: Final = "manifest.sig"
_INSTALL: Final = "install"
_MOST_MANIFEST_BYTES: Final = 64 * 1024 * 1024
_BLOCK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What is delivered.

    Attributes:
        path: The archive.
        size_bytes: Of the archive.
        sha256: Of the archive.
        top: The one directory in it.
        version: Of the agent.
        architecture: As ``uname -m`` names it.
        python: The version of Python it needs, as ``3.11``.
        unpacked_bytes: Of its files together.
    """

    path: Path
    size_bytes: int
    sha256: str
    top: str
    version: str
    architecture: str
    python: str
    unpacked_bytes: int


def read_bundle(path: Path, *, trusted_key: Path | None = None) -> Bundle:
    """Check a bundle against its checksum and its manifest, and read what it is.

    Args:
        path: The archive; ``<path>.sha256`` is beside it.
        trusted_key: A public key that must have signed the manifest.

    Raises:
        BundleError: Something is missing, damaged, or not trusted.
    """
    stated = path.with_name(f"{path.name}.sha256")
    try:
        words = stated.read_text("ascii", "replace").split()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{error.filename} cannot be read: {error.strerror}") from error
    if words[:1] != [sha256]:
        raise BundleError(f"{path} is not what {stated.name} says; fetch both again", detail=sha256)
    try:
        look = _look_into(path)
        facts = json.loads(look.texts.get(_MANIFEST, b""))
        _compare(look, facts["files"])
        bundle = Bundle(
            path=path,
            size_bytes=path.stat().st_size,
            sha256=sha256,
            top=look.top,
            version=str(facts["version"]),
            architecture=str(facts["architecture"]),
            python=str(facts["python"]),
            unpacked_bytes=look.unpacked_bytes,
        )
    except (tarfile.TarError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is not a bundle of the agent", detail=str(error)) from error
    if trusted_key is not None:
        _verify(look, trusted_key)
    return bundle


@dataclass(slots=True)
class _Look:
    """What one pass over an archive saw."""

    top: str = ""
    sums: dict[str, str] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    unpacked_bytes: int = 0


def _look_into(path: Path) -> _Look:
    look = _Look()
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            if member.name.startswith("/") or ".." in parts or not parts:
                raise ValueError(f"{member.name} leads out of it")
            if look.top not in ("", parts[0]):
                raise ValueError("it is more than one directory")
            look.top, name = parts[0], "/".join(parts[1:])
            look.unpacked_bytes += member.size
            file = archive.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            if name in (_MANIFEST, _SIGNATURE):
                look.texts[name] = file.read(_MOST_MANIFEST_BYTES)
            else:
                look.sums[name] = _sum(file)
    if _INSTALL not in look.sums:
        raise ValueError("there is no installer in it")
    return look


def _sum(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _compare(look: _Look, files: list[dict[str, str]]) -> None:
    """Every file in the archive is the one the manifest means."""
    stated = {one["path"]: one["sha256"] for one in files if "sha256" in one}
    for name in stated.keys() | look.sums.keys():
        if stated.get(name) != look.sums.get(name):
            raise ValueError(f"{name} is not what the manifest says")


def _verify(look: _Look, trusted_key: Path) -> None:
    """Whether the key signed the manifest."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(trusted_key.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{trusted_key} is no public key in PEM format") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{trusted_key} is not an ed25519 key")
    if _SIGNATURE not in look.texts:
        raise BundleError("The bundle is not signed; get a signed one")
    try:
        signature = base64.b64decode(look.texts[_SIGNATURE].strip(), validate=True)
        key.verify(signature, look.texts[_MANIFEST])
    except (binascii.Error, InvalidSignature) as error:
        raise BundleError(
            f"The bundle is not signed with the key of {trusted_key}; do not install it"
        ) from error
