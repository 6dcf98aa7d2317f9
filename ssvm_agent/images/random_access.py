# SPDX-License-Identifier: Apache-2.0
"""Driving a format parser over something that can be read anywhere, instead of a stream.

A file that is complete but not yet visible need not be read as a whole to be inspected: the parser
names the spans it wants, and only those are read (requirements S1).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.inspector import parse_image
from ssvm_agent.images.report import MAX_VIRTUAL_SIZE_BYTES, ImageReport, InspectionLimits
from ssvm_agent.images.stream import Parser, Span, T, Window

ReadAt = Callable[[int, int], bytes]
"""``(offset, length)`` to bytes; fewer only at the end."""


def pull(parser: Parser[T], read: ReadAt, length: int) -> T:
    """Drive a parser to its end.

    Args:
        parser: What is to be found out.
        read: Where its bytes come from.
        length: How many there are.

    Returns:
        What it found out.

    Raises:
        ImageError: The parser refused what it saw.
    """
    window: Window | None = None
    while True:
        try:
            need = next(parser) if window is None else parser.send(window)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if not isinstance(need, Span):
            need = Span(max(0, length - need.length), min(need.length, length))
        window = Window(need.start, read(need.start, need.length))


def inspect_file(
    descriptor: int, declared: ImageFormat | None, *, max_virtual_size_bytes: int | None = None
) -> ImageReport:
    """Inspect an open file without reading more of it than its headers (blocking).

    Args:
        descriptor: Of a regular file; its position is not touched.
        declared: The format it must have; None accepts any safe one.
        max_virtual_size_bytes: The largest virtual disk accepted; None for the general bound.

    Raises:
        ImageError: The image is refused.
        OSError: It could not be read.
    """
    limits = InspectionLimits(
        max_virtual_size_bytes=min(
            max_virtual_size_bytes or MAX_VIRTUAL_SIZE_BYTES, MAX_VIRTUAL_SIZE_BYTES
        )
    )

    def read(offset: int, count: int) -> bytes:
        pieces = []
        while count > 0 and (piece := os.pread(descriptor, count, offset)):
            pieces.append(piece)
            offset += len(piece)
            count -= len(piece)
        return b"".join(pieces)

    facts = pull(parse_image(declared, limits), read, os.fstat(descriptor).st_size)
    return ImageReport(
        accepted=True,
        detected=facts.format,
        virtual_size_bytes=facts.virtual_size_bytes,
        physical_size_bytes=facts.physical_size_bytes,
        notes=facts.notes,
        ovf=facts.ovf,
    )
