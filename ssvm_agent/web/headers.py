# SPDX-License-Identifier: Apache-2.0
"""Headers every answer of the public entrances carries, pre-flight included. Pure.

The three CORS headers have the exact texts web interfaces of CloudStack were built against
(storage-commands.md 5.1); they go out with every answer, errors too, or a browser would show
"network error" instead of the reason (requirement R5).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

CORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": (
            "x-requested-with, content-type, origin, authorization, accept, "
            "client-security-token, x-signature, x-metadata, x-expires"
        ),
    }
)
# Nothing we serve is a page that loads or runs anything.
SAFETY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        "Referrer-Policy": "no-referrer",
    }
)
SERVER: Final = "ssvm-agent"
PLAIN: Final = "text/plain; charset=UTF-8"
# How long a browser may keep the answer to its pre-flight.
_PREFLIGHT_AGE_S: Final = 600


def preflight(request_headers: Mapping[str, str]) -> dict[str, str]:
    """Headers of the answer to OPTIONS, besides :data:`CORS`."""
    headers = {
        "Allow": "GET, HEAD, POST, OPTIONS",
        "Access-Control-Max-Age": str(_PREFLIGHT_AGE_S),
    }
    if request_headers.get("Access-Control-Request-Private-Network", "").lower() == "true":
        # Browsers ask before a public page may reach a server on a private address.
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers


def attachment(file_name: str) -> str:
    """``Content-Disposition`` that has a browser save the file under this name (RFC 6266)."""
    plain = "".join(
        char if char.isascii() and char.isprintable() and char not in '"\\%' else "_"
        for char in file_name
    )
    if plain == file_name:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
