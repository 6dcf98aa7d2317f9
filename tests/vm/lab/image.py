# SPDX-License-Identifier: Apache-2.0
"""The system VM's image, made by ``scripts/build-system-vm-image`` when anything in it changed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_REPOSITORY: Final = Path(__file__).parents[3]
_SCRIPT: Final = _REPOSITORY / "scripts/build-system-vm-image"
_INPUTS: Final = ("ssvm_agent/**/*", "systemd/**/*", "scripts/**/*", "uv.lock")


@dataclass(frozen=True, slots=True)
class Image:
    """What a guest boots: a disk nobody writes to, and the kernel that is on it."""

    folder: Path

    @property
    def disk(self) -> Path:
        """Raw and sparse."""
        return self.folder / "disk.raw"

    @property
    def kernel(self) -> Path:
        """For qemu's ``-kernel``."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """For qemu's ``-initrd``."""
        return self.folder / "initrd"


@contextmanager
def system_vm_image() -> Iterator[Image]:
    """The image of this source tree, built if need be; kept while it is in use (blocking).

    ``SSVM_VM_IMAGE`` names the folder of one to use as it is.
    """
    if given := os.environ.get("SSVM_VM_IMAGE"):
        yield Image(Path(given))
        return
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ssvm-agent"
    folder = home / f"image-{_key()}"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, fcntl.LOCK_SH):
        if not (folder / "disk.raw").exists():
            throw_away_images(home)
            subprocess.run([_SCRIPT, folder], check=True)
        yield Image(folder)


def throw_away_images(home: Path) -> None:
    """Remove the images nobody uses; each takes most of a gigabyte (blocking)."""
    for folder in home.glob("image-*"):
        with contextlib.suppress(BlockingIOError), _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _key() -> str:
    """Of everything the image is made from."""
    digest = hashlib.sha256()
    for pattern in _INPUTS:
        for path in sorted(_REPOSITORY.glob(pattern)):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(_REPOSITORY)} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
