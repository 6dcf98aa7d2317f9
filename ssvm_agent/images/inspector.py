# SPDX-License-Identifier: Apache-2.0
"""Inspecting an image while it streams by, before anybody can see it (requirements S1).

The first 64 KiB decide which format the image is (:mod:`ssvm_agent.images.signatures`); the parser
of that format then takes what it needs from the passing bytes. Nothing an image names is opened.
"""

from __future__ import annotations

from collections.abc import Callable

from ssvm_agent.images.errors import ImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.iso import parse_iso
from ssvm_agent.images.ova import parse_ova
from ssvm_agent.images.qcow2 import parse_qcow2
from ssvm_agent.images.raw import parse_plain, parse_raw
from ssvm_agent.images.report import MAX_VIRTUAL_SIZE_BYTES, Facts, ImageReport, InspectionLimits
from ssvm_agent.images.signatures import settle
from ssvm_agent.images.stream import HEAD_BYTES, Parser, Span, StreamReader
from ssvm_agent.images.vdi import parse_vdi
from ssvm_agent.images.vhd import parse_vhd
from ssvm_agent.images.vhdx import parse_vhdx
from ssvm_agent.images.vmdk import parse_vmdk


def _parser(
    detected: ImageFormat, declared: ImageFormat | None, limits: InspectionLimits
) -> Parser[Facts]:
    if detected is ImageFormat.RAW:
        return parse_raw(limits, declared)
    if detected is ImageFormat.OVA:
        return parse_ova(limits, parse_image)
    parse = _PARSERS.get(detected)
    return parse(limits) if parse is not None else parse_plain(detected, limits)


_PARSERS: dict[ImageFormat, Callable[[InspectionLimits], Parser[Facts]]] = {
    ImageFormat.QCOW2: parse_qcow2,
    ImageFormat.VHD: parse_vhd,
    ImageFormat.VHDX: parse_vhdx,
    ImageFormat.VMDK: parse_vmdk,
    ImageFormat.VDI: parse_vdi,
    ImageFormat.ISO: parse_iso,
}


def parse_image(declared: ImageFormat | None, limits: InspectionLimits) -> Parser[Facts]:
    """Recognise and inspect one image: a whole one, or a member of an OVA.

    For those who drive a parser themselves (:mod:`ssvm_agent.images.random_access`).
    """
    head = yield Span(0, HEAD_BYTES)
    return (yield from _parser(settle(head.data, declared), declared, limits))


class ImageInspector:
    """Inspects one image; feed it every byte in order, then finish.

    Once the headers have passed, feeding costs nothing per byte.

    Args:
        declared: The format the image was registered with; None accepts any safe one.
        max_virtual_size_bytes: The largest virtual disk accepted; None for the general bound.
        max_members: The most members an OVA may have.
    """

    def __init__(
        self,
        declared: ImageFormat | None,
        *,
        max_virtual_size_bytes: int | None = None,
        max_members: int = 1000,
    ) -> None:
        bound = MAX_VIRTUAL_SIZE_BYTES if max_virtual_size_bytes is None else max_virtual_size_bytes
        limits = InspectionLimits(
            max_virtual_size_bytes=min(bound, MAX_VIRTUAL_SIZE_BYTES), max_members=max_members
        )
        self._detected: ImageFormat | None = None
        self._reader = StreamReader(self._inspect(declared, limits))

    def _inspect(self, declared: ImageFormat | None, limits: InspectionLimits) -> Parser[Facts]:
        head = yield Span(0, HEAD_BYTES)
        self._detected = settle(head.data, declared)
        return (yield from _parser(self._detected, declared, limits))

    @property
    def detected(self) -> ImageFormat | None:
        """The format found so far; known after 64 KiB, also when the image is refused later."""
        return self._detected

    @property
    def physical_size_bytes(self) -> int:
        """How many bytes have been fed."""
        return self._reader.position

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; they are not kept.

        Raises:
            ImageError: As soon as it is certain that the image is refused.
        """
        self._reader.feed(chunk)

    def finish(self) -> ImageReport:
        """Say that the image has ended.

        Returns:
            The report of an accepted image.

        Raises:
            ImageError: The image is refused.
        """
        facts = self._reader.finish()
        return ImageReport(
            accepted=True,
            detected=facts.format,
            virtual_size_bytes=facts.virtual_size_bytes,
            physical_size_bytes=facts.physical_size_bytes,
            notes=facts.notes,
            ovf=facts.ovf,
        )

    def refusal(self, error: ImageError, *, physical_size_bytes: int | None = None) -> ImageReport:
        """The report of an image refused by an error that :meth:`feed` or :meth:`finish` raised.

        Args:
            error: Why it is refused.
            physical_size_bytes: Its length, when more than what was fed is known.
        """
        length = self._reader.position if physical_size_bytes is None else physical_size_bytes
        return ImageReport(
            accepted=False,
            detected=self._detected,
            virtual_size_bytes=0,
            physical_size_bytes=length,
            reasons=(error.message,),
        )
