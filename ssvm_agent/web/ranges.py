# SPDX-License-Identifier: Apache-2.0
"""Which part of a file a request gets: ranges and conditions (RFC 9110, 13 and 14).

Pure. One range is served as 206. A request for several gets the whole file, which the standard
allows: answers made of many parts would let a short request cause a long answer (S10).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from enum import Enum, auto
from typing import Final

# More ranges than any client asks for that means well.
MAX_RANGES: Final = 16
_MAX_RANGE_CHARS: Final = 512
_ONE_RANGE: Final = re.compile(r"(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})")
_ENTITY_TAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """What identifies one state of one file."""

    size_bytes: int
    modified_ns: int
    inode: int

    @property
    def etag(self) -> str:
        """A strong tag: a replaced or changed file has another one."""
        return f'"{self.inode:x}-{self.size_bytes:x}-{self.modified_ns:x}"'

    @property
    def modified(self) -> datetime:
        """Time of the last change, in whole seconds as HTTP has them."""
        return datetime.fromtimestamp(self.modified_ns // 1_000_000_000, UTC)

    @property
    def last_modified(self) -> str:
        """The ``Last-Modified`` header."""
        return formatdate(self.modified_ns // 1_000_000_000, usegmt=True)


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of bytes of the file."""

    start: int
    count: int

    def content_range(self, size_bytes: int) -> str:
        """The ``Content-Range`` header of a 206."""
        return f"bytes {self.start}-{self.start + self.count - 1}/{size_bytes}"


class Refusal(Enum):
    """Why no range is served."""

    UNSATISFIABLE = auto()
    """416."""
    HOSTILE = auto()
    """416 as well, and worth a line in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The conditional headers of a request; empty: absent."""

    if_match: str = ""
    if_none_match: str = ""
    if_modified_since: str = ""
    if_unmodified_since: str = ""
    if_range: str = ""


class Verdict(Enum):
    """What the conditions of a request ask for."""

    SEND = auto()
    NOT_MODIFIED = auto()
    FAILED = auto()


def evaluate(conditions: Conditions, facts: FileFacts) -> Verdict:
    """Evaluate the preconditions in the order of RFC 9110 13.2.2."""
    if conditions.if_match:
        if not _matches(conditions.if_match, facts.etag, weak=False):
            return Verdict.FAILED
    elif conditions.if_unmodified_since:
        moment = _date(conditions.if_unmodified_since)
        if moment is not None and facts.modified > moment:
            return Verdict.FAILED
    if conditions.if_none_match:
        if _matches(conditions.if_none_match, facts.etag, weak=True):
            return Verdict.NOT_MODIFIED
    elif conditions.if_modified_since:
        moment = _date(conditions.if_modified_since)
        if moment is not None and facts.modified <= moment:
            return Verdict.NOT_MODIFIED
    return Verdict.SEND


def choose_slice(range_header: str, if_range: str, facts: FileFacts) -> Slice | Refusal | None:
    """The part to send: one slice, a refusal, or ``None`` for the whole file."""
    if not range_header or not _range_applies(if_range, facts):
        return None
    unit, separator, specs = range_header.partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return None
    if len(specs) > _MAX_RANGE_CHARS:
        return Refusal.HOSTILE
    parts = [part.strip() for part in specs.split(",")]
    if len(parts) > MAX_RANGES:
        return Refusal.HOSTILE
    bounds = [_bounds(part, facts.size_bytes) for part in parts if part]
    if not bounds or None in bounds:
        # A malformed header is ignored (RFC 9110 14.2).
        return None
    slices = [found for found in bounds if isinstance(found, Slice)]
    if not slices:
        return Refusal.UNSATISFIABLE
    if len(slices) == 1:
        return slices[0]
    return Refusal.HOSTILE if _overlap(slices) else None


def _bounds(spec: str, size: int) -> Slice | Refusal | None:
    found = _ONE_RANGE.fullmatch(spec)
    if found is None or (not found["first"] and not found["last"]):
        return None
    if not found["first"]:
        count = min(int(found["last"]), size)
        return Slice(size - count, count) if count else Refusal.UNSATISFIABLE
    first = int(found["first"])
    last = int(found["last"]) if found["last"] else size - 1
    if found["last"] and last < first:
        return None
    if first >= size:
        return Refusal.UNSATISFIABLE
    return Slice(first, min(last, size - 1) - first + 1)


def _overlap(slices: list[Slice]) -> bool:
    ordered = sorted(slices, key=lambda one: one.start)
    return any(one.start + one.count > other.start for one, other in itertools.pairwise(ordered))


def _range_applies(if_range: str, facts: FileFacts) -> bool:
    if not if_range:
        return True
    if if_range.startswith(('"', "W/")):
        # Only a strong match promises the same bytes.
        return if_range.strip() == facts.etag
    moment = _date(if_range)
    return moment is not None and moment == facts.modified


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    return any(
        (tag.removeprefix("W/") if weak else tag) == etag for tag in _ENTITY_TAG.findall(header)
    )


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
