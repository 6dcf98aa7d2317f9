# SPDX-License-Identifier: Apache-2.0
"""The facts of an OVF as JSON values and back, for whoever must know them after a restart. Pure.

Fields are those of the classes of :mod:`ssvm_agent.images.ovf`, by their names; a field that an
earlier agent did not write has its default.
"""

from __future__ import annotations

import base64
import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

from ssvm_agent.images.ovf import OvfFacts
from ssvm_agent.images.ovf_disks import DataDisk

T = TypeVar("T")

MAX_RECORD_CHARS: Final = 256 << 10
"""As JSON. Descriptors with a long licence have some 50 KiB; this keeps a hostile one out."""


def to_record(facts: OvfFacts | None, disks: Iterable[DataDisk]) -> dict[str, Any] | None:
    """What :func:`from_record` takes; ``None`` without facts, or with too many to remember."""
    if facts is None:
        return None
    record = {"facts": _plain(facts), "disks": _plain(tuple(disks))}
    return record if len(json.dumps(record)) <= MAX_RECORD_CHARS else None


def from_record(record: Mapping[str, Any] | None) -> tuple[OvfFacts | None, tuple[DataDisk, ...]]:
    """Facts and disks of a record.

    Raises:
        KeyError: A part is missing.
        TypeError: A value is of another type, or a field without a default is missing.
        ValueError: A binary value is no Base64.
    """
    if record is None:
        return None, ()
    disks = tuple(_filled(DataDisk, one) for one in record["disks"])
    return _filled(OvfFacts, record["facts"]), disks


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return value


def _filled(kind: type[T], record: object) -> T:
    if not isinstance(record, Mapping):
        raise TypeError(f"{record!r:.40} is no {kind.__name__}")
    hints = get_type_hints(kind)
    return kind(**{name: _typed(hints[name], one) for name, one in record.items() if name in hints})


def _typed(hint: Any, value: Any) -> Any:
    if get_origin(hint) is types.UnionType:
        # Every union here is "or None".
        return None if value is None else _typed(get_args(hint)[0], value)
    if get_origin(hint) is tuple:
        return tuple(_typed(get_args(hint)[0], one) for one in value)
    if isinstance(hint, type) and is_dataclass(hint):
        return _filled(hint, value)
    if hint is bytes and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if not isinstance(value, hint):
        raise TypeError(f"{value!r:.40} is no {hint.__name__}")
    return value
