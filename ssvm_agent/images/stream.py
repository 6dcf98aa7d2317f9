# SPDX-License-Identifier: Apache-2.0
"""Parsing a byte stream that passes by once and is never rewound.

A format parser is a generator that reads from top to bottom: it yields what it needs next, a
:class:`Span` of bytes ahead or the :class:`Tail` of the stream, and receives a :class:`Window` with
those bytes. :class:`StreamReader` pushes chunks of any size into such a parser. Chunks between two
spans cost nothing, so inspecting a disk image is free once its headers have passed.

Which spans can be served depends on offsets only, never on how the stream was cut into chunks.

Nothing here knows an image format.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from ssvm_agent.images.errors import CorruptImageError, ImageError

HEAD_BYTES = 64 << 10
"""The head of a stream stays available: every format is recognised in it and then read again."""

MAX_SPAN_BYTES = 8 << 20
"""No parser collects more than this at once."""

MAX_TAIL_BYTES = 4 << 10
"""The last bytes of a stream that are kept for a :class:`Tail`."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes at ``start`` up to ``start + length``; ahead of what was read, or in the head."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The offset just behind the span."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Tail:
    """The last ``length`` bytes of the stream, served when it has ended."""

    length: int


@dataclass(frozen=True, slots=True)
class Window:
    """Bytes a parser asked for; fewer than asked when the stream ended before.

    Attributes:
        start: Offset of the first byte.
        data: The bytes. For a :class:`Tail`, ``start + len(data)`` is the length of the stream.
    """

    start: int
    data: bytes

    @property
    def end(self) -> int:
        """The offset just behind the data."""
        return self.start + len(self.data)


T = TypeVar("T")
Parser = Generator[Span | Tail, Window, T]
"""A format parser: yields needs, receives windows, returns what it found out."""


def exactly(window: Window, length: int, what: str) -> bytes:
    """The data of a window that must be complete.

    Raises:
        CorruptImageError: The stream ended inside it.
    """
    if len(window.data) < length:
        raise CorruptImageError(
            f"The image ends in the middle of {what}; the transfer was probably cut short."
        )
    return window.data


def within(parser: Parser[T], base: int, length: int) -> Parser[T]:
    """Run a parser over a part of the stream, as if that part were a stream of its own.

    Args:
        parser: Parser of the part; its offsets start at 0.
        base: Offset of the part in the enclosing stream.
        length: Length of the part in bytes.
    """
    head = b""
    window: Window | None = None
    while True:
        try:
            need = next(parser) if window is None else parser.send(window)
        except StopIteration as stop:
            return cast("T", stop.value)
        if isinstance(need, Tail):
            start, end = max(0, length - need.length), length
        else:
            start, end = min(need.start, length), min(need.end, length)
        data = head[start:end]
        missing = start + len(data)
        if missing < end:
            got = yield Span(base + missing, end - missing)
            data += got.data
        if start <= len(head) < HEAD_BYTES:
            head = (head[:start] + data)[:HEAD_BYTES] if start + len(data) > len(head) else head
        window = Window(start, data)


class StreamReader(Generic[T]):
    """Pushes the chunks of one stream into one parser."""

    def __init__(self, parser: Parser[T]) -> None:
        self._parser = parser
        self._need: Span | Tail | None = None
        self._collected = bytearray()
        self._head = bytearray()
        self._tail = b""
        self._position = 0
        self._cursor = 0
        self._result: T | None = None
        self._failure: ImageError | None = None
        self._advance(lambda: next(parser))

    @property
    def position(self) -> int:
        """How many bytes have been fed."""
        return self._position

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream; they are not kept beyond the call.

        Raises:
            ImageError: The parser refused the image, now or before.
        """
        self._check()
        view = memoryview(chunk)
        start = self._position
        self._position += len(view)
        if len(self._head) < HEAD_BYTES:
            self._head += view[: HEAD_BYTES - len(self._head)]
        if len(view) >= MAX_TAIL_BYTES:
            self._tail = bytes(view[-MAX_TAIL_BYTES:])
        else:
            self._tail = (self._tail + bytes(view))[-MAX_TAIL_BYTES:]
        while isinstance(self._need, Span) and self._collect(self._need, view, start):
            self._serve(Window(self._need.start, bytes(self._collected)))

    def finish(self) -> T:
        """Say that the stream has ended and return what the parser found out.

        Raises:
            ImageError: The parser refused the image, now or before.
        """
        self._check()
        while self._need is not None:
            if isinstance(self._need, Tail):
                data = self._tail[-self._need.length :] if self._need.length else b""
                self._cursor = self._position
                self._serve(Window(self._position - len(data), data))
            else:
                self._collect(self._need, memoryview(b""), self._position)
                self._serve(Window(self._need.start, bytes(self._collected)))
        return cast("T", self._result)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _collect(self, need: Span, view: memoryview, start: int) -> bool:
        """Gather what the head and this chunk have of the span; True when it is complete."""
        wanted = need.start + len(self._collected)
        if wanted < min(start, need.end):
            self._collected += self._head[wanted : min(need.end, start)]
            wanted = need.start + len(self._collected)
        if start <= wanted < need.end:
            self._collected += view[wanted - start : need.end - start]
        return len(self._collected) == need.length

    def _serve(self, window: Window) -> None:
        if isinstance(self._need, Span):
            self._cursor = max(self._cursor, self._need.end)
        self._collected.clear()
        self._advance(lambda: self._parser.send(window))

    def _advance(self, step: Callable[[], Span | Tail]) -> None:
        try:
            self._need = step()
            self._check_reachable(self._need)
        except StopIteration as stop:
            self._need, self._result = None, stop.value
        except ImageError as refusal:
            self._need, self._failure = None, refusal
            raise

    def _check_reachable(self, need: Span | Tail) -> None:
        if isinstance(need, Tail):
            assert need.length <= MAX_TAIL_BYTES
            return
        assert need.length <= MAX_SPAN_BYTES
        ahead = need.start >= self._cursor or need.end <= HEAD_BYTES
        if not ahead and self._cursor > HEAD_BYTES:
            raise CorruptImageError(
                "The headers of the image are in an order that no common tool writes."
            )
