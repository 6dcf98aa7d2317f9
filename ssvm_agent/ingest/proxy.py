# SPDX-License-Identifier: Apache-2.0
"""Which proxy, if any, leads to a source (requirements R34). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from ssvm_agent.ingest.errors import BadUrlError
from ssvm_agent.ingest.urls import SourceUrl
from ssvm_agent.masking import Secret

# storage-commands.md 4.1: what the management server assumes as well.
DEFAULT_PORT: Final = 3128


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy: plain requests for http sources, CONNECT for https ones."""

    host: str
    port: int = DEFAULT_PORT
    user: str = ""
    password: Secret | None = None

    @property
    def url(self) -> str:
        """The proxy without its credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``http://[user[:password]@]host[:port]`` or ``host[:port]``.

        Raises:
            BadUrlError: It is neither.
        """
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            port = parts.port or DEFAULT_PORT
        except ValueError:
            raise BadUrlError("The proxy URL is malformed") from None
        if parts.scheme != "http" or not parts.hostname:
            raise BadUrlError("The proxy URL must be http://[user:password@]host[:port]")
        password = Secret(unquote(parts.password)) if parts.password else None
        return cls(
            host=parts.hostname, port=port, user=unquote(parts.username or ""), password=password
        )


def bypasses_proxy(url: SourceUrl, no_proxy: Iterable[str]) -> bool:
    """Whether a source is reached directly: a listed host, domain (with or without dot) or CIDR."""
    for raw in no_proxy:
        entry = raw.strip().lower()
        if entry in {"*", url.host}:
            return True
        if url.address is not None:
            if _in_cidr(url, entry):
                return True
        elif entry and url.host.rstrip(".").endswith(f".{entry.lstrip('*').lstrip('.')}"):
            return True
    return False


def _in_cidr(url: SourceUrl, entry: str) -> bool:
    try:
        return url.address in ip_network(entry, strict=False)
    except ValueError:
        return False
