# SPDX-License-Identifier: Apache-2.0
"""The request target taken apart, once, before anybody looks a path up in anything.

Pure. A path becomes a tuple of decoded names; what would mean something else to a file system than
it says (``..``, an encoded slash, NUL) is no name and is refused here for all entrances.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

from ssvm_agent.web.errors import RequestRefusedError

_MAX_NAME_BYTES: Final = 255
_MAX_NAMES: Final = 32
_HEX: Final = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked for."""

    names: tuple[str, ...]
    """Components of the path, decoded; none is empty, ``.`` or ``..`` or holds a slash."""
    is_directory: bool
    """Whether the path ends in a slash."""
    query: str = ""

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, empty when absent."""
        pairs = parse_qsl(self.query, max_num_fields=16, keep_blank_values=True)
        return next((value for key, value in pairs if key == name), "")


def parse_target(raw: str) -> Target:
    """Take the target of a request line apart: origin form or absolute form (RFC 9112 3.2).

    Raises:
        RequestRefusedError: 400, it is no target; 404, its path cannot name anything of ours.
    """
    path = _origin_form(raw)
    path, _, query = path.partition("?")
    pieces = path.split("/")
    # Doubled slashes mean one, as web servers have it; URLs are glued together by many hands.
    names = tuple(_decoded(piece) for piece in pieces if piece)
    if len(names) > _MAX_NAMES:
        raise _nothing()
    return Target(names=names, is_directory=path.endswith("/"), query=query)


def _origin_form(raw: str) -> str:
    if raw.startswith("/"):
        return raw
    scheme, found, rest = raw.partition("://")
    if not found or scheme.lower() not in {"http", "https"}:
        raise RequestRefusedError(HTTPStatus.BAD_REQUEST, "The request target is malformed.")
    # The authority repeats the Host header; which site is meant does not depend on it.
    authority, _, path = rest.partition("/")
    if not authority:
        raise RequestRefusedError(HTTPStatus.BAD_REQUEST, "The request target is malformed.")
    return "/" + path


def _decoded(piece: str) -> str:
    for index, char in enumerate(piece):
        digits = piece[index + 1 : index + 3]
        if char == "%" and not (len(digits) == 2 and set(digits) <= _HEX):
            raise RequestRefusedError(HTTPStatus.BAD_REQUEST, "The request target is malformed.")
    data = unquote_to_bytes(piece)
    try:
        name = data.decode()
    except UnicodeDecodeError as error:
        raise _nothing() from error
    if (
        name in {".", ".."}
        or "/" in name
        or "\\" in name
        or len(data) > _MAX_NAME_BYTES
        or any(unicodedata.category(char) == "Cc" for char in name)
    ):
        raise _nothing()
    return name


def _nothing() -> RequestRefusedError:
    return RequestRefusedError(HTTPStatus.NOT_FOUND, "There is no such file.")
