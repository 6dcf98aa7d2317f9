# SPDX-License-Identifier: Apache-2.0
"""TLS inside the agent protocol's own framing, without sockets.

The handshake travels as raw records. Afterwards every record is carried in a chunk whose four-byte
head is in clear text (wire-protocol.md 1), so an ordinary TLS socket cannot be used: OpenSSL works
on memory here, and the caller moves the bytes. It serves both sides of a link and knows nothing of
frames and their headers.

Theory of operation
    ``start`` begins the handshake, ``receive`` takes whatever came from the socket, ``take_output``
    gives what has to be written for the handshake to go on (and the alert when it fails). Once
    ``is_established``, ``receive`` yields plaintext and ``send`` wraps a frame. TLS 1.2 alone is
    spoken: with it the server speaks last in a full handshake, so both sides switch to chunks at
    the same byte. Nothing may come after the handshake but application data: no tickets, no new
    handshake, no close message; a link is ended by closing its socket.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.link.errors import TlsError
from ssvm_agent.wire.chunks import MAX_PLAINTEXT, ChunkReader, chunk_header
from ssvm_agent.wire.errors import LocalProtocolError, RemoteProtocolError

_RECORD_HEADER_SIZE: Final = 5
_APPLICATION_DATA: Final = 23
_ALERT: Final = 21

# What an alert or a local finding of OpenSSL means to an operator, by OpenSSL's reason word.
_REASONS: Final = {
    "WRONG_VERSION_NUMBER": "the server does not speak TLS on this port",
    "UNSUPPORTED_PROTOCOL": "the server does not offer TLS 1.2",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server does not offer TLS 1.2",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server found no common settings, or wants a certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server refuses our certificate, or wants one",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the server refuses our certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the server refuses our kind of certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the server finds our certificate expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the server finds our certificate revoked",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not know the CA of our certificate",
    "TLSV1_ALERT_ACCESS_DENIED": "the server denies access to our certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the agent has no certificate and one is needed",
    "CERTIFICATE_VERIFY_FAILED": "the agent's certificate cannot be verified",
}


@dataclass(frozen=True, slots=True)
class Plaintext:
    """The decrypted content of one chunk, and whether the chunk ends its frame."""

    data: bytes
    last: bool


class TlsChannel:
    """One side of the encryption of one link.

    Args:
        context: With TLS 1.2 pinned (:func:`pin_version`).
        server_side: Whether we are the TLS server, as a management server is.
    """

    def __init__(self, context: ssl.SSLContext, *, server_side: bool = False) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._chunks = ChunkReader()
        self._established = False

    @property
    def is_established(self) -> bool:
        """Whether the handshake is done."""
        return self._established

    @property
    def is_mid_chunk(self) -> bool:
        """Whether the beginning of a chunk has come and its end has not."""
        return self._chunks.pending_bytes > 0

    @property
    def description(self) -> str:
        """Protocol and cipher suite in use, for the log; empty before the handshake is done."""
        suite = self._tls.cipher()
        return f"{self._tls.version()} {suite[0]}" if suite else ""

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate as DER, verified or not; None when it showed none."""
        return self._tls.getpeercert(binary_form=True)

    def start(self) -> None:
        """Begins the handshake; a client's first flight is then in :meth:`take_output`."""
        self._shake_hands()

    def take_output(self) -> bytes:
        """What has to be written to the socket as it is."""
        return self._outgoing.read()

    def receive(self, data: bytes) -> list[Plaintext]:
        """Takes bytes from the socket, cut anywhere.

        Returns:
            The plaintext of the chunks they complete; nothing during the handshake.

        Raises:
            TlsError: The handshake failed; ``take_output`` may hold an alert for the peer.
            RemoteProtocolError: The framing or the encryption is broken: close the link.
        """
        if not self._established:
            self._incoming.write(data)
            if not self._shake_hands():
                return []
            # OpenSSL takes whole records only, so what it left belongs to the chunks.
            data = self._incoming.read()
        return [
            Plaintext(self._decrypt(chunk.payload), not chunk.more)
            for chunk in self._chunks.feed(data)
        ]

    def send(self, frame: bytes) -> bytes:
        """A frame as chunks of one TLS record each, ready for the socket.

        Raises:
            LocalProtocolError: The handshake is not done.
        """
        if not self._established:
            raise LocalProtocolError("Nothing can be sent before the TLS handshake is done.")
        view = memoryview(frame)
        size = len(view)
        parts: list[bytes] = []
        for start in range(0, size, MAX_PLAINTEXT):
            end = start + MAX_PLAINTEXT
            self._tls.write(view[start:end])
            record = self._outgoing.read()
            parts.append(chunk_header(len(record), end < size))
            parts.append(record)
        return b"".join(parts)

    def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsError(
                f"The TLS handshake failed: {explain(error)}.", detail=str(error)
            ) from error
        self._established = True
        return True

    def _decrypt(self, payload: bytes) -> bytes:
        if not payload:
            return b""
        _check_records(payload)
        incoming, tls = self._incoming, self._tls
        incoming.write(payload)
        pieces: list[bytes] = []
        try:
            while incoming.pending or tls.pending():
                pieces.append(tls.read(MAX_PLAINTEXT))
        except ssl.SSLWantReadError:
            pass  # The last record held no plaintext.
        except ssl.SSLError as error:
            raise RemoteProtocolError("A chunk cannot be decrypted.", detail=str(error)) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _check_records(payload: bytes) -> None:
    """Makes sure that a chunk holds whole records of application data (wire-protocol.md 1.1)."""
    offset, size = 0, len(payload)
    while offset < size:
        if size - offset < _RECORD_HEADER_SIZE:
            raise RemoteProtocolError("A chunk ends inside a TLS record.")
        kind = payload[offset]
        if kind == _ALERT:
            raise RemoteProtocolError("The peer sent a TLS alert inside a chunk.")
        if kind != _APPLICATION_DATA:
            raise RemoteProtocolError(f"A chunk holds a TLS record of type {kind}.")
        offset += _RECORD_HEADER_SIZE + int.from_bytes(payload[offset + 3 : offset + 5], "big")
    if offset != size:
        raise RemoteProtocolError("A chunk ends inside a TLS record.")


def explain(error: ssl.SSLError) -> str:
    """An OpenSSL error as half a sentence for an operator."""
    reason: str = getattr(error, "reason", None) or ""
    return _REASONS.get(reason) or (reason.replace("_", " ").lower() or "unknown TLS error")


def pin_version(context: ssl.SSLContext) -> ssl.SSLContext:
    """Sets TLS 1.2 as the only version, no tickets, no renegotiation (wire-protocol.md 1.2)."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    return context


def server_context(
    certificate: Path,
    key: Path,
    *,
    client_ca: Path | None = None,
    require_client: bool = False,
) -> ssl.SSLContext:
    """The context of a management server's side (blocking: reads the files).

    Args:
        certificate: PEM; the real server shows its CA certificate itself.
        key: PEM private key of it.
        client_ca: When given, a client certificate is asked for and must come from this CA.
        require_client: Whether a client without one is refused.
    """
    context = pin_version(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_OPTIONAL
    return context
