# SPDX-License-Identifier: Apache-2.0
"""Strict reading of source URLs: one spelling of a host, or none at all.

Pure. Parsers that disagree about what the host is are how a guard is walked around, so everything
that could be read in two ways is refused: user info in http URLs, back-slashes, blanks and control
characters, percent signs and letters beyond ASCII in hosts, and numbers that are no dotted quad
(requirements S2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from ssvm_agent.ingest.errors import BadUrlError
from ssvm_agent.masking import mask_url

HTTP_SCHEMES: Final = frozenset({"http", "https"})
SCHEMES: Final = HTTP_SCHEMES | {"file", "scp"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "scp": 22, "file": 0}
_MAX_LENGTH: Final = 8192

_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]|[\\<>\"^`{|}]")
_NAME = re.compile(r"(?=.{1,253}\.?\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
                   r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?\Z")  # fmt: skip
# A last label that begins with a digit or is a hexadecimal number is what some resolvers take for
# an address in another notation.
_LAST_LABEL_IS_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0[xX][0-9A-Fa-f]*)\.?\Z")
# Without zone ids: they name an interface of ours, which is no business of a source.
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\]\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")

IpAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUrl:
    """A URL that was read strictly.

    Attributes:
        text: The URL as given, without a fragment; what is requested.
        scheme: Lower case: http, https, file or scp.
        host: Lower case, without brackets; empty for file.
        address: The host as an address when it is one.
        port: Never 0 except for file.
        user: User info before the colon, percent-decoded; scp only.
        path: The path, percent-encoded as given.
        query: The query as given.
    """

    text: str
    scheme: str
    host: str
    address: IpAddress | None
    port: int
    user: str
    path: str
    query: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to."""
        return self.scheme, self.host, self.port

    @property
    def decoded_path(self) -> str:
        """The path with percent escapes resolved."""
        return unquote(self.path, errors="strict")

    @property
    def last_segment(self) -> str:
        """What follows the last slash of the decoded path."""
        return self.decoded_path.rsplit("/", 1)[-1]

    def join(self, location: str) -> SourceUrl:
        """The URL a Location header or a relative reference names, read as strictly.

        Raises:
            BadUrlError: It cannot be read, or its scheme is not http or https.
        """
        joined = parse_url(urljoin(self.text, location.strip()))
        if joined.scheme not in HTTP_SCHEMES:
            raise BadUrlError(f"Unsupported scheme for url: {mask_url(joined.text)}")
        return joined

    def __str__(self) -> str:
        return mask_url(self.text)


def parse_url(text: str) -> SourceUrl:
    """Read a source URL.

    Raises:
        BadUrlError: ``URI is incorrect: <url>``, ``Scheme is not supported <url>`` or
            ``Illegal host specified in URL.`` (storage-commands.md 4.3, 4.5).
    """
    if len(text) > _MAX_LENGTH or _NOT_IN_A_URL.search(text):
        raise BadUrlError(f"URI is incorrect: {mask_url(text[:_MAX_LENGTH])}")
    try:
        parts = urlsplit(text)
        decoded = unquote(parts.path, errors="strict")
    except ValueError as error:
        raise BadUrlError(f"URI is incorrect: {mask_url(text)}", detail=str(error)) from None
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        raise BadUrlError(f"Scheme is not supported {mask_url(text)}")
    if "\0" in decoded:
        raise BadUrlError(f"URI is incorrect: {mask_url(text)}")
    host, address, port, user = _authority(scheme, parts.netloc, text)
    return SourceUrl(
        text=parts._replace(fragment="").geturl(),
        scheme=scheme,
        host=host,
        address=address,
        port=port,
        user=user,
        path=parts.path,
        query=parts.query,
    )


def _authority(scheme: str, netloc: str, text: str) -> tuple[str, IpAddress | None, int, str]:
    """Host, host as address, port and user of an authority part."""
    user_info, at, host_port = netloc.rpartition("@")
    if scheme == "file":
        # file://<mount directory>/... names a place below the store root (storage-commands.md 10).
        if at or ":" in netloc:
            raise BadUrlError("Illegal host specified in URL.", detail=mask_url(text))
        return netloc, None, 0, ""
    if at and (scheme in HTTP_SCHEMES or ":" in user_info or "@" in user_info):
        raise BadUrlError("Illegal host specified in URL.", detail="user info in the URL")
    host, port_text = _split_port(host_port)
    if port_text and (not _PORT.fullmatch(port_text) or not 0 < int(port_text) < 65536):
        raise BadUrlError(f"URI is incorrect: {mask_url(text)}", detail="port")
    address = parse_host(host)
    port = int(port_text) if port_text else _DEFAULT_PORTS[scheme]
    return host.strip("[]").lower(), address, port, unquote(user_info)


def _split_port(host_port: str) -> tuple[str, str]:
    if host_port.startswith("["):
        host, bracket, rest = host_port.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise BadUrlError("Illegal host specified in URL.", detail=host_port)
        return host + bracket, rest[1:]
    host, _, port = host_port.partition(":")
    return host, port


def parse_host(host: str) -> IpAddress | None:
    """An address for a dotted quad or a bracketed IPv6 address, ``None`` for a name.

    Raises:
        BadUrlError: Neither, or an address in any other notation (``127.1``, ``0x7f.1``,
            ``2130706433``, ``0177.0.0.1``, zone ids).
    """
    try:
        if bracketed := _BRACKETED.match(host):
            return IPv6Address(bracketed[1])
        if _LAST_LABEL_IS_NUMBER.match(host):
            return IPv4Address(host)
    except ValueError:
        raise BadUrlError("Illegal host specified in URL.", detail=host) from None
    if not _NAME.match(host):
        raise BadUrlError("Illegal host specified in URL.", detail=host)
    return None


def parse_address(text: str) -> IpAddress:
    """An address as the resolver returns it; a zone id is dropped."""
    return ip_address(text.partition("%")[0])
