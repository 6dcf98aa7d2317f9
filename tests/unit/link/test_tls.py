# SPDX-License-Identifier: Apache-2.0
"""TLS inside the framing: both sides against each other, in memory."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from ssvm_agent.link.certificates import client_context, load_material
from ssvm_agent.link.errors import TlsError
from ssvm_agent.link.tls import Plaintext, TlsChannel, explain, pin_version
from ssvm_agent.wire.chunks import chunk_header
from ssvm_agent.wire.errors import LocalProtocolError, RemoteProtocolError
from tests.fakes.link_parts import CertificateFiles


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """Certificates of a provisioned agent."""
    files = CertificateFiles(tmp_path_factory.mktemp("tls"))
    files.install()
    return files


def new_pair(files: CertificateFiles) -> tuple[TlsChannel, TlsChannel]:
    """Client and server before the handshake."""
    client = TlsChannel(client_context(load_material(files.conf)))
    return client, TlsChannel(files.server_context(require_client=True), server_side=True)


def shake_hands(client: TlsChannel, server: TlsChannel, *, step: int = 1 << 20) -> None:
    """Carries the handshake, in pieces of at most ``step`` bytes."""
    client.start()
    while not (client.is_established and server.is_established):
        for sender, receiver in ((client, server), (server, client)):
            flight = sender.take_output()
            for start in range(0, len(flight), step):
                assert receiver.receive(flight[start : start + step]) == []


@pytest.fixture
def pair(files: CertificateFiles) -> tuple[TlsChannel, TlsChannel]:
    """Client and server after the handshake."""
    client, server = new_pair(files)
    shake_hands(client, server)
    return client, server


def test_the_handshake_may_come_in_any_pieces(files: CertificateFiles) -> None:
    client, server = new_pair(files)
    shake_hands(client, server, step=7)
    assert client.description.startswith("TLSv1.2 ")


def test_the_first_bytes_are_a_raw_handshake_record(files: CertificateFiles) -> None:
    """wire-protocol.md 0.2: the handshake is not framed."""
    client, _ = new_pair(files)
    assert client.description == ""
    client.start()
    assert client.take_output()[:2] == b"\x16\x03"


@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        (1, ["0000001e"]),
        (142, ["000000ab"]),
        (16384, ["0000401d"]),
        (16385, ["0001401d", "0000001e"]),
        (23476, ["0001401d", "00001bd1"]),
    ],
)
def test_a_frame_is_cut_into_one_record_a_chunk(
    pair: tuple[TlsChannel, TlsChannel], size: int, chunks: list[str]
) -> None:
    """wire-protocol.md 8: the lengths on the socket with AES-GCM."""
    client, server = pair
    frame = bytes(range(256)) * (size // 256 + 1)
    stream = client.send(frame[:size])
    heads, offset = [], 0
    while offset < len(stream):
        heads.append(stream[offset : offset + 4].hex())
        assert stream[offset + 4] == 23
        offset += 4 + int.from_bytes(stream[offset + 2 : offset + 4], "big")
    assert heads == chunks
    pieces = server.receive(stream)
    assert b"".join(piece.data for piece in pieces) == frame[:size]
    assert [piece.last for piece in pieces] == [False] * (len(chunks) - 1) + [True]


def test_chunks_may_arrive_byte_by_byte_or_together(
    pair: tuple[TlsChannel, TlsChannel],
) -> None:
    """wire-protocol.md 1.1."""
    client, server = pair
    stream = client.send(b"first") + client.send(b"second")
    assert server.receive(stream) == [Plaintext(b"first", True), Plaintext(b"second", True)]
    stream = client.send(b"third")
    pieces = [piece for byte in stream for piece in server.receive(bytes([byte]))]
    assert pieces == [Plaintext(b"third", True)]
    assert not server.is_mid_chunk
    server.receive(b"\0\0")
    assert server.is_mid_chunk


def test_several_records_in_a_chunk_are_read(pair: tuple[TlsChannel, TlsChannel]) -> None:
    """wire-protocol.md 1.1: legal as long as each chunk holds whole records."""
    client, server = pair
    records = client.send(b"one ")[4:] + client.send(b"two")[4:]
    assert server.receive(chunk_header(len(records), more=False) + records) == [
        Plaintext(b"one two", True)
    ]


def test_an_empty_chunk_has_no_plaintext(pair: tuple[TlsChannel, TlsChannel]) -> None:
    _, server = pair
    assert server.receive(bytes(4)) == [Plaintext(b"", True)]


def test_data_sent_with_the_end_of_the_handshake_is_not_lost(files: CertificateFiles) -> None:
    client, server = new_pair(files)
    client.start()
    server.receive(client.take_output())
    client.receive(server.take_output())
    server.receive(client.take_output())
    last_flight = server.take_output()
    assert client.receive(last_flight + server.send(b"early")) == [Plaintext(b"early", True)]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\x17\x03", "inside a TLS record"),
        (b"\x17\x03\x03\x00\x05ab", "inside a TLS record"),
        (b"\x15\x03\x03\x00\x02\x01\x00", "TLS alert"),
        (b"\x14\x03\x03\x00\x01\x01", "type 20"),
        (b"\x17\x03\x03\x00\x19" + bytes(25), "cannot be decrypted"),
    ],
)
def test_a_chunk_that_is_no_application_data_is_refused(
    pair: tuple[TlsChannel, TlsChannel], payload: bytes, message: str
) -> None:
    """wire-protocol.md 1.1: a chunk holds whole records, and no close message."""
    _, server = pair
    with pytest.raises(RemoteProtocolError, match=message):
        server.receive(chunk_header(len(payload), more=False) + payload)


def test_nothing_is_sent_before_the_handshake(files: CertificateFiles) -> None:
    with pytest.raises(LocalProtocolError):
        new_pair(files)[0].send(b"x")


def test_only_tls_1_2_is_spoken(files: CertificateFiles) -> None:
    """wire-protocol.md 1.2: with 1.3 the switch to framing is not clean."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server_certificate, files.server_key)
    server = TlsChannel(context, server_side=True)  # offers 1.3 too, as real servers do
    client, _ = new_pair(files)
    shake_hands(client, server)
    assert server.description.startswith("TLSv1.2")

    context.minimum_version = ssl.TLSVersion.TLSv1_3
    server = TlsChannel(context, server_side=True)
    client, _ = new_pair(files)
    client.start()
    with pytest.raises(TlsError):
        server.receive(client.take_output())
    with pytest.raises(TlsError, match=r"does not offer TLS 1\.2"):
        client.receive(server.take_output())


