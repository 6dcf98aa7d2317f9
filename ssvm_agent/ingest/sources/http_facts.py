# SPDX-License-Identifier: Apache-2.0
"""What the headers of a response say about the body: its length, its place, its identity. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from ssvm_agent.ingest.errors import SourceFailedError

# Compat: storage-commands.md 4.5, in this order; object stores and proxies that compress or chunk
# on the fly tell the length this way.
_LENGTH_HEADERS: Final = (
    "x-goog-stored-content-length",
    "x-goog-meta-size",
    "x-amz-meta-size",
    "x-amz-meta-content-length",
    "x-object-meta-size",
    "x-original-content-length",
    "x-oss-meta-content-length",
    "x-file-size",
)
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_INT64_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRange:
    """``bytes first-last/total``; ``total`` is ``None`` for ``*``."""

    first: int
    last: int
    total: int | None

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """The header when it is present and makes sense."""
        found = _CONTENT_RANGE.fullmatch((text or "").strip())
        if not found:
            return None
        first, last = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        if last < first or (total is not None and last >= total):
            return None
        return cls(first=first, last=last, total=total)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyFacts:
    """What a full (200) response promises.

    Attributes:
        length: Bytes to come, ``None`` when unknown.
        is_binding: Whether fewer or more bytes are an error. Not so for a hint beside chunked
            framing, which tells the end by itself.
        validator: A strong entity tag, else Last-Modified, for If-Range.
    """

    length: int | None
    is_binding: bool
    validator: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str], *, chunked: bool) -> Self:
        """Read the headers of a 200 response; the mapping ignores case.

        Raises:
            SourceFailedError: There is neither a length nor a framing that tells the end.
        """
        validator = validator_of(headers)
        length = None if chunked else _number(headers.get("Content-Length"))
        if length is not None:
            return cls(length=length, is_binding=True, validator=validator)
        hint = _hinted_length(headers)
        if hint is None and not chunked:
            # Compat: storage-commands.md 4.5. Without it a lost connection would look like the end.
            raise SourceFailedError("Failed to receive length of download")
        return cls(length=hint, is_binding=not chunked, validator=validator)


def validator_of(headers: Mapping[str, str]) -> str | None:
    """What If-Range can be given: weak entity tags cannot be used for ranges (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag", "").strip()
    if re.fullmatch(r'"[^"\x00-\x20\x7f]*"', tag):
        return tag
    return headers.get("Last-Modified", "").strip() or None


def _hinted_length(headers: Mapping[str, str]) -> int | None:
    for name in _LENGTH_HEADERS:
        number = _number(headers.get(name))
        if number:
            return number
    content_range = ContentRange.parse(headers.get("Content-Range"))
    return content_range.total if content_range else None


def _number(text: str | None) -> int | None:
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    number = int(text)
    return number if number <= _INT64_MAX else None
