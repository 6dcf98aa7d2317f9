# SPDX-License-Identifier: Apache-2.0
"""Whether a POST may upload, judged by its headers alone (storage-commands.md 5.5, steps 1-2, 4).

Pure, and first: nothing is looked up or remembered for a request before its signature was found
right (S6). The texts are what users of the server know; each cause has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import SealVersion
from ssvm_agent.web.errors import UploadRefusedError
from ssvm_agent.web.upload_crypto import (
    MAX_METADATA_CHARS,
    MetadataError,
    decrypt_metadata,
    parse_expiry,
    signed_url,
)
from ssvm_agent.web.upload_metadata import UploadMetadata, parse_metadata
from ssvm_agent.web.upload_table import whole_gib

# What the form around a file may add to the length of the body: part headers and a few fields.
FORM_ALLOWANCE_BYTES: Final = 64 << 10
_MAX_LENGTH_DIGITS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRequest:
    """What the headers of a POST say."""

    uuid: str
    """Entity uuid in the path."""
    signature: str
    metadata: str
    expires: str
    content_length: str
    """Empty when absent, as in a chunked request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A request that may upload."""

    metadata: UploadMetadata
    content_length: int
    signed_url: str
    signed_until: datetime
    encryption: SealVersion


def upload_request(uuid: str, headers: Mapping[str, str]) -> UploadRequest:
    """Take the headers that matter (storage-commands.md 5.2); the mapping ignores case."""
    return UploadRequest(
        uuid=uuid,
        signature=headers.get("X-Signature", ""),
        metadata=headers.get("X-Metadata", ""),
        expires=headers.get("X-Expires", ""),
        content_length=headers.get("Content-Length", ""),
    )


def authenticate(
    request: UploadRequest, *, key: Secret | None, urls: Sequence[str], now: datetime
) -> Grant:
    """Check signature, expiry and metadata.

    Args:
        request: Headers of the POST.
        key: The shared key; ``None`` as long as no server has sent one.
        urls: The URLs it may have been signed for (:mod:`ssvm_agent.web.origin`).
        now: Aware time.

    Raises:
        UploadRefusedError: With the text of storage-commands.md 5.5 for the first check failed.
    """
    if not (request.signature and request.metadata and request.expires):
        raise _bad("signature, metadata and expires are compulsory fields.")
    length = _content_length(request.content_length)
    if key is None:
        raise UploadRefusedError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Uploads are not possible yet: no management server has sent its upload key.",
        )
    url = None
    if len(request.metadata) <= MAX_METADATA_CHARS:
        url = signed_url(
            key,
            request.signature,
            metadata=request.metadata,
            urls=urls,
            expires=request.expires,
        )
    if url is None:
        raise _bad("signature validation failed.", detail=f"tried {', '.join(urls)}")
    expires = _expiry(request.expires)
    if expires <= now:
        raise _bad("request not valid anymore.", detail=f"expired {request.expires}")
    metadata, encryption = _metadata(key, request)
    return Grant(
        metadata=metadata,
        content_length=length,
        signed_url=url,
        signed_until=expires,
        encryption=encryption,
    )


def require_size(grant: Grant) -> None:
    """Refuse a body that cannot hold a file of the allowed size (5.5.4).

    The limit itself is kept to the byte while the file streams.

    Raises:
        UploadRefusedError: The announced length is too large.
    """
    limit = grant.metadata.max_size_bytes
    if grant.content_length > limit + FORM_ALLOWANCE_BYTES:
        raise _bad(
            "Maximum file upload size exceeded. Content Length received: "
            f"{whole_gib(grant.content_length)}GB. Maximum allowed size: {whole_gib(limit)}GB."
        )


def require_quota(grant: Grant, used_bytes: int) -> None:
    """Refuse what would take the account over its limit of secondary storage (5.5.5).

    Raises:
        UploadRefusedError: It would.
    """
    limit = grant.metadata.account_limit_bytes
    if limit is not None and used_bytes + grant.content_length > limit:
        raise _bad(
            "Maximum number of resources of type secondary_storage for account/project "
            "has exceeded",
            detail=f"used {used_bytes}, content {grant.content_length}, limit {limit} bytes",
        )


def _content_length(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _MAX_LENGTH_DIGITS and int(text) > 0:
        return int(text)
    raise _bad("content length is not set in the request or has invalid value.")


def _expiry(text: str) -> datetime:
    try:
        return parse_expiry(text)
    except ValueError as error:
        raise _bad("request not valid anymore.", detail=f"expires {text[:60]!r}") from error


def _metadata(key: Secret, request: UploadRequest) -> tuple[UploadMetadata, SealVersion]:
    try:
        text, encryption = decrypt_metadata(key, request.metadata)
        metadata = parse_metadata(text)
    except MetadataError as error:
        raise _bad(
            "unable decode and deserialize metadata.", detail=error.for_operators()
        ) from error
    if metadata.entity_uuid.lower() != request.uuid.lower():
        raise _bad("unable decode and deserialize metadata.", detail="it belongs to another upload")
    return metadata, encryption


def _bad(message: str, *, detail: str = "") -> UploadRefusedError:
    return UploadRefusedError(HTTPStatus.BAD_REQUEST, message, detail=detail)
