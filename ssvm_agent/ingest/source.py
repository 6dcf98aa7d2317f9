# SPDX-License-Identifier: Apache-2.0
"""Where an image comes from, as the pipeline sees it: a described stream of bytes, nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.progress import Progress

BytesLike: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """The bytes we already hold, and the validator that says they are still current.

    ``validator`` is an entity tag or a Last-Modified date, as If-Range wants it.
    """

    offset: int
    validator: str


class Source(Protocol):
    """One image's bytes.

    The object is used by one pipeline. :meth:`open` may be called again after the source raised
    :class:`~ssvm_agent.ingest.errors.SourceRestartedError`; each call starts at ``resume`` or
    at the first byte.
    """

    @property
    def expected_size_bytes(self) -> int | None:
        """Length of the whole stream once known (after the first piece at the latest)."""

    @property
    def checksum(self) -> ExpectedChecksum | None:
        """A digest the source itself promises (metalink), known once the first piece arrived."""

    @property
    def validator(self) -> str | None:
        """What a later :class:`ResumePoint` needs; ``None`` when the source cannot resume."""

    async def measure(self) -> int | None:
        """Ask for the length without fetching anything; ``None`` when it cannot be had that way."""

    def describe(self) -> str:
        """The source for logs and progress texts, without secrets."""

    def open(
        self, progress: Progress, *, resume: ResumePoint | None = None
    ) -> AsyncGenerator[BytesLike, None]:
        """The stream in pieces of any size.

        Raises:
            SourceFailedError: After the source's own bounded retries.
            SourceRestartedError: What was yielded so far is void; open again.
            BlockedAddressError: The egress guard refused a host.
        """
