# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with an image, as one small tree.

    ImageError
    ├── UnsafeImageError      names another file, or has features nobody checked
    ├── WrongFormatError      is a sound image, but not of the declared format
    ├── CorruptImageError     is damaged, truncated or contradicts itself
    ├── SizeLimitError        is larger than allowed
    ├── CompressionError      cannot be decompressed to its end
    └── ArchiveRefusedError   is an archive with a member we do not take

Messages are sentences for the person who registered the image; they may end up in ``errorString``.
"""

from __future__ import annotations

from typing import ClassVar

from ssvm_agent.errors import AgentError


class ImageError(AgentError):
    """The image is refused; the message says why and, where possible, what to do about it."""

    code: ClassVar[str] = "image"


class UnsafeImageError(ImageError):
    """The image asks its reader to open something else, or two readers see different things."""

    code: ClassVar[str] = "image-unsafe"


class WrongFormatError(ImageError):
    """The content is not of the format the image was registered with."""

    code: ClassVar[str] = "image-format"


class CorruptImageError(ImageError):
    """The image is damaged or ends too early."""

    code: ClassVar[str] = "image-corrupt"


class SizeLimitError(ImageError):
    """The image, its virtual disk or its decompressed content exceeds a limit."""

    code: ClassVar[str] = "image-too-big"


class CompressionError(ImageError):
    """The compressed stream is damaged, truncated, followed by junk, or of an unknown kind."""

    code: ClassVar[str] = "image-compression"


class ArchiveRefusedError(ImageError):
    """An archive member is not a plain file with a plain name, or there are too many of them."""

    code: ClassVar[str] = "image-archive"
