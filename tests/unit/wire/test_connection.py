# SPDX-License-Identifier: Apache-2.0
"""The protocol machine: who may speak when, what ends a link, and both roles against each other."""

from __future__ import annotations

import pytest

from ssvm_agent.wire.connection import (
    BadFrame,
    Connection,
    RequestReceived,
    ResponseReceived,
    Role,
    SequenceCounter,
    State,
)
from ssvm_agent.wire.errors import LocalProtocolError, RemoteProtocolError
from ssvm_agent.wire.frame import Frame, encode_frame
from ssvm_agent.wire.header import Flag, Header
from ssvm_agent.wire.limits import Limits

STARTUP = b'[{"com.cloud.agent.api.StartupSecondaryStorageCommand":{}}]'
ANSWER = b'[{"com.cloud.agent.api.StartupAnswer":{"result":true}}]'


def pair() -> tuple[Connection, Connection]:
    """An agent and a server that have exchanged a Startup."""
    agent, server = Connection(Role.AGENT), Connection(Role.MANAGEMENT_SERVER)
    frame = agent.send_request(STARTUP, flags=Flag.IN_SEQUENCE)
    server.receive_plaintext(frame, last=True)
    return agent, server


def test_both_roles_understand_each_other() -> None:
    """Startup, its answer, a request of the server and its answer, each seen by both sides."""
    agent = Connection(Role.AGENT)
    server = Connection(Role.MANAGEMENT_SERVER, sequences=SequenceCounter((3 << 48) + 1))

    frame = agent.send_request(STARTUP, flags=Flag.IN_SEQUENCE)
    [startup] = server.receive_plaintext(frame, last=True)
    assert isinstance(startup, RequestReceived)
    assert startup.content == STARTUP
    assert (startup.header.flags, startup.header.sequence) == (0x05, 0)
    assert (startup.header.agent_id, startup.header.via) == (-1, -1)

    [answer] = agent.receive_plaintext(server.send_response(startup.header, ANSWER), last=True)
    assert isinstance(answer, ResponseReceived)
    assert (answer.header.flags, answer.header.sequence) == (0x24, 0)

    frame = server.send_request(
        b"[]", flags=Flag.STOP_ON_ERROR, agent_id=5, management_server_id=77
    )
    [request] = agent.receive_plaintext(frame, last=True)
    assert isinstance(request, RequestReceived)
    assert (request.header.flags, request.header.sequence) == (0x23, (3 << 48) + 1)

    frame = agent.send_response(request.header, b"[]")
    [response] = server.receive_plaintext(frame, last=True)
    assert isinstance(response, ResponseReceived)
    assert (response.header.flags, response.header.sequence) == (0x02, (3 << 48) + 1)
    assert (response.header.management_server_id, response.header.agent_id) == (77, 5)
    assert (response.header.via, server.sequences.take()) == (5, (3 << 48) + 2)


def test_the_counter_outlives_a_link() -> None:
    """wire-protocol.md 2: from 0, one more per request, over reconnects."""
    counter = SequenceCounter()
    for expected in range(3):
        agent = Connection(Role.AGENT, sequences=counter)
        server = Connection(Role.MANAGEMENT_SERVER)
        [event] = server.receive_plaintext(agent.send_request(b"[]", flags=0), last=True)
        assert isinstance(event, RequestReceived)
        assert event.header.sequence == expected


def test_a_given_sequence_does_not_use_up_a_number() -> None:
    """agent-lifecycle.md 3.6: the shutdown notice carries -1."""
    agent, server = pair()
    frame = agent.send_request(b"[]", flags=Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE, sequence=-1)
    [event] = server.receive_plaintext(frame, last=True)
    assert isinstance(event, RequestReceived)
    assert (event.header.sequence, event.header.flags) == (-1, 0x07)
    assert agent.sequences.take() == 1


def test_the_server_may_not_speak_first() -> None:
    """wire-protocol.md 1: it sends nothing until it has read a frame."""
    with pytest.raises(LocalProtocolError, match="NEW"):
        Connection(Role.MANAGEMENT_SERVER).send_request(b"[]", flags=0)
    early = encode_frame(Frame(header=Header(flags=0x23, sequence=1), content=b"[]"))
    agent = Connection(Role.AGENT)
    with pytest.raises(RemoteProtocolError, match="before"):
        agent.receive_plaintext(early, last=True)
    assert agent.state is State.FAILED


