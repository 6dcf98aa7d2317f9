# SPDX-License-Identifier: Apache-2.0
"""The content of a frame: an array of ``{"<class name>": {…}}`` (wire-protocol.md 3).

Decoding never raises: what cannot be read stands in the list as :class:`Undecodable`, at its own
position, so that every other command of the request is still carried out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, TypeVar

import msgspec

from ssvm_agent.messages import catalogue as _catalogue
from ssvm_agent.messages.base import Answer, Command, Message, class_name_of, find_class
from ssvm_agent.messages.errors import FieldError, MessageError, TextError
from ssvm_agent.messages.lenient import read_lenient
from ssvm_agent.messages.reading import read_message
from ssvm_agent.messages.writing import json_text, to_object

assert _catalogue.CATALOGUE, "importing the catalogue makes all classes known"

C = TypeVar("C", bound=Command)
M = TypeVar("M", bound=Message)

_QUOTED_CLASS: Final = re.compile(r"[\"']?([a-z][\w$]*(?:\.[\w$]+)+)")


class Fault(Enum):
    """What is wrong with one position of a request or an answer."""

    UNKNOWN_CLASS = auto()
    """No command of this name."""
    BAD_FIELDS = auto()
    """The class is known, a field is not readable."""
    BAD_ENVELOPE = auto()
    """The text is not the array of one-key objects it should be."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A position that could not be read.

    Attributes:
        class_name: The class it named, when that could be found out.
        reason: One sentence with the JSON path, without any value.
        kind: What is wrong.
    """

    class_name: str | None
    reason: str
    kind: Fault


def decode_commands(content: bytes) -> list[Command | Undecodable]:
    """The commands of a request, in order; an unreadable text is one :class:`Undecodable`."""
    return _decode(content, Command, whole=False)


def decode_answers(content: bytes) -> list[Answer | Undecodable]:
    """The answers of a response; text after the array is an error here."""
    return _decode(content, Answer, whole=True)


def encode_commands(commands: Sequence[Command]) -> bytes:
    """Content of a request."""
    return _encode(commands)


def encode_answers(answers: Sequence[Answer]) -> bytes:
    """Content of a response."""
    return _encode(answers)


def decode_object(struct: type[M], content: bytes) -> M:
    """A message that travels as a plain JSON object (upload metadata).

    Raises:
        MessageError: Not JSON, or a field holds what it cannot.
    """
    return read_message(struct, _parsed(content, whole=True))


def encode_object(message: Message) -> bytes:
    """A message as a plain JSON object, without its class name."""
    return json_text(to_object(message))


def _encode(messages: Sequence[Command]) -> bytes:
    return json_text([{class_name_of(message): to_object(message)} for message in messages])


def _decode(content: bytes, base: type[C], *, whole: bool) -> list[C | Undecodable]:
    if not content.strip(b" \t\r\n\x00"):
        return [Undecodable(None, "the message is empty", Fault.BAD_ENVELOPE)]
    try:
        document = _parsed(content, whole=whole)
    except TextError as error:
        return [Undecodable(_class_in(content, base), str(error), Fault.BAD_ENVELOPE)]
    if not isinstance(document, list):
        reason = "the message is null" if document is None else "the message is not a list"
        return [Undecodable(_class_in(content, base), reason, Fault.BAD_ENVELOPE)]
    return [_element(element, base) for element in document]


def _parsed(content: bytes, *, whole: bool) -> Any:
    try:
        return msgspec.json.decode(content)
    except RecursionError:
        raise TextError("not JSON: nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return read_lenient(content.decode(errors="replace"), whole=whole)


def _element(element: object, base: type[C]) -> C | Undecodable:
    if not isinstance(element, dict) or not element:
        return Undecodable(None, "an element does not name its class", Fault.BAD_ENVELOPE)
    # Compat: wire-protocol.md 3: the first key counts.
    name, body = next(iter(element.items()))
    known = find_class(name)
    if known is None or not issubclass(known.struct, base):
        return Undecodable(name, f"{name} is not known here", Fault.UNKNOWN_CLASS)
    try:
        return read_message(known.struct, body)
    except FieldError as error:
        return Undecodable(name, str(error), Fault.BAD_FIELDS)


def _class_in(content: bytes, base: type[Command]) -> str | None:
    """The first class named in a broken text, if we know it, so that the right class answers."""
    for found in _QUOTED_CLASS.finditer(content[:4096].decode(errors="replace")):
        known = find_class(found[1])
        if known is not None and issubclass(known.struct, base):
            return known.name
    return None


__all__ = [
    "Fault",
    "MessageError",
    "Undecodable",
    "decode_answers",
    "decode_commands",
    "decode_object",
    "encode_answers",
    "encode_commands",
    "encode_object",
]
