# SPDX-License-Identifier: Apache-2.0
"""Lengths, ranges and validators out of headers."""

from __future__ import annotations

import pytest

from ssvm_agent.ingest.errors import SourceFailedError
from ssvm_agent.ingest.sources.http_facts import BodyFacts, ContentRange, validator_of


@pytest.mark.parametrize(
    "name",
    ["x-goog-stored-content-length", "x-goog-meta-size", "x-amz-meta-size",
     "x-amz-meta-content-length", "x-object-meta-size", "x-original-content-length",
     "x-oss-meta-content-length", "x-file-size"],
)  # fmt: skip
def test_a_chunked_body_may_tell_its_length_elsewhere(name: str) -> None:
    """storage-commands.md 4.5."""
    assert BodyFacts.of({name: "123"}, chunked=True) == BodyFacts(
        length=123, is_binding=False, validator=None
    )


def test_the_total_of_a_content_range_is_the_last_resort() -> None:
    facts = BodyFacts.of({"Content-Range": "bytes 0-1/77", "x-file-size": "soon"}, chunked=True)
    assert facts.length == 77


def test_a_chunked_body_without_any_length_has_none() -> None:
    assert BodyFacts.of({"Content-Length": "5"}, chunked=True).length is None


def test_neither_length_nor_framing_is_an_error() -> None:
    """storage-commands.md 4.5."""
    with pytest.raises(SourceFailedError, match="Failed to receive length of download"):
        BodyFacts.of({}, chunked=False)


@pytest.mark.parametrize(
    "text", ["-1", "1e3", "0x10", "", "9" * 20, "9223372036854775808", "\uff11"]
)
def test_odd_numbers_are_no_length(text: str) -> None:
    with pytest.raises(SourceFailedError):
        BodyFacts.of({"Content-Length": text}, chunked=False)


def test_sixty_three_bits_are_a_length() -> None:
    """requirements R15."""
    size = (1 << 63) - 1
    assert BodyFacts.of({"Content-Length": str(size)}, chunked=False).length == size


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"a"', "Last-Modified": "then"}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": "then"}, "then"),
        ({"ETag": 'W/"a"'}, None),
        ({"ETag": "a"}, None),
        ({"ETag": '"a\r\nX: y"'}, None),
        ({}, None),
    ],
)
def test_only_strong_validators_are_used(headers: dict[str, str], validator: str | None) -> None:
    assert validator_of(headers) == validator


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("bytes 5-9/10", (5, 9, 10)),
        ("bytes 5-9/*", (5, 9, None)),
        ("bytes 9-5/10", None),
        ("bytes 5-10/10", None),
        ("bytes */10", None),
        ("items 1-2/3", None),
        (None, None),
    ],
)
def test_content_ranges(text: str | None, parsed: tuple[int, int, int | None] | None) -> None:
    found = ContentRange.parse(text)
    assert (found and (found.first, found.last, found.total)) == parsed