def test_the_agent_may_not_answer_before_its_startup() -> None:
    with pytest.raises(LocalProtocolError):
        Connection(Role.AGENT).send_response(Header(flags=0x23, sequence=1), b"[]")


def test_a_response_is_never_answered() -> None:
    agent, _ = pair()
    with pytest.raises(LocalProtocolError, match="not answered"):
        agent.send_response(Header(flags=0x24, sequence=1), b"[]")


def test_a_frame_may_come_in_pieces() -> None:
    agent, server = pair()
    frame = agent.send_request(b'[{"a.B":{}}]', flags=0)
    assert server.receive_plaintext(frame[:10], last=False) == []
    assert server.is_mid_frame
    assert server.receive_plaintext(b"", last=False) == []
    [event] = server.receive_plaintext(frame[10:], last=True)
    assert isinstance(event, RequestReceived)
    assert event.content == b'[{"a.B":{}}]'
    assert not server.is_mid_frame


def test_an_empty_last_chunk_ends_the_frame_before_it() -> None:
    agent, server = pair()
    frame = agent.send_request(b"[]", flags=0)
    assert server.receive_plaintext(frame, last=False) == []
    [event] = server.receive_plaintext(b"", last=True)
    assert isinstance(event, RequestReceived)


def test_an_empty_frame_is_reported_and_the_link_stays() -> None:
    """wire-protocol.md 1.1: parse error, logged, link stays."""
    agent, server = pair()
    [event] = server.receive_plaintext(b"", last=True)
    assert isinstance(event, BadFrame)
    assert event.header is None
    [event] = server.receive_plaintext(agent.send_request(b"[]", flags=0), last=True)
    assert isinstance(event, RequestReceived)


def test_a_bad_content_is_reported_with_its_header() -> None:
    """wire-protocol.md 11: whoever can read the sequence can still answer."""
    agent, server = pair()
    frame = bytearray(agent.send_request(b"not gzip", flags=Flag.COMPRESSED))
    frame[3] |= Flag.COMPRESSED
    [event] = server.receive_plaintext(bytes(frame), last=True)
    assert isinstance(event, BadFrame)
    assert event.header is not None
    assert event.header.sequence == 1


def test_a_frame_over_the_cap_ends_the_link() -> None:
    server = Connection(Role.MANAGEMENT_SERVER, limits=Limits(max_frame_bytes=100))
    with pytest.raises(RemoteProtocolError, match="size limit"):
        server.receive_plaintext(bytes(101), last=True)
    assert server.state is State.FAILED


def test_the_pieces_of_a_frame_are_counted_together() -> None:
    server = Connection(Role.MANAGEMENT_SERVER, limits=Limits(max_frame_bytes=100))
    server.receive_plaintext(bytes(60), last=False)
    with pytest.raises(RemoteProtocolError, match="size limit"):
        server.receive_plaintext(bytes(60), last=False)
    assert server.state is State.FAILED


def test_a_frame_in_too_many_chunks_ends_the_link() -> None:
    server = Connection(Role.MANAGEMENT_SERVER, limits=Limits(max_chunks=2))
    server.receive_plaintext(b"", last=False)
    server.receive_plaintext(b"", last=False)
    with pytest.raises(RemoteProtocolError, match="too many chunks"):
        server.receive_plaintext(b"", last=False)


def test_a_failed_link_stays_failed() -> None:
    server = Connection(Role.MANAGEMENT_SERVER, limits=Limits(max_frame_bytes=1))
    with pytest.raises(RemoteProtocolError):
        server.receive_plaintext(b"ab", last=True)
    with pytest.raises(LocalProtocolError):
        server.receive_plaintext(b"", last=True)
    with pytest.raises(LocalProtocolError):
        server.send_request(b"[]", flags=0)
    server.close()
    assert server.state is State.CLOSED


def test_the_end_between_frames_is_an_end() -> None:
    agent, server = pair()
    server.receive_eof()
    assert server.state is State.CLOSED
    with pytest.raises(LocalProtocolError):
        server.receive_eof()
    agent.close()
    with pytest.raises(LocalProtocolError, match="CLOSED"):
        agent.send_request(b"[]", flags=0)


def test_the_end_inside_a_frame_is_an_error() -> None:
    _, server = pair()
    server.receive_plaintext(b"half", last=False)
    with pytest.raises(RemoteProtocolError, match="middle"):
        server.receive_eof()
