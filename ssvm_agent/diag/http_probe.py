# SPDX-License-Identifier: Apache-2.0
"""One HTTP request to one address, for looking at a server rather than for using it.

The address is chosen by the caller and the certificate is kept, believed or not. Never raises: a
reply without a status says in ``problem`` what went wrong.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ssvm_agent import __version__

_HEAD_LIMIT_BYTES: Final = 64 * 1024
_BODY_LIMIT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTarget:
    """A server.

    Attributes:
        address: Literal address to connect to.
        port: TCP port.
        host: For the Host header and the server name of TLS.
        tls: ``None`` for plain HTTP.
    """

    address: str
    port: int
    host: str
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """What came back.

    Attributes:
        status: The status code; 0 when there was no HTTP answer.
        headers: By lower-case name.
        body: Its beginning.
        certificate: What the server showed, as DER.
        problem: Why there is no answer; empty when there is one.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    certificate: bytes | None = None
    problem: str = ""


def unchecked_context() -> ssl.SSLContext:
    """For looking at a server's certificate, whatever it is; nothing is sent that matters."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def ask(
    target: HttpTarget,
    method: str,
    path: str,
    *,
    deadline_s: float,
    headers: Mapping[str, str] | None = None,
    limit: int = _BODY_LIMIT_BYTES,
) -> HttpReply:
    """Send one request and read the answer.

    Args:
        target: Whom to ask.
        method: Of the request.
        path: With its query; or ``host:port`` for CONNECT.
        deadline_s: For all of it.
        headers: More of them.
        limit: The most of the body that is read.
    """
    try:
        async with asyncio.timeout(deadline_s):
            return await _ask(target, method, path, headers or {}, limit)
    except TimeoutError:
        return HttpReply(problem=f"no answer within {deadline_s:g} s")
    except ssl.SSLCertVerificationError as error:
        return HttpReply(problem=f"its certificate is not believed: {error.verify_message}")
    except ssl.SSLError as error:
        return HttpReply(problem=f"no TLS connection: {error.reason or error}")
    except ConnectionRefusedError:
        return HttpReply(problem="nothing listens there (connection refused)")
    except (OSError, ValueError, EOFError) as error:
        return HttpReply(problem=_reason(error))


async def _ask(
    target: HttpTarget, method: str, path: str, headers: Mapping[str, str], limit: int
) -> HttpReply:
    reader, writer = await asyncio.open_connection(
        target.address,
        target.port,
        ssl=target.tls,
        server_hostname=target.host.strip("[]") if target.tls else None,
        limit=_HEAD_LIMIT_BYTES,
    )
    try:
        shown = writer.get_extra_info("ssl_object")
        base = HttpReply(certificate=shown.getpeercert(binary_form=True) if shown else None)
        fields = {
            "Host": target.host,
            "User-Agent": f"ssvm-check/{__version__}",
            "Connection": "close",
            **headers,
        }
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
        writer.write("\r\n".join((*lines, "", "")).encode("latin-1"))
        status, answered = _parse_head(await reader.readuntil(b"\r\n\r\n"))
        wants_body = method not in {"HEAD", "CONNECT"}
        body = await _body(reader, answered, limit) if wants_body else b""
        return replace(base, status=status, headers=answered, body=body)
    finally:
        # Nothing more is said, and a peer that does not close must not be waited for.
        writer.transport.abort()


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str], limit: int) -> bytes:
    """The beginning of the body; our servers send its length, chunks are not put together."""
    length = headers.get("content-length", "")
    wanted = min(int(length), limit) if length.isdigit() else limit
    kept = bytearray()
    while len(kept) < wanted and (data := await reader.read(wanted - len(kept))):
        kept += data
    return bytes(kept)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise ValueError("what answers does not speak HTTP")
    pairs = (line.partition(":") for line in lines if line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def _reason(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "the connection was closed without an answer"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
