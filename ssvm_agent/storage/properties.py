# SPDX-License-Identifier: Apache-2.0
"""The properties file beside a template or volume: its meaning, reading and atomic writing.

The dialect of the text is :mod:`ssvm_agent.javaproperties`; what the keys mean is here
(storage-commands.md 6.3, 6.4). An empty file marks an image whose installation has not finished, a
complete one is the last thing an installation writes (requirements R20).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ssvm_agent import javaproperties
from ssvm_agent.host.files import atomic_write
from ssvm_agent.storage.errors import (
    CorruptPropertiesError,
    IncompletePropertiesError,
    NotFoundError,
)
from ssvm_agent.storage.layout import ImageKind, properties_name
from ssvm_agent.storage.paths import FILE_MODE

# Every format that may have its keys in the file (storage-commands.md 6.3).
FORMAT_KEYS: Final = (
    "qcow2", "raw", "vhd", "iso", "ova", "vhdx", "BAREMETAL", "EXTERNAL", "vmdk", "vdi", "tar",
    "zip", "dir",
)  # fmt: skip
_OWN_KEYS: Final = frozenset(
    {
        "uniquename", "id", "filename", "size", "virtualsize", "physicalSize", "description", "hvm",
        "public", "checksum",
    }
)  # fmt: skip
# A properties file has about 15 short lines and a description of at most 4 KiB.
_MAX_FILE_BYTES: Final = 1 << 16
_UNFINISHED: Final = "The installation of this image has not finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageProperties:
    """What a store says about one image.

    Attributes:
        unique_name: Of the template, or the name of the volume.
        id: Database id of the template or volume.
        file_name: Name of the image file in the same directory.
        size_bytes: Length of the file.
        virtual_size_bytes: Size of the disk that the image holds.
        formats: Extensions of the formats it is registered as; almost always one.
        description: Display text, may be empty.
        hvm: Whether guests of it need hardware virtualisation.
        is_public: As written; the management server knows better.
        checksum: As given at registration, may be empty; None leaves the key out.
        is_corrupted: A size is missing or not positive, so the management server should fetch the
            image again.
        extra: Foreign keys, kept through a rewrite.
    """

    unique_name: str
    id: int
    file_name: str
    size_bytes: int
    virtual_size_bytes: int
    formats: tuple[str, ...]
    description: str = ""
    hvm: bool = False
    is_public: bool = True
    checksum: str | None = None
    is_corrupted: bool = False
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def load(text: str) -> ImageProperties:
    """The meaning of a properties file.

    Raises:
        IncompletePropertiesError: It has no unique name, no virtual size or no format: the
            installation has not finished.
        CorruptPropertiesError: It is finished, but its id or file name cannot be used.
    """
    values = javaproperties.parse(text)
    formats = tuple(key for key in FORMAT_KEYS if key in values and f"{key}.filename" in values)
    unique_name = values.get("uniquename")
    if unique_name is None or "virtualsize" not in values or not formats:
        raise IncompletePropertiesError(_UNFINISHED)
    image_id = _number(values.get("id"))
    if image_id is None:
        raise CorruptPropertiesError(f"The properties of {unique_name!r} have no usable id")
    file_name = values.get("filename") or values[f"{formats[0]}.filename"]
    if not file_name or "/" in file_name or "\0" in file_name or file_name in {".", ".."}:
        raise CorruptPropertiesError(f"The properties of {unique_name!r} have no usable file name")
    # Compat: storage-commands.md 6.3: the sizes of the format decide whether it is corrupted, the
    # plain keys are what is listed.
    sizes = [
        _number(values.get(f"{key}.{size}")) or 0
        for key in formats
        for size in ("size", "virtualsize")
    ]
    size_bytes = _number(values.get("size")) or 0
    virtual_size_bytes = _number(values["virtualsize"]) or 0
    known = {f"{key}{tail}" for key in formats for tail in _FORMAT_TAILS} | _OWN_KEYS
    return ImageProperties(
        unique_name=unique_name,
        id=image_id,
        file_name=file_name,
        size_bytes=size_bytes,
        virtual_size_bytes=virtual_size_bytes,
        formats=formats,
        description=values.get("description", ""),
        hvm=values.get("hvm", "").lower() == "true",
        is_public=values.get("public", "").lower() == "true",
        checksum=values.get("checksum"),
        is_corrupted=min(*sizes, size_bytes, virtual_size_bytes) <= 0,
        extra=MappingProxyType({k: v for k, v in values.items() if k not in known}),
    )


_FORMAT_TAILS: Final = ("", ".filename", ".size", ".virtualsize")


def _number(text: str | None) -> int | None:
    """A decimal number within 64 bits, or None."""
    if text is None or not re.fullmatch(r"-?[0-9]{1,19}", text):
        return None
    return int(text)


def render(properties: ImageProperties, *, now: datetime) -> bytes:
    """The content of the properties file.

    Args:
        properties: What it is to say.
        now: For the comment at its head.
    """
    values = dict(properties.extra)
    values |= {
        "uniquename": properties.unique_name,
        "id": str(properties.id),
        "filename": properties.file_name,
        "size": str(properties.size_bytes),
        "virtualsize": str(properties.virtual_size_bytes),
        "description": properties.description,
        "hvm": str(properties.hvm).lower(),
        "public": str(properties.is_public).lower(),
    }
    if properties.checksum is not None:
        values["checksum"] = properties.checksum
    for key in properties.formats:
        values |= {
            key: "true",
            f"{key}.filename": properties.file_name,
            f"{key}.size": str(properties.size_bytes),
            f"{key}.virtualsize": str(properties.virtual_size_bytes),
        }
    # Compat: storage-commands.md 6.3: an empty comment line, then the date.
    return javaproperties.render(values, comment=("", _java_date(now))).encode("latin-1")


_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


def _java_date(now: datetime) -> str:
    """``EEE MMM dd HH:mm:ss zzz yyyy`` in English, whatever the locale."""
    zone = now.tzname() or "UTC"
    day, month = _DAYS[now.weekday()], _MONTHS[now.month - 1]
    return f"{day} {month} {now:%d %H:%M:%S} {zone} {now.year}"


def read_file(path: Path) -> ImageProperties:
    """Read a properties file (blocking).

    Raises:
        IncompletePropertiesError: See :func:`load`; an empty file is one.
        CorruptPropertiesError: Likewise, or it is no text file of sensible length.
        NotFoundError: It is something else than a regular file, such as a symbolic link.
        OSError: It could not be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise NotFoundError(f"{path.name} is not a regular file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotFoundError(f"{path.name} is not a regular file")
        data = os.read(descriptor, _MAX_FILE_BYTES)
    finally:
        os.close(descriptor)
    if len(data) == _MAX_FILE_BYTES:
        raise CorruptPropertiesError(f"{path.name} is too long for a properties file")
    return load(data.decode("latin-1"))


def write_file(
    path: Path, properties: ImageProperties, *, now: datetime, temporary_name: str | None = None
) -> None:
    """Write a properties file in one step, readable and writable for everybody (blocking).

    Args:
        path: The file.
        properties: What it is to say.
        now: For the comment at its head.
        temporary_name: Name it has on its way; give one that tells its owner
            (:func:`ssvm_agent.storage.layout.temporary_name`).

    Raises:
        OSError: Nothing was changed.
    """
    data = render(properties, now=now)
    atomic_write(path, data, mode=FILE_MODE, temporary_name=temporary_name)


def mark_in_progress(directory: Path, kind: ImageKind) -> None:
    """Say that an image is on its way: an empty properties file (blocking).

    Lists skip such a directory, and so do those of other agents (storage-commands.md 3.11). A file
    that is there already stays as it is; an empty one is renewed, so that nobody takes it for left
    behind.
    """
    name = properties_name(kind)
    if name is None:
        return
    try:
        descriptor = os.open(
            directory / name,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            FILE_MODE,
        )
    except FileExistsError:
        with contextlib.suppress(OSError):
            if not (directory / name).lstat().st_size:
                os.utime(directory / name, follow_symlinks=False)
        return
    try:
        os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)
