# SPDX-License-Identifier: Apache-2.0
"""The image formats a management server can declare, with their file extensions.

Only names live here; what the formats look like is the business of the modules named after them.
"""

from __future__ import annotations

from enum import StrEnum

from ssvm_agent.images.errors import WrongFormatError


class ImageFormat(StrEnum):
    """A declared image format; the value is the word used on the wire."""

    QCOW2 = "QCOW2"
    RAW = "RAW"
    VHD = "VHD"
    VHDX = "VHDX"
    VMDK = "VMDK"
    VDI = "VDI"
    OVA = "OVA"
    ISO = "ISO"
    TAR = "TAR"
    ZIP = "ZIP"
    DIR = "DIR"
    BAREMETAL = "BAREMETAL"
    EXTERNAL = "EXTERNAL"

    @property
    def extension(self) -> str:
        """The file name extension without its dot (storage-commands.md 4.10.2)."""
        # Compat: storage-commands.md 4.10.2: these two extensions are written in capitals.
        return self.value if self in _CAPITAL_EXTENSIONS else self.value.lower()

    @property
    def is_opaque(self) -> bool:
        """Whether the format promises nothing about the content, so nothing can be compared."""
        return self in _OPAQUE

    @classmethod
    def from_name(cls, text: str) -> ImageFormat:
        """Read a format name in any case.

        Raises:
            WrongFormatError: There is no such format.
        """
        try:
            return cls(text.strip().upper())
        except ValueError:
            raise WrongFormatError(
                f"There is no image format named {text.strip()[:32]!r}."
            ) from None


_CAPITAL_EXTENSIONS = frozenset({ImageFormat.BAREMETAL, ImageFormat.EXTERNAL})
_OPAQUE = frozenset({ImageFormat.DIR, ImageFormat.BAREMETAL, ImageFormat.EXTERNAL})
