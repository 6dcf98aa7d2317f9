# SPDX-License-Identifier: Apache-2.0
"""Parsed JSON to message structs, as forgiving as wire-protocol.md 11 asks and no more.

Unknown fields are ignored, missing ones keep their initial value, null empties a field that may be
empty and leaves any other as it was; numbers and booleans may come as strings and the reverse;
names of constants in any case. What cannot be read raises :class:`FieldError` with the JSON path.
One reader per field type is made once and kept.
"""

import typing
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar, get_args, get_origin

from ssvm_agent.messages.base import (
    FieldPlan,
    Mark,
    Message,
    TransferObject,
    fields_of,
    find_class,
    wire_class_of,
)
from ssvm_agent.messages.errors import FieldError

M = TypeVar("M", bound=Message)
Reader = Callable[[Any], Any]

_ABSENT: Final = object()
_KINDS: Final = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def read_message(struct: type[M], body: object) -> M:
    """One message of this class from its parsed JSON object.

    Raises:
        FieldError: A field has a value it cannot hold.
    """
    if type(body) is not dict:
        raise FieldError("an object", _kind(body))
    values: dict[str, Any] = {}
    own = wire_class_of(struct)
    bare = own is not None and own.bare
    for field, read in _readers(struct):
        value = body.get(field.wire, _ABSENT)
        if value is _ABSENT:
            if bare and field.annotation is bool and not field.nullable:
                values[field.name] = False
            continue
        if value is None:
            if field.nullable:
                values[field.name] = None
            continue
        try:
            values[field.name] = read(value)
        except FieldError as error:
            error.within(field.wire)
            raise
    return struct(**values)


@cache
def _readers(struct: type[Message]) -> tuple[tuple[FieldPlan, Reader], ...]:
    return tuple((field, _field_reader(field)) for field in fields_of(struct))


def _field_reader(field: FieldPlan) -> Reader:
    if field.family is not None:
        return _family_reader(field.family)
    if field.constants is not None:
        return _constant_reader(field.constants)
    if Mark.INT32 in field.marks:
        return _int_reader(32)
    return _reader_for(field.annotation)


def _reader_for(annotation: Any) -> Reader:
    """The reader of a bare type; items of lists and maps come through here as well."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Message):
        return lambda value: read_message(annotation, value)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        return _list_reader(_reader_for(arguments[0]))
    assert origin is dict, annotation
    return _map_reader(_reader_for(arguments[0]), _reader_for(arguments[1]))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise FieldError("text", _kind(value))


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        # Compat: any text but "true" is false, as the server's own reader has it.
        return value.casefold() == "true"
    raise FieldError("true or false", _kind(value))


def _int_reader(bits: int) -> Reader:
    half, whole = 1 << (bits - 1), 1 << bits

    def read(value: object) -> int:
        number = _number(value)
        if -half <= number < half:
            return number
        # Compat: wire-protocol.md 4: a number that does not fit loses its upper bits.
        return (number + half) % whole - half

    return read


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FieldError("a number", _kind(value))
    try:
        return _number_of_text(value) if isinstance(value, str) else int(value)
    except (ValueError, OverflowError):
        raise FieldError("a number", "text that is none") from None


def _number_of_text(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def _octets(value: object) -> bytes:
    """A Java byte[]: a list of numbers -128..255."""
    if not isinstance(value, list):
        raise FieldError("a list of bytes", _kind(value))
    try:
        return bytes(number + 256 if number < 0 else number for number in map(_number, value))
    except ValueError:
        raise FieldError("bytes", "a number out of range") from None


def _constant_reader(constants: type[StrEnum]) -> Reader:
    spelling = {member.casefold(): member.value for member in constants}

    def read(value: object) -> str | None:
        text = _text(value)
        return spelling.get(text.casefold(), text) or None

    return read


def _list_reader(read_item: Reader) -> Reader:
    def read(value: object) -> list[Any]:
        if not isinstance(value, list):
            raise FieldError("a list", _kind(value))
        items = []
        for index, item in enumerate(value):
            # Differs: a null in a list is left out; no list of ours has a use for it.
            if item is None:
                continue
            try:
                items.append(read_item(item))
            except FieldError as error:
                error.within(index)
                raise
        return items

    return read


def _map_reader(read_key: Reader, read_value: Reader) -> Reader:
    def read(value: object) -> dict[Any, Any]:
        entries: dict[Any, Any] = {}
        for key, item in _entries(value):
            if item is None and read_value is not _anything:
                continue
            try:
                entries[read_key(key)] = read_value(item)
            except FieldError as error:
                error.within(str(key))
                raise
        return entries

    return read


def _entries(value: object) -> list[tuple[Any, Any]]:
    """Entries of a map, which may also come as a list of pairs."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list) and all(isinstance(e, list) and len(e) == 2 for e in value):
        return [(key, item) for key, item in value]
    raise FieldError("an object", _kind(value))


def _family_reader(family: type[TransferObject]) -> Reader:
    def read(value: object) -> TransferObject:
        if not isinstance(value, dict) or not value:
            raise FieldError("an object that names its class", _kind(value))
        # Compat: wire-protocol.md 3: the first key counts.
        name, body = next(iter(value.items()))
        known = find_class(name)
        if known is None or not issubclass(known.struct, family):
            raise FieldError(f"a {family.__name__}", f"the unknown class {name}")
        try:
            return read_message(known.struct, body)
        except FieldError as error:
            error.within(name)
            raise

    return read


def _anything(value: Any) -> Any:
    return value


def _kind(value: object) -> str:
    if isinstance(value, dict) and not value:
        return "an empty object"
    return _KINDS.get(type(value), "something else")


_PLAIN: Final[dict[Any, Reader]] = {
    str: _text,
    bool: _boolean,
    int: _int_reader(64),
    bytes: _octets,
    typing.Any: _anything,
}
