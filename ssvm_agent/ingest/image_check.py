# SPDX-License-Identifier: Apache-2.0
"""The inspection of an image that was copied rather than streamed (requirements S1).

Stores know nothing of formats, so their copies are handed these functions; they see a file that is
complete but has no name yet. Blocking.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Final

from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.random_access import inspect_file

_BY_EXTENSION: Final = {
    **{f".{one.extension}": one for one in ImageFormat if not one.is_opaque},
    # What a store calls images besides (storage-commands.md 7).
    ".img": ImageFormat.RAW,
}
# Compat: storage-commands.md 7: these count by their length.
_SIZE_IS_LENGTH: Final = frozenset({ImageFormat.ISO, ImageFormat.TAR, ImageFormat.ZIP})


def check_image(name: str, descriptor: int) -> int:
    """Inspect a file that may be an image.

    Args:
        name: Of the file. The extension says which format it must have; without one it may have
            any safe format. What has the extension of no format is not looked at.
        descriptor: Of the file.

    Returns:
        The virtual size in bytes; 0 for what is no image.

    Raises:
        ImageError: It is refused; the message says why.
        OSError: It could not be read.
    """
    extension = PurePosixPath(name).suffix.lower()
    if (extension and extension not in _BY_EXTENSION) or not os.fstat(descriptor).st_size:
        return 0
    report = inspect_file(descriptor, _BY_EXTENSION.get(extension))
    if report.detected in _SIZE_IS_LENGTH:
        return report.physical_size_bytes
    return report.virtual_size_bytes


def check_snapshot(name: str, descriptor: int) -> int:
    """Inspect a file of a snapshot that is moved to another store.

    A XenServer snapshot is a difference that names its parent by design, so the rule against that
    cannot hold for it; no guest starts from it before it was merged and inspected.
    """
    if name.lower().endswith(".vhd") or name.startswith("VHD-"):
        return 0
    return check_image(name, descriptor)


def skip_check(name: str, descriptor: int) -> int:  # noqa: ARG001 - it is a check like the others
    """Take a file as it is."""
    return 0
