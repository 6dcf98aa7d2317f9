# SPDX-License-Identifier: Apache-2.0
"""The manifest of a bundle: what it holds, for which machine, with a checksum of every file.

Pure apart from :func:`scan` and :func:`verify`, which read the files they describe.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from ssvm_agent.payload.errors import BundleError

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
_FORMAT: Final = 1
# Enough to tell two builds of one version apart, short enough to read in a path.
_IDENTITY_LENGTH: Final = 12
_ARCHITECTURES: Final = frozenset({"x86_64", "aarch64"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file or link of a bundle.

    Attributes:
        path: Below the bundle's directory.
        mode: Permission bits; 0 for a link.
        size_bytes: Of a file; 0 for a link.
        sha256: Of a file; empty for a link.
        target: Where a link points to; None for a file.
    """

    path: str
    mode: int = 0
    size_bytes: int = 0
    sha256: str = ""
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle is.

    Attributes:
        version: Of the agent.
        architecture: As ``uname -m`` names it.
        python: Version of Python the bundle's libraries were made for, like ``3.11``.
        files: Everything but the manifest, by path.
    """

    version: str
    architecture: str
    python: str
    files: tuple[FileEntry, ...]

    @property
    def bundle_name(self) -> str:
        """Name of the bundle's top directory, and of its archive without the suffix."""
        return f"ssvm-agent-{self.version}-{self.architecture}"

    @property
    def release_name(self) -> str:
        """Name under which it is installed: other content, another name."""
        identity = hashlib.sha256(self.render()).hexdigest()[:_IDENTITY_LENGTH]
        return f"{self.version}-{identity}"

    def render(self) -> bytes:
        """The text of ``manifest.json``, the same for the same content."""
        document = {
            "format": _FORMAT,
            "version": self.version,
            "architecture": self.architecture,
            "python": self.python,
            "files": [_as_object(entry) for entry in self.files],
        }
        return json.dumps(document, indent=1).encode() + b"\n"


def parse(data: bytes) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        BundleError: It is damaged, or written for installers that do not exist yet.
    """
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT:
            raise BundleError(
                f"The bundle has format {document['format']}, this installer knows {_FORMAT}: "
                "use the installer in the bundle."
            )
        manifest = Manifest(
            version=_word(document["version"]),
            architecture=_word(document["architecture"]),
            python=_word(document["python"]),
            files=tuple(_entry(one) for one in document["files"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError("The manifest is damaged; deliver the bundle again.") from error
    if manifest.architecture not in _ARCHITECTURES:
        raise BundleError(f"The manifest names no known machine: {manifest.architecture!r:.40}.")
    return manifest


def scan(root: Path, *, version: str, architecture: str, python: str) -> Manifest:
    """Describe a finished tree."""
    return Manifest(
        version=version,
        architecture=architecture,
        python=python,
        files=tuple(_describe(root, path) for path in _paths(root)),
    )


def read_and_verify(root: Path) -> Manifest:
    """Read the manifest of an unpacked bundle and compare every file with it.

    Raises:
        BundleError: Something is missing, damaged, or there that should not be.
    """
    try:
        manifest = parse((root / MANIFEST).read_bytes())
    except OSError as error:
        raise BundleError(f"{root} holds no bundle: no {MANIFEST} can be read.") from error
    found = {entry.path: entry for entry in (_describe(root, path) for path in _paths(root))}
    for entry in manifest.files:
        if found.pop(entry.path, None) != entry:
            raise BundleError(
                f"{entry.path} is missing or damaged; deliver the bundle again.", detail=str(root)
            )
    if found:
        raise BundleError(
            f"{min(found)} is not part of the bundle; unpack it into an empty directory.",
            detail=str(root),
        )
    return manifest


def _paths(root: Path) -> Iterator[str]:
    """Everything but directories, manifest and signature, sorted; compiled modules do not count."""
    names: list[str] = []
    for folder, directories, files in os.walk(root):
        here = Path(folder)
        links = [name for name in directories if (here / name).is_symlink()]
        directories[:] = [name for name in directories if name not in {*links, "__pycache__"}]
        names += [str((here / name).relative_to(root)) for name in [*files, *links]]
    yield from sorted(name for name in names if name not in {MANIFEST, SIGNATURE})


def _describe(root: Path, path: str) -> FileEntry:
    full = root / path
    status = full.lstat()
    if stat.S_ISLNK(status.st_mode):
        return FileEntry(path=path, target=str(full.readlink()))
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path} is neither a file nor a link.", detail=str(root))
    with full.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    # Only whether it is executable: an unpacking user's umask takes away the rest.
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    return FileEntry(path=path, mode=mode, size_bytes=status.st_size, sha256=sha256)


def _as_object(entry: FileEntry) -> dict[str, Any]:
    if entry.target is not None:
        return {"path": entry.path, "target": entry.target}
    return {
        "path": entry.path,
        "mode": f"{entry.mode:o}",
        "size": entry.size_bytes,
        "sha256": entry.sha256,
    }


def _entry(fields: dict[str, Any]) -> FileEntry:
    path = PurePosixPath(fields["path"])
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"a path leads out of the bundle: {path}")
    if "target" in fields:
        return FileEntry(path=str(path), target=str(fields["target"]))
    return FileEntry(
        path=str(path),
        mode=int(fields["mode"], 8),
        size_bytes=int(fields["size"]),
        sha256=str(fields["sha256"]),
    )


def _word(text: object) -> str:
    """A value that becomes part of a path."""
    if not isinstance(text, str) or not text or not set(text) <= _WORD or text.startswith("."):
        raise ValueError(f"not a version or a name: {text!r:.40}")
    return text


_WORD: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+_-")
