# SPDX-License-Identifier: Apache-2.0
"""What can go wrong while one image is brought into a store.

Every message is a sentence a CloudStack user may read in the template's status; the operator's part
(addresses, errno, program output) goes into ``detail``.
"""

from __future__ import annotations

from ssvm_agent.errors import AgentError


class IngestError(AgentError):
    """An image could not be brought in."""

    code = "ingest"


class BadUrlError(IngestError):
    """The URL cannot be parsed strictly, or its scheme is not one of ours."""

    code = "bad-url"


class BlockedAddressError(IngestError):
    """The egress guard refuses the host or one of its addresses (requirements S2)."""

    code = "blocked-address"


class SourceFailedError(IngestError):
    """The source did not deliver.

    Attributes:
        retryable: Whether the same request may succeed later (drop, time-out, busy server).
    """

    code = "source-failed"

    def __init__(self, message: str, *, detail: str = "", retryable: bool = False) -> None:
        super().__init__(message, detail=detail)
        self.retryable = retryable


class SourceRestartedError(SourceFailedError):
    """What was received so far is void: the stream starts again at its first byte.

    The pipeline answers it by emptying the temporary file and opening the source once more; the
    source itself bounds how often that happens.
    """

    code = "source-restarted"

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message, detail=detail, retryable=True)


class TooBigError(IngestError):
    """More bytes on the wire or after decompression than the command allows (requirements R15)."""

    code = "too-big"


class ChecksumMismatchError(IngestError):
    """The digest of the received bytes is not the given one."""

    code = "checksum-mismatch"


class UnknownAlgorithmError(IngestError):
    """The checksum names a digest algorithm we do not have, or is no checksum at all."""

    code = "unknown-algorithm"


class UnsupportedContentError(IngestError):
    """The content is damaged, unsafe, or of another format than the command says."""

    code = "unsupported-content"


class AbortedError(IngestError):
    """Somebody asked to stop the job."""

    code = "aborted"


class UnknownJobError(IngestError):
    """There is no job of this id, in memory or in the journal."""

    code = "unknown-job"
