# SPDX-License-Identifier: Apache-2.0
"""A first look at a local template file, before anything is touched (blocking).

Only the head is read and, when it is compressed, decompressed: enough to tell the format and the
size of the disk. The whole content is inspected when it is installed.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.images.compression import DETECT_BYTES, Compression, Decoder, detect
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.inspector import ImageInspector
from ssvm_agent.images.stream import HEAD_BYTES
from ssvm_agent.ingest.limits import DEFAULT_MAX_SIZE_BYTES
from ssvm_agent.sysvmtemplate.errors import SourceUnreadableError

_BLOCK_BYTES: Final = 1 << 20
# Where the formats have the size of the disk, as a 64-bit big-endian number.
_QCOW2_SIZE: Final = 24
_VHD_CURRENT_SIZE: Final = 48
_VHD_COOKIE: Final = b"conectix"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the head of a file tells.

    Attributes:
        size_bytes: Length of the file as it is.
        compression: What it is wrapped in.
        virtual_size_bytes: Size of the disk, when the head says it.
    """

    size_bytes: int
    compression: Compression | None = None
    virtual_size_bytes: int | None = None

    def least_bytes(self, image_format: ImageFormat) -> int:
        """How much the template occupies on a store at the least.

        A compressed file grows, and the members of an OVA are laid beside it.
        """
        plain = self.compression is None and image_format is ImageFormat.OVA
        return 2 * self.size_bytes if plain else self.size_bytes


def look_at(path: Path, declared: ImageFormat) -> Look:
    """Look at a template file.

    Raises:
        SourceUnreadableError: It is missing, cannot be read, or is no file.
        ImageError: It is not of the declared format, or its head is damaged.
    """
    try:
        # A pipe or a device must not keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise SourceUnreadableError(f"{path} is not a regular file")
            if not facts.st_size:
                raise SourceUnreadableError(f"{path} is empty")
            compression, head = _inspect_head(file, declared)
    except OSError as error:
        raise SourceUnreadableError(f"{path} cannot be read: {error.strerror}") from error
    return Look(
        size_bytes=facts.st_size,
        compression=compression,
        virtual_size_bytes=_virtual_size(head, declared),
    )


def _inspect_head(file: io.FileIO, declared: ImageFormat) -> tuple[Compression | None, bytes]:
    """The wrapper of a file, and the head of what is in it, which has been inspected."""
    block = file.read(_BLOCK_BYTES)
    compression = detect(block[:DETECT_BYTES], declared)
    decoder = compression and Decoder(compression, max_output_bytes=DEFAULT_MAX_SIZE_BYTES)
    inspector = ImageInspector(declared)
    head = bytearray()
    while block and len(head) < HEAD_BYTES:
        for piece in decoder.feed(block) if decoder else (block,):
            inspector.feed(piece)
            head += piece[: HEAD_BYTES - len(head)]
        block = file.read(_BLOCK_BYTES)
    return compression, bytes(head)


def _virtual_size(head: bytes, image_format: ImageFormat) -> int | None:
    """The size of the disk; the inspection at the installation is what counts."""
    match image_format:
        case ImageFormat.QCOW2:
            offset = _QCOW2_SIZE
        case ImageFormat.VHD if head.startswith(_VHD_COOKIE):
            offset = _VHD_CURRENT_SIZE
        case _:
            return None
    if len(head) < offset + 8:
        return None
    return int(struct.unpack_from(">Q", head, offset)[0])
