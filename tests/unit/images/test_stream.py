# SPDX-License-Identifier: Apache-2.0
"""The engine that pushes a stream through a parser."""

from __future__ import annotations

import pytest

from ssvm_agent.images.errors import CorruptImageError
from ssvm_agent.images.stream import (
    HEAD_BYTES,
    Parser,
    Span,
    StreamReader,
    Tail,
    Window,
    exactly,
    within,
)

DATA = bytes(range(256)) * 1024


def asking(*needs: Span | Tail) -> Parser[list[Window]]:
    """A parser that asks for things and returns what it got."""
    got = []
    for need in needs:
        got.append((yield need))
    return got


def run(parser: Parser[list[Window]], data: bytes = DATA, step: int = 1000) -> list[Window]:
    reader = StreamReader(parser)
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
    return reader.finish()


@pytest.mark.parametrize("step", [1, 7, 4096, len(DATA)])
def test_spans_ahead_are_served_whatever_the_chunks(step: int) -> None:
    data = DATA[:2000]
    needs: list[Span] = [
        Span(0, 10),
        Span(10, 0),
        Span(10, 1),
        Span(500, 1000),
        Span(1999, 1),
        Span(3000, 4),
    ]
    got = run(asking(*needs), data, step)
    assert [window.data for window in got] == [data[n.start : n.end] for n in needs]
    assert [window.start for window in got] == [need.start for need in needs]


def test_the_head_can_be_read_again() -> None:
    got = run(asking(Span(0, HEAD_BYTES), Span(HEAD_BYTES, 10), Span(5, 10), Span(70_000, 1)))
    assert got[2].data == DATA[5:15]
    assert got[3].data == DATA[70_000:70_001]


def test_a_span_may_begin_in_the_head_and_end_behind_it() -> None:
    got = run(asking(Span(0, 100), Span(HEAD_BYTES - 5, 10)))
    assert got[1].data == DATA[HEAD_BYTES - 5 : HEAD_BYTES + 5]


@pytest.mark.parametrize("step", [100, len(DATA)])
def test_a_span_behind_is_refused_whatever_the_chunks(step: int) -> None:
    with pytest.raises(CorruptImageError, match="order"):
        run(asking(Span(100_000, 10), Span(90_000, 10)), step=step)


@pytest.mark.parametrize("step", [1, 511, 100_000])
def test_the_tail_tells_the_length_of_the_stream(step: int) -> None:
    first, second = run(asking(Tail(512), Tail(0)), DATA[:5000], step)
    assert (first.start, first.data, first.end) == (4488, DATA[4488:5000], 5000)
    assert (second.data, second.end) == (b"", 5000)


def test_the_tail_of_a_short_stream_is_all_of_it() -> None:
    (window,) = run(asking(Tail(512)), b"abc")
    assert window == Window(0, b"abc")


def test_a_truncated_span_is_named() -> None:
    with pytest.raises(CorruptImageError, match="in the middle of the header"):
        exactly(Window(0, b"abc"), 4, "the header")


@pytest.mark.parametrize("step", [13, 100_000])
def test_a_part_of_a_stream_looks_like_a_stream(step: int) -> None:
    base, length = 100_000, 80_000
    spans = [
        Span(0, HEAD_BYTES),
        Span(3, 4),
        Span(HEAD_BYTES - 1, 3),
        Span(70_000, 5),
        Span(79_999, 10),
        Span(90_000, 1),
    ]
    *got, tail = run(within(asking(*spans, Tail(0)), base, length), step=step)
    part = DATA[base : base + length]
    assert [window.data for window in got] == [part[span.start : span.end] for span in spans]
    assert tail.end == length


def test_the_tail_of_a_part_comes_before_the_end_of_the_stream() -> None:
    reader = StreamReader(within(asking(Span(0, 10), Tail(20)), 50, 100))
    reader.feed(DATA[:150])
    reader.feed(b"something else")
    assert reader.finish()[1] == Window(80, DATA[130:150])


def test_feeding_after_the_parser_has_finished_only_counts() -> None:
    reader = StreamReader(asking(Span(0, 1)))
    reader.feed(b"abc")
    reader.feed(memoryview(b"def"))
    assert reader.position == 6
    assert reader.finish()[0].data == b"a"
