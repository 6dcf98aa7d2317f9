# SPDX-License-Identifier: Apache-2.0
"""A bundle of the agent on this machine, checked before a byte of it leaves. Blocking."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Final

from ssvm_agent.delivery.errors import BundleError
from ssvm_agent.payload import signature
from ssvm_agent.payload.errors import PayloadError
from ssvm_agent.payload.manifest import MANIFEST, SIGNATURE, FileEntry, parse

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
        manifest = parse(look.texts.get(MANIFEST, b""))
        _compare(look, manifest.files)
        if trusted_key is not None:
            signature.check(look.texts[MANIFEST], look.texts.get(SIGNATURE), trusted_key)
        bundle = Bundle(
            path=path,
            size_bytes=path.stat().st_size,
            sha256=sha256,
            top=look.top,
            version=manifest.version,
            architecture=manifest.architecture,
            python=manifest.python,
            unpacked_bytes=look.unpacked_bytes,
        )
    except PayloadError as error:
        raise BundleError(f"{path}: {error.message}", detail=error.detail) from error
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise BundleError(f"{path} is not a bundle of the agent", detail=str(error)) from error
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
            if name in (MANIFEST, SIGNATURE):
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


def _compare(look: _Look, files: tuple[FileEntry, ...]) -> None:
    """Every file in the archive is the one the manifest means."""
    stated = {one.path: one.sha256 for one in files if one.target is None}
    for name in stated.keys() | look.sums.keys():
        if stated.get(name) != look.sums.get(name):
            raise ValueError(f"{name} is not what the manifest says")
