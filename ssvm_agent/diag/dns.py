# SPDX-License-Identifier: Apache-2.0
"""Asking one name server one question, so that every server can be judged by itself.

The system's resolver hides which server answered and why another did not. This client sends one
UDP question for A or AAAA records and tells apart: addresses, a name without addresses of that
kind, NXDOMAIN, a refusal or failure, and silence. It follows nothing and caches nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

PORT: Final = 53
_DEADLINE_S: Final = 2.0
_TRIES: Final = 2  # one datagram may get lost
_HEADER: Final = struct.Struct("!HHHHHH")
_RECORD: Final = struct.Struct("!HHIH")
_RECURSION_DESIRED: Final = 0x0100
_RESPONSE: Final = 0x8000
_CLASS_IN: Final = 1
_POINTER: Final = 0xC0


class Kind(StrEnum):
    """What is asked for."""

    A = "A"
    AAAA = "AAAA"


_TYPES: Final = {Kind.A: 1, Kind.AAAA: 28}
_ADDRESS_BYTES: Final = {Kind.A: 4, Kind.AAAA: 16}


class Outcome(StrEnum):
    """How a name server answered."""

    FOUND = "answers"
    NO_DATA = "knows the name, but no such address"
    NO_SUCH_NAME = "says there is no such name (NXDOMAIN)"
    FAILED = "fails (SERVFAIL)"
    REFUSED = "refuses to answer (REFUSED)"
    BROKEN = "answers nonsense"
    SILENT = "does not answer"
    UNREACHABLE = "cannot be reached"

    @property
    def is_answer(self) -> bool:
        """Whether the system's resolver would take it as the last word."""
        return self in {Outcome.FOUND, Outcome.NO_DATA, Outcome.NO_SUCH_NAME}


_BY_CODE: Final = {0: Outcome.NO_DATA, 2: Outcome.FAILED, 3: Outcome.NO_SUCH_NAME,
                   5: Outcome.REFUSED}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """One question and what came of it."""

    server: str
    name: str
    kind: Kind
    outcome: Outcome
    addresses: tuple[str, ...] = ()
    elapsed_s: float = 0.0


class Resolver:
    """Asks name servers.

    Args:
        port: UDP port of the servers.
        deadline_s: For one try.
    """

    def __init__(self, *, port: int = PORT, deadline_s: float = _DEADLINE_S) -> None:
        self._port = port
        self._deadline_s = deadline_s

    async def ask(self, server: str, name: str, kind: Kind = Kind.A) -> Lookup:
        """Ask one server; never raises but on cancellation."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        outcome, addresses = await self._ask(server, name, kind)
        return Lookup(
            server=server, name=name, kind=kind, outcome=outcome, addresses=addresses,
            elapsed_s=loop.time() - began_s,
        )  # fmt: skip

    async def first(self, servers: Sequence[str], name: str) -> Lookup | None:
        """What the system would get for a name: the first server's answer that is one.

        Returns:
            The answer, or the last failure; ``None`` without servers.
        """
        last: Lookup | None = None
        for server in servers:
            last = await self.ask(server, name)
            if last.outcome is Outcome.NO_DATA:
                last = await self.ask(server, name, Kind.AAAA)
            if last.outcome.is_answer:
                return last
        return last

    async def _ask(self, server: str, name: str, kind: Kind) -> tuple[Outcome, tuple[str, ...]]:
        ident = secrets.randbelow(1 << 16)
        try:
            question = encode_question(ident, name, kind)
        except UnicodeError:
            return Outcome.NO_SUCH_NAME, ()
        try:
            transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                _Exchange, remote_addr=(str(ip_address(server)), self._port)
            )
        except (OSError, ValueError):
            return Outcome.UNREACHABLE, ()
        try:
            for _ in range(_TRIES):
                transport.sendto(question)
                try:
                    async with asyncio.timeout(self._deadline_s):
                        return await protocol.answer(ident, kind)
                except TimeoutError:
                    continue
                except OSError:
                    return Outcome.UNREACHABLE, ()
        finally:
            transport.abort()
        return Outcome.SILENT, ()


class _Exchange(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._received: asyncio.Queue[bytes | OSError] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - asyncio's
        self._received.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        self._received.put_nowait(exc if isinstance(exc, OSError) else OSError(str(exc)))

    async def answer(self, ident: int, kind: Kind) -> tuple[Outcome, tuple[str, ...]]:
        while True:
            received = await self._received.get()
            if isinstance(received, OSError):
                raise received
            try:
                found = decode_answer(received, ident, kind)
            except (ValueError, struct.error, IndexError):
                return Outcome.BROKEN, ()
            if found is not None:
                return found


def encode_question(ident: int, name: str, kind: Kind) -> bytes:
    """One question, recursion wanted.

    Raises:
        UnicodeError: The name cannot be one.
    """
    labels = name.rstrip(".").encode("idna").split(b".")
    if not all(0 < len(label) < 64 for label in labels):
        raise UnicodeError("empty or too long label")
    words = b"".join(bytes([len(label)]) + label for label in labels)
    head = _HEADER.pack(ident, _RECURSION_DESIRED, 1, 0, 0, 0)
    return head + words + b"\0" + struct.pack("!HH", _TYPES[kind], _CLASS_IN)


def decode_answer(data: bytes, ident: int, kind: Kind) -> tuple[Outcome, tuple[str, ...]] | None:
    """The outcome and the addresses; ``None`` when it answers another question.

    Raises:
        ValueError: It is no DNS message; also IndexError and struct.error.
    """
    number, flags, questions, answers, _, _ = _HEADER.unpack_from(data)
    if number != ident or not flags & _RESPONSE:
        return None
    code = flags & 0xF
    if code:
        return _BY_CODE.get(code, Outcome.FAILED), ()
    position = _HEADER.size
    for _ in range(questions):
        position = _skip_name(data, position) + 4
    addresses = []
    for _ in range(answers):
        position = _skip_name(data, position)
        record, _, _, length = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        if record == _TYPES[kind] and length == _ADDRESS_BYTES[kind]:
            addresses.append(str(ip_address(data[position : position + length])))
        position += length
    return (Outcome.FOUND if addresses else Outcome.NO_DATA), tuple(addresses)


def _skip_name(data: bytes, position: int) -> int:
    while length := data[position]:
        if length & _POINTER == _POINTER:
            return position + 2
        position += 1 + length
    return position + 1
