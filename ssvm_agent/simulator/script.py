# SPDX-License-Identifier: Apache-2.0
"""Orders that build on each other: words to fill in, and what the answers must say.

A scenario is a file of orders, carried out one after the other. ``${word}`` in a text is filled in:
``store`` (as commands carry it), ``url``, ``parent`` (the directory name an agent reported), each
with a number behind it for a further store; whatever was defined at the start; and of an earlier
order by its ``id`` any field of its result, as ``${image.installPath}``. ``expect`` names fields of
the answer and their values; a text with ``*`` in it is a pattern. No I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from ssvm_agent.simulator.errors import SimulatorError

_WORD: Final = re.compile(r"\$\{([\w.-]+)\}")


class UnknownWordError(SimulatorError):
    """Something is to be filled in that nobody has defined."""

    code = "unknown-word"


class Script:
    """The words of one scenario, and what went otherwise than it expects.

    Args:
        words: Defined at the start.

    Attributes:
        surprises: What was not as expected, one sentence each.
    """

    def __init__(self, words: Mapping[str, Any]) -> None:
        self._words = dict(words)
        self.surprises: list[str] = []

    def define(self, words: Mapping[str, Any]) -> None:
        """Define more words, or anew."""
        self._words |= words

    def filled(self, value: Any) -> Any:
        """An order with every word filled in; a text that is one word becomes its value.

        Raises:
            UnknownWordError: A word is not defined.
        """
        if isinstance(value, dict):
            return {key: self.filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one) for one in value]
        if not isinstance(value, str):
            return value
        whole = _WORD.fullmatch(value)
        if whole:
            return self._value(whole[1])
        return _WORD.sub(lambda match: str(self._value(match[1])), value)

    def take(self, order: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
        """Remember a result, and compare it with what the order expects."""
        fields = fields_of(result)
        if "id" in order:
            self._words[str(order["id"])] = fields
        found = [
            f"{name} is {fields.get(name)!r}, not {wanted!r}"
            for name, wanted in order.get("expect", {}).items()
            if not _matches(fields.get(name), wanted)
        ]
        if "error" in result and "error" not in order.get("expect", {}):
            found.append(f"it failed: {result['error']}")
        self.surprises += found
        return found

    def _value(self, way: str) -> Any:
        name, *rest = way.split(".")
        try:
            value: Any = self._words[name]
            for step in rest:
                value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UnknownWordError(f"Nothing is defined as {way}.") from error
        return value


def fields_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """What an order brought, flat.

    The fields of its first answer, with the simple class name as ``answer``; or of the download or
    upload that was awaited.
    """
    if result.get("answers"):
        ((class_name, fields),) = result["answers"][0].items()
        return {**fields, "answer": class_name.rpartition(".")[2]}
    for awaited in ("download", "upload"):
        if isinstance(result.get(awaited), dict):
            return dict(result[awaited])
    return dict(result)


def _matches(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, str) and "*" in wanted:
        return isinstance(found, str) and fnmatchcase(found, wanted)
    return bool(found == wanted)
