# SPDX-License-Identifier: Apache-2.0
"""Trying one store: a file is written, synced, read back, renamed and removed. Blocking.

The file lies at the top of the store under a name of its own, so nobody's data is touched and the
listings of templates never see it. Run it in a thread that may hang (storage/mounts).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.storage.layout import temporary_name
from ssvm_agent.storage.mounts import MountEntry

_OWNER: Final = "ssvm-check"


@dataclass(slots=True, kw_only=True)
class Trial:
    """What the trial brought.

    Attributes:
        step: What was done last; when something failed, that.
        error_number: Why it failed; 0 when nothing did.
        free_bytes: For everybody but root.
        owner: User id the file got.
        skew_s: How far the store's clock is ahead of ours.
    """

    step: str = ""
    error_number: int = 0
    total_bytes: int = 0
    free_bytes: int = 0
    total_inodes: int = 0
    free_inodes: int = 0
    owner: int = 0
    skew_s: float = 0.0


def try_store(mount: MountEntry) -> Trial:
    """Try a mounted store; errors of the file system are part of the result."""
    trial = Trial()
    try:
        _measure(trial, mount.mount_point)
        _write(trial, mount.mount_point)
    except OSError as error:
        trial.error_number = error.errno or errno.EIO
    return trial


def _measure(trial: Trial, root: Path) -> None:
    trial.step = "statvfs"
    found = os.statvfs(root)
    trial.total_bytes = found.f_blocks * found.f_frsize
    trial.free_bytes = found.f_bavail * found.f_frsize
    trial.total_inodes, trial.free_inodes = found.f_files, found.f_favail


def _write(trial: Trial, root: Path) -> None:
    data = secrets.token_bytes(64)
    first = root / temporary_name(_OWNER, secrets.token_hex(8))
    second = root / temporary_name(_OWNER, secrets.token_hex(8))
    try:
        trial.step = "creating a file"
        before_s = time.time()
        descriptor = os.open(first, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w+b", buffering=0) as file:  # noqa: PTH123 - a descriptor
            trial.step = "writing a file"
            file.write(data)
            os.fsync(descriptor)
            after_s = time.time()
            trial.step = "reading a file back"
            file.seek(0)
            if file.read() != data:
                raise OSError(errno.EIO, "other data came back")
            status = os.fstat(descriptor)
        trial.owner = status.st_uid
        trial.skew_s = _skew(status.st_mtime, before_s, after_s)
        trial.step = "renaming a file"
        first.rename(second)
        trial.step = "removing a file"
        second.unlink()
    finally:
        for path in (first, second):
            with contextlib.suppress(OSError):
                path.unlink()


def _skew(written_s: float, before_s: float, after_s: float) -> float:
    """How far outside of the time of writing the store dated the file."""
    if written_s < before_s:
        return written_s - before_s
    return max(0.0, written_s - after_s)
