# SPDX-License-Identifier: Apache-2.0
"""Turning texts and YAML values into the types of settings, and checks of single values.

Pure. Errors are :class:`BadValueError` with a phrase that fits after "download.retries: "; the
caller decides whether a bad value is an error or falls back to the default.
"""

from __future__ import annotations

import math
import types
from enum import Enum, StrEnum
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

from ssvm_agent.errors import ConfigError
from ssvm_agent.masking import Secret

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


class BadValueError(ConfigError):
    """A value cannot be what its key wants; the message is a phrase without the key."""


def convert(value: object, annotation: Any) -> Any:
    """A value of the annotated type out of a text, a YAML scalar or a YAML list.

    Raises:
        BadValueError: It cannot be read that way.
    """
    origin = get_origin(annotation)
    if origin in {Union, types.UnionType}:
        inner = next(arg for arg in get_args(annotation) if arg is not type(None))
        return None if value in {None, ""} else convert(value, inner)
    if origin is tuple:
        return _tuple(value)
    if isinstance(value, (list, dict)) or value is None:
        raise BadValueError(f"expected one {_kind(annotation)}")
    return _scalar(value, annotation)


def show(value: object) -> str:
    """A value as ``config show`` prints it; secrets stay masked."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case tuple():
            return ",".join(str(item) for item in value)
        case _:
            return str(value)


def positive(value: float) -> str | None:
    """Check: more than nothing."""
    return None if value > 0 else "must be more than 0"


def not_negative(value: float) -> str | None:
    """Check: nothing or more."""
    return None if value >= 0 else "must not be negative"


def port(value: int) -> str | None:
    """Check: a TCP port."""
    return None if 0 < value < 65536 else "must be a port, 1 to 65535"


def listen_port(value: int) -> str | None:
    """Check: a TCP port to listen on, or 0 for any."""
    return None if 0 <= value < 65536 else "must be a port, 0 to 65535"


def ipv4(value: str) -> str | None:
    """Check: an IPv4 address, or nothing."""
    return _each((value,) if value else (), IPv4Address, "is not an IPv4 address")


def ipv4_list(value: tuple[str, ...]) -> str | None:
    """Check: IPv4 addresses."""
    return _each(value, IPv4Address, "is not an IPv4 address")


def networks(value: tuple[str, ...]) -> str | None:
    """Check: networks in CIDR form without host bits."""
    return _each(value, ip_network, "is not a network like 10.0.0.0/8")


def nfs_version(value: str | None) -> str | None:
    """Check: a version mount.nfs knows (R11)."""
    known = ("3", "4", "4.0", "4.1", "4.2")
    return None if value is None or value in known else f"must be one of {', '.join(known)}"


def log_level(value: str) -> str | None:
    """Check: a level of :mod:`ssvm_agent.log`."""
    known = ("debug", "info", "warning", "error")
    return None if value in known else f"must be one of {', '.join(known)}"


def absolute(value: Path | None) -> str | None:
    """Check: an absolute path, or none."""
    return None if value is None or value.is_absolute() else "must be an absolute path"


def _each(values: tuple[str, ...], parse: Any, complaint: str) -> str | None:
    for value in values:
        try:
            parse(value)
        except ValueError:
            return f"{value!r} {complaint}"
    return None


def _tuple(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)):
        value = [value]
    if any(isinstance(item, (list, dict)) or item is None for item in value):
        raise BadValueError("expected a list of texts")
    return tuple(text for item in value if (text := str(item).strip()))


def _scalar(value: Any, annotation: Any) -> Any:
    text = str(value).strip()
    if annotation is bool:
        return _bool(text)
    if annotation is int or annotation is float:
        return _number(text, annotation)
    if annotation is Secret:
        return Secret(text)
    if annotation is Path:
        return Path(text)
    if issubclass(annotation, StrEnum):
        known = [member.value for member in annotation]
        if text not in known:
            raise BadValueError(f"{text!r} is not one of {', '.join(known)}")
        return annotation(text)
    return text


def _bool(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise BadValueError(f"{text!r} is neither true nor false")


def _number(text: str, annotation: type[int] | type[float]) -> int | float:
    try:
        number = annotation(text)
    except ValueError:
        raise BadValueError(f"{text!r} is not a {_kind(annotation)}") from None
    if not math.isfinite(number):
        raise BadValueError(f"{text!r} is not a finite number")
    return number


def _kind(annotation: Any) -> str:
    if annotation is int:
        return "whole number"
    if annotation is float:
        return "number"
    return "boolean" if annotation is bool else "text"
