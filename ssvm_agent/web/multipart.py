# SPDX-License-Identifier: Apache-2.0
"""The file inside a ``multipart/form-data`` body, taken out as the bytes come (RFC 7578).

Sans-IO and fast: the body is searched for its boundary with one ``find`` per piece, and what is
not boundary is handed on as views without copying. The first part with a file name is the file
(storage-commands.md 5.2); other parts are read over. Bounds keep a hostile form small: header
bytes of a part, number of parts, and bytes that belong to no file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ssvm_agent.web.errors import UploadBrokenError

MAX_PART_HEADER_BYTES: Final = 8 << 10
MAX_PARTS: Final = 100
# Form fields beside the file; a browser's form has a few hundred bytes of them.
MAX_FIELD_BYTES: Final = 1 << 20
_MAX_BOUNDARY_CHARS: Final = 70  # RFC 2046 5.1.1

_BOUNDARY_PARAMETER: Final = re.compile(
    r""";\s*boundary=(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s;"]*))\s*(?:;|$)""", re.IGNORECASE
)
_BOUNDARY: Final = re.compile(r"[A-Za-z0-9'()+_,./:=? -]*[A-Za-z0-9'()+_,./:=?-]")
_DISPOSITION: Final = re.compile(
    rb"^content-disposition:[ \t]*form-data\b(?P<rest>.*)$", re.IGNORECASE
)
_FILENAME: Final = re.compile(
    rb';\s*filename\*?=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^;]*))', re.IGNORECASE
)


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    FILE = auto()
    SKIP = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class FilePart:
    """The file began; ``file_name`` is what the client calls it: a text for logs, no path."""

    file_name: str


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The file is complete; what follows is read over."""


FormEvent = FilePart | memoryview | FileEnd


def boundary_of(content_type: str) -> bytes:
    """The boundary of a form by its ``Content-Type``.

    Raises:
        UploadBrokenError: It is no form, or names no usable boundary.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UploadBrokenError("The request body is not a form with a file.", detail=kind[:80])
    found = _BOUNDARY_PARAMETER.search(content_type)
    text = (found["quoted"] or found["plain"] or "") if found else ""
    if len(text) > _MAX_BOUNDARY_CHARS or not _BOUNDARY.fullmatch(text):
        raise UploadBrokenError("The form names no usable boundary.")
    return text.encode("ascii")


class FormFileParser:
    """Push bytes in, take events out; after an error the parser is dead.

    Args:
        boundary: From :func:`boundary_of`.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter need not follow a line break; one is supplied.
        self._rest = b"\r\n"
        self._state = _State.PREAMBLE
        self._parts = 0
        self._field_bytes = 0
        self._seen_file = False

    @property
    def finished(self) -> bool:
        """Whether the closing delimiter was seen."""
        return self._state is _State.END

    @property
    def seen_file(self) -> bool:
        """Whether a file part was found."""
        return self._seen_file

    def feed(self, data: bytes) -> list[FormEvent]:
        """Take the next piece of the body.

        Raises:
            UploadBrokenError: The body is no usable form.
        """
        events: list[FormEvent] = []
        buffer = self._rest + data if self._rest else data
        position = 0
        while True:
            if self._state is _State.END:
                self._rest = b""
                return events
            step = self._headers if self._state is _State.HEADERS else self._content
            following = step(buffer, position, events)
            if following is None:
                return events
            position = following

    def _content(self, buffer: bytes, start: int, events: list[FormEvent]) -> int | None:
        found = buffer.find(self._delimiter, start)
        # Two more bytes tell a further part (CR LF) from the end ("--").
        end = found + len(self._delimiter)
        if found < 0:
            keep = self._partial_delimiter(buffer, start)
            self._hand_on(buffer, start, keep, events)
            self._rest = buffer[keep:]
            return None
        if len(buffer) < end + 2:
            self._hand_on(buffer, start, found, events)
            self._rest = buffer[found:]
            return None
        self._hand_on(buffer, start, found, events)
        if self._state is _State.FILE:
            events.append(FileEnd())
        return self._after_delimiter(buffer, end)

    def _after_delimiter(self, buffer: bytes, end: int) -> int:
        mark = buffer[end : end + 2]
        if mark == b"--":
            self._state = _State.END
            return end + 2
        if mark != b"\r\n":
            raise UploadBrokenError("The form is damaged: a boundary is not followed by a line.")
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise UploadBrokenError(f"The form has more than {MAX_PARTS} parts.")
        self._state = _State.HEADERS
        # The blank line may follow at once: keep the line break in front of the headers.
        return end

    def _headers(self, buffer: bytes, start: int, events: list[FormEvent]) -> int | None:
        end = buffer.find(b"\r\n\r\n", start, start + MAX_PART_HEADER_BYTES)
        if end < 0:
            if len(buffer) - start >= MAX_PART_HEADER_BYTES:
                raise UploadBrokenError("The form has a part with too long headers.")
            self._rest = buffer[start:]
            return None
        file_name = _file_name(buffer[start:end])
        if file_name is None or self._seen_file:
            self._state = _State.SKIP
        else:
            self._seen_file = True
            self._state = _State.FILE
            events.append(FilePart(file_name))
        # The content may be empty: its delimiter then begins with the second line break.
        return end + 2 if buffer.startswith(self._delimiter, end + 2) else end + 4

    def _hand_on(self, buffer: bytes, start: int, end: int, events: list[FormEvent]) -> None:
        if end <= start:
            return
        if self._state is _State.FILE:
            events.append(memoryview(buffer)[start:end])
            return
        if self._state is _State.SKIP and self._seen_file:
            # What follows the file is bounded by the length of the body; it is not kept.
            return
        self._field_bytes += end - start
        if self._field_bytes > MAX_FIELD_BYTES:
            raise UploadBrokenError("The form has too much beside its file.")

    def _partial_delimiter(self, buffer: bytes, start: int) -> int:
        """Where a delimiter cut by the end of the buffer may begin; the length when nowhere."""
        position = buffer.find(b"\r", max(start, len(buffer) - len(self._delimiter) + 1))
        while position >= 0:
            if self._delimiter.startswith(buffer[position:]):
                return position
            position = buffer.find(b"\r", position + 1)
        return len(buffer)


def _file_name(headers: bytes) -> str | None:
    """The file name of a part by its headers; ``None``: it is a field, not a file."""
    for line in headers.split(b"\r\n"):
        disposition = _DISPOSITION.match(line)
        if disposition is None:
            continue
        found = _FILENAME.search(disposition["rest"])
        if found is None:
            return None
        name = found["quoted"] if found["quoted"] is not None else found["plain"].strip()
        return name.decode("utf-8", "replace")[:255]
    return None
