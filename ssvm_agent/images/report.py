# SPDX-License-Identifier: Apache-2.0
"""The result of an inspection and the limits it works under: plain values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ssvm_agent.images.errors import SizeLimitError

if TYPE_CHECKING:
    from ssvm_agent.images.formats import ImageFormat
    from ssvm_agent.images.ovf import OvfFacts

MAX_VIRTUAL_SIZE_BYTES = 1 << 50
"""No disk we could ever serve is larger than a pebibyte; a header that says so is a lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionLimits:
    """How large things inside an image may be.

    Attributes:
        max_virtual_size_bytes: The largest virtual disk accepted (the sum, for an OVA).
        max_members: The most members an OVA may have.
        max_ovf_bytes: The largest OVF descriptor read.
    """

    max_virtual_size_bytes: int = MAX_VIRTUAL_SIZE_BYTES
    max_members: int = 1000
    max_ovf_bytes: int = 4 << 20

    def check_virtual_size(self, size_bytes: int) -> int:
        """Return the size when it is within the limit.

        Raises:
            SizeLimitError: It is not.
        """
        if size_bytes > self.max_virtual_size_bytes:
            raise SizeLimitError(
                f"The virtual disk has {size_bytes} bytes;"
                f" at most {self.max_virtual_size_bytes} are allowed."
            )
        return size_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReport:
    """What an image turned out to be.

    Attributes:
        accepted: Whether the image may be installed.
        detected: The one format the content has; None when that could not be settled.
        virtual_size_bytes: Size of the disk a guest sees; 0 when unknown.
        physical_size_bytes: Length of the image file.
        reasons: Why the image is refused, as sentences; empty when it is accepted.
        notes: Remarks on an accepted image (partition table found, marked dirty, ...).
        ovf: The parsed OVF descriptor of an OVA.
    """

    accepted: bool
    detected: ImageFormat | None
    virtual_size_bytes: int
    physical_size_bytes: int
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ovf: OvfFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the parser of one format found out about an image it has no objection to.

    Attributes are those of :class:`ImageReport`.
    """

    format: ImageFormat
    virtual_size_bytes: int
    physical_size_bytes: int
    notes: tuple[str, ...] = ()
    ovf: OvfFacts | None = None

    def with_notes(self, *notes: str) -> Facts:
        """The same facts with more remarks."""
        return replace(self, notes=(*self.notes, *notes))
