# SPDX-License-Identifier: Apache-2.0
"""The names archive members and OVF references may have: one plain file name, nothing else."""

from __future__ import annotations

from ssvm_agent.images.errors import ArchiveRefusedError

MAX_NAME_BYTES = 251
"""Leaves room for a suffix within the 255 bytes of common file systems (requirements R36)."""


def plain_name(name: str) -> str:
    """Return a member name without a leading ``./`` when it is one plain file name.

    Raises:
        ArchiveRefusedError: It is empty, has a directory, control characters, or is too long.
    """
    plain = name.removeprefix("./")
    shown = shown_name(name)
    if not plain or plain in {".", ".."}:
        raise ArchiveRefusedError(f"The archive has a member without a usable name ({shown}).")
    if "/" in plain or "\\" in plain:
        raise ArchiveRefusedError(
            f"The archive member {shown} lies in a directory; members must have plain file names."
        )
    if not plain.isprintable() or "\ufffd" in plain:
        raise ArchiveRefusedError(
            f"The name of the archive member {shown} has characters that are not allowed."
        )
    if len(plain.encode()) > MAX_NAME_BYTES:
        raise ArchiveRefusedError(f"The name of the archive member {shown} is too long.")
    return plain


def shown_name(name: str) -> str:
    """A name as it may appear in a message: quoted, escaped and shortened."""
    return ascii(name if len(name) <= 80 else name[:77] + "...")
