# SPDX-License-Identifier: Apache-2.0
"""Config drive ISOs of instances (storage-commands.md 3.16).

Differs: storage-commands.md 3.16: only the ISO is written; a properties file beside all ISOs of all
instances would say nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import uuid4

from ssvm_agent.host.files import atomic_write
from ssvm_agent.masking import Secret
from ssvm_agent.storage.errors import PathEscapeError, StorageError
from ssvm_agent.storage.layout import CONFIG_DRIVES, check_relative, temporary_name
from ssvm_agent.storage.paths import FILE_MODE, make_directories, resolve_inside
from ssvm_agent.storage.stores import Store

# The ISO and its text in base64 are in memory together; the management server allows user data of
# a megabyte, a drive holds little besides.
_MAX_BYTES: Final = 64 << 20


async def write_config_drive(store: Store, iso_file: str, data: Secret, *, owner: str) -> None:
    """Write the config drive of an instance, replacing the one it had.

    Args:
        store: Where to.
        iso_file: ``configdrive/<instance>.iso``, or in a directory of the instance's own.
        data: The ISO in base64.
        owner: Host name of this agent.

    Raises:
        PathEscapeError: The path is not that of a config drive.
        StorageError: The data is no base64, or it could not be written.
    """
    wanted = _check(iso_file)
    name = temporary_name(owner, str(uuid4()))
    await store.run(_write, store.root, wanted, data, name, what=f"write {wanted}")


async def delete_config_drive(store: Store, iso_file: str) -> None:
    """Delete the config drive of an instance; it is no error when there is none.

    Raises:
        PathEscapeError: The path is not that of a config drive.
        StorageError: It could not be deleted.
    """
    wanted = _check(iso_file)
    await store.run(_delete, store.root, wanted, what=f"delete {wanted}")


def _check(iso_file: str) -> PurePosixPath:
    wanted = check_relative(iso_file, strip_slash=True)
    inside = CONFIG_DRIVES in {wanted.parent, wanted.parent.parent}
    if not inside or wanted.suffix.lower() != ".iso":
        raise PathEscapeError(f"{wanted} is not the path of a config drive")
    return wanted


def _write(root: Path, wanted: PurePosixPath, data: Secret, temporary: str) -> None:
    text = data.reveal()
    if len(text) > _MAX_BYTES * 4 // 3 + 4:
        raise StorageError("The config drive ISO is too large")
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise StorageError("Invalid config drive ISO data") from error
    if not content:
        raise StorageError("Invalid config drive ISO data")
    make_directories(root, wanted.parent)
    place = resolve_inside(root, wanted)
    try:
        atomic_write(place, content, mode=FILE_MODE, temporary_name=temporary)
    except OSError:
        _prune(root, wanted)
        raise


def _delete(root: Path, wanted: PurePosixPath) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        resolve_inside(root, wanted).unlink()
    _prune(root, wanted)


def _prune(root: Path, wanted: PurePosixPath) -> None:
    """Remove the directory of the instance if it has one and nothing is in it."""
    if wanted.parent != CONFIG_DRIVES:
        with contextlib.suppress(OSError):
            (root / wanted.parent).rmdir()
