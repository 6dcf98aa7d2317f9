# SPDX-License-Identifier: Apache-2.0
r"""Message structs to JSON text as Gson spells it (wire-protocol.md 4 and 11).

Fields in the order of the Java class, null left out, ``< > & = '`` and everything beyond ASCII as
``\uXXXX``, no white space.
"""

import re
from enum import Enum
from typing import Any, Final

import msgspec

from ssvm_agent.messages.base import Mark, Message, class_name_of, fields_of

_HTML: Final = tuple((c.encode(), f"\\u{ord(c):04x}".encode()) for c in "<>&='")
_BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_PLAIN: Final = frozenset({str, int, bool, float})


def to_object(message: Message) -> dict[str, Any]:
    """The message as a JSON object, without its class name."""
    written: dict[str, Any] = {}
    for field in fields_of(type(message)):
        value = getattr(message, field.name)
        if value is None:
            continue
        if type(value) not in _PLAIN:
            if Mark.OMIT_EMPTY in field.marks and not value:
                continue
            value = to_object(value) if isinstance(value, Message) else _written(value)
            if field.family is not None:
                value = {class_name_of(getattr(message, field.name)): value}
        written[field.wire] = value
    return written


def _written(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Message):
        return to_object(value)
    if isinstance(value, dict):
        return {str(key): _written(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple | set | frozenset):
        return [_written(item) for item in value]
    if isinstance(value, bytes):
        return [octet - 256 if octet > 127 else octet for octet in value]
    return value.value if isinstance(value, Enum) else value


def json_text(value: Any) -> bytes:
    """JSON text, ASCII only, with Gson's escapes.

    The five HTML characters and all others beyond ASCII occur inside strings only, so they can be
    replaced in the finished text.
    """
    try:
        text = msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = msgspec.json.encode(_without_surrogates(value))
    for plain, escaped in _HTML:
        if plain in text:
            text = text.replace(plain, escaped)
    if not text.isascii():
        text = _BEYOND_ASCII.sub(_escape, text.decode()).encode()
    return text


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _without_surrogates(value: Any) -> Any:
    """Half characters (file names that are not UTF-8 have them) become question marks."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value
