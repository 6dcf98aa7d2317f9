# SPDX-License-Identifier: Apache-2.0
"""The fixed head of a frame."""

from __future__ import annotations

import pytest

from ssvm_agent.wire.errors import FrameError
from ssvm_agent.wire.header import Header, decode_header, encode_header


@pytest.mark.parametrize(
    ("request_flags", "response_flags"),
    [
        (0x05, 0x24),  # the server answers a Startup
        (0x03, 0x22),  # the server answers a ping
        (0x23, 0x02),  # the agent answers, not in sequence
        (0x27, 0x06),  # the agent answers, in sequence
        (0x21, 0x00),  # sent with "continue"
        (0x07, 0x26),  # a refusal, which lacks the from-server flag
        (0x63, 0x02),  # control is not copied
        (0xA7, 0x06),  # compression is decided anew
    ],
)
def test_a_response_echoes_the_right_flags(request_flags: int, response_flags: int) -> None:
    """wire-protocol.md 2: stop-on-error and in-sequence copied, from-server turned round."""
    assert Header(flags=request_flags, sequence=1).response_flags() == response_flags


def test_a_response_repeats_sequence_and_ids() -> None:
    """wire-protocol.md 0.6."""
    request = Header(
        flags=0x27, sequence=-5, management_server_id=77, agent_id=5, via=6, version=2, reserved=9
    )
    assert request.response() == Header(
        flags=0x06, sequence=-5, management_server_id=77, agent_id=5, via=6
    )


def test_extreme_numbers_survive() -> None:
    header = Header(
        flags=0xFFFF,
        sequence=-(2**63),
        management_server_id=2**63 - 1,
        agent_id=-1,
        via=-(2**63),
        content_length=-(2**31),
    )
    assert decode_header(encode_header(header)) == (header, 40)


def test_flags_are_read_by_name() -> None:
    header = Header(flags=0x27 | 0x08 | 0x80, sequence=0)
    assert header.is_request
    assert header.is_in_sequence
    assert header.stops_on_error
    assert header.is_compressed
    assert header.flag_names() == [
        "request", "stop_on_error", "in_sequence", "from_server", "compressed",
    ]  # fmt: skip
    assert Header(flags=0, sequence=0).flag_names() == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (bytes(39), "39 bytes"),
        (b"\x02" + bytes(30), "31 bytes"),
        (b"\x01" + bytes(60), "version byte 1"),
        (b"\x03" + bytes(60), "version byte 3"),
        (b"\xff" + bytes(60), "version byte 255"),
    ],
)
def test_what_is_no_header_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        decode_header(data)


def test_the_short_header_takes_via_from_the_agent_id() -> None:
    """wire-protocol.md 2: version byte 2 is 32 bytes long when read."""
    long = encode_header(Header(flags=0x23, sequence=8, agent_id=5, via=9))
    header, size = decode_header(b"\x02" + long[1:32])
    assert size == 32
    assert (header.agent_id, header.via, header.version) == (5, 5, 2)
