# SPDX-License-Identifier: Apache-2.0
"""Who issued the certificate we refused, so that the error can say it (requirements R9)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from ssvm_agent.ingest.limits import TransferLimits


async def describe_refusal(host: str, address: str, port: int, limits: TransferLimits) -> str:
    """`` (issued by …)`` for the certificate a server shows, or nothing when it cannot be had.

    A second handshake fetches the certificate only; nothing is sent over that connection.
    """
    with contextlib.suppress(OSError, ssl.SSLError, TimeoutError, ValueError):
        async with asyncio.timeout(limits.connect_timeout_s):
            der = await _fetch(host, address, port)
        return f" (issued by {_issuer(der)})" if der else ""
    return ""


async def _fetch(host: str, address: str, port: int) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    try:
        shown: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        return shown.getpeercert(binary_form=True) if shown else None
    finally:
        writer.transport.abort()


def _issuer(der: bytes) -> str:
    from cryptography import x509

    return x509.load_der_x509_certificate(der).issuer.rfc4514_string()
