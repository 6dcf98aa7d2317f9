# SPDX-License-Identifier: Apache-2.0
"""What a running ingest tells about itself: plain numbers, written by the pipeline alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The five steps of every ingest, in order."""

    RESERVE = "reserve"
    FETCH = "fetch"
    VERIFY = "verify"
    INSTALL = "install"
    PUBLISH = "publish"


@dataclass(slots=True)
class Progress:
    """The state of one ingest; owned by one task, so it needs no lock.

    Attributes:
        phase: The step under way.
        bytes_received: Bytes from the source so far, before decompression.
        bytes_expected: What the source announced, ``None`` while unknown.
        bytes_written: Bytes of the image so far, after decompression.
        note: What a user should know now (``retry 3/8 in 40 s: reason``), else empty.
        temporary_path: The file being written, absolute, empty before it exists.
        keep_partial: Set by the owner before it cancels because the process ends: the temporary
            file stays for a later process, where that can continue it.
    """

    phase: Phase = Phase.RESERVE
    bytes_received: int = 0
    bytes_expected: int | None = None
    bytes_written: int = 0
    note: str = ""
    temporary_path: str = ""
    keep_partial: bool = False

    @property
    def percent(self) -> int:
        """Received over expected, rounded down; 0 while unknown (storage-commands.md 4.2)."""
        if not self.bytes_expected:
            return 0
        return min(100, 100 * self.bytes_received // self.bytes_expected)
