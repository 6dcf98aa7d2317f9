# SPDX-License-Identifier: Apache-2.0
"""Inspecting an image that is at hand as chunks, for the command line and for tests."""

from __future__ import annotations

from collections.abc import Iterable

from ssvm_agent.images.errors import ImageError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.images.inspector import ImageInspector
from ssvm_agent.images.report import ImageReport


def inspect_stream(
    chunks: Iterable[bytes | bytearray | memoryview],
    declared: ImageFormat | None,
    *,
    max_virtual_size_bytes: int | None = None,
) -> ImageReport:
    """Inspect a whole image and say what it is, or why it is refused.

    Every chunk is read, also behind the point where a refusal is certain, so that the physical size
    in the report is that of the whole image.

    Args:
        chunks: The image in order.
        declared: The format it is supposed to have; None accepts any safe one.
        max_virtual_size_bytes: The largest virtual disk accepted; None for the general bound.
    """
    inspector = ImageInspector(declared, max_virtual_size_bytes=max_virtual_size_bytes)
    refusal: ImageError | None = None
    length = 0
    for chunk in chunks:
        length += len(chunk)
        if refusal is None:
            try:
                inspector.feed(chunk)
            except ImageError as error:
                refusal = error
    if refusal is None:
        try:
            return inspector.finish()
        except ImageError as error:
            refusal = error
    return inspector.refusal(refusal, physical_size_bytes=length)
