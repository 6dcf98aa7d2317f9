# SPDX-License-Identifier: Apache-2.0
"""Forms, targets and ranges of every shape."""

from __future__ import annotations

import contextlib
import itertools

from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.web.errors import RequestRefusedError, UploadBrokenError
from ssvm_agent.web.multipart import FileEnd, FilePart, FormFileParser
from ssvm_agent.web.ranges import FileFacts, Slice, choose_slice
from ssvm_agent.web.target import parse_target

BOUNDARY = b"----b0undary"


def chop(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def file_of(pieces: list[bytes]) -> tuple[bytes, bool]:
    parser = FormFileParser(BOUNDARY)
    content = b""
    for piece in pieces:
        for event in parser.feed(piece):
            if not isinstance(event, FilePart | FileEnd):
                content += event
    return content, parser.finished


@given(
    content=st.binary(max_size=300) | st.text("\r\n-b0undary", max_size=300).map(str.encode),
    fields=st.lists(st.binary(max_size=30).filter(lambda b: b"--" not in b), max_size=3),
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
)
def test_a_file_survives_any_cut(content: bytes, fields: list[bytes], cuts: list[int]) -> None:
    """However the body arrives, the file comes out as it went in."""
    if b"\r\n--" + BOUNDARY in b"\r\n" + content:
        return
    head = b'Content-Disposition: form-data; name="x"'
    body = b"".join(
        b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + field + b"\r\n" for field in fields
    )
    body += b"--" + BOUNDARY + b"\r\n" + head + b'; filename="f"\r\n\r\n' + content
    body += b"\r\n--" + BOUNDARY + b"--\r\n"
    assert file_of(chop(body, cuts)) == (content, True)


@given(body=st.binary(max_size=500), cuts=st.lists(st.integers(0, 1000), max_size=5))
def test_no_body_breaks_the_parser_in_another_way(body: bytes, cuts: list[int]) -> None:
    with contextlib.suppress(UploadBrokenError):
        file_of(chop(b"--" + BOUNDARY + b"\r\n" + body, cuts))


@given(st.text(max_size=120))
def test_a_target_is_names_or_refused(raw: str) -> None:
    """Requirement S8: what comes out can be given to openat."""
    with contextlib.suppress(RequestRefusedError):
        for name in parse_target(raw).names:
            assert name not in {"", ".", ".."}
            assert "/" not in name
            assert "\0" not in name


@given(
    header=st.text("bytes=0123456789-, ", max_size=60) | st.text(max_size=30),
    size=st.integers(0, 5000),
)
def test_a_slice_lies_within_the_file(header: str, size: int) -> None:
    found = choose_slice(header, "", FileFacts(size_bytes=size, modified_ns=0, inode=1))
    if isinstance(found, Slice):
        assert found.count > 0
        assert 0 <= found.start <= found.start + found.count <= size