def test_sessions_are_not_resumed_and_tickets_not_sent(files: CertificateFiles) -> None:
    context = files.server_context()
    assert context.options & ssl.OP_NO_TICKET
    for _ in range(2):
        client = TlsChannel(client_context(load_material(files.conf)))
        server = TlsChannel(context, server_side=True)
        shake_hands(client, server)
    assert context.session_stats()["hits"] == 0


def test_a_server_that_wants_a_certificate_says_so(files: CertificateFiles, tmp_path: Path) -> None:
    """wire-protocol.md 1.2: an alert, and the connection is ours to close."""
    client = TlsChannel(client_context(load_material(tmp_path)))
    server = TlsChannel(files.server_context(require_client=True), server_side=True)
    client.start()
    server.receive(client.take_output())
    client.receive(server.take_output())
    with pytest.raises(TlsError, match="no certificate and one is needed"):
        server.receive(client.take_output())
    with pytest.raises(TlsError, match="wants a certificate"):
        client.receive(server.take_output())


def test_a_peer_that_speaks_no_tls_is_recognised(files: CertificateFiles) -> None:
    client, _ = new_pair(files)
    client.start()
    with pytest.raises(TlsError, match="does not speak TLS"):
        client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_an_unknown_error_keeps_its_own_words() -> None:
    error = ssl.SSLError("nothing known")
    assert explain(error) == "unknown TLS error"


def test_renegotiation_is_off() -> None:
    context = pin_version(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert context.options & ssl.OP_NO_RENEGOTIATION
