# SPDX-License-Identifier: Apache-2.0
"""A forgiving reader of almost-JSON, for texts the strict parser refuses (wire-protocol.md 4.1).

Accepts a byte order mark, single quotes, unquoted names and texts, comments, ``=`` and ``=>`` for
``:``, ``;`` for ``,``, and raw control characters in strings. Depth is bounded, time is linear.
"""

import re
from typing import Any, Final

from ssvm_agent.messages.errors import TextError

_MAX_DEPTH: Final = 200
_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|/\*.*?\*/|(?://|#)[^\r\n]*)*", re.DOTALL)
_BARE: Final = re.compile(r"[^\s/\\;#=:{}\[\],\"']+")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,30})\Z")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?\Z")
_WORDS: Final[dict[str, Any]] = {"null": None, "true": True, "false": False}
_ESCAPES: Final = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f"}
_PIECE: Final = {quote: re.compile(rf"[^\\{quote}]*") for quote in "\"'"}
_HALF: Final = re.compile("[\ud800-\udfff]")


def read_lenient(text: str, *, whole: bool) -> Any:
    """The first value of the text.

    Args:
        text: Decoded content.
        whole: Whether anything but blanks after the value is an error (it is for answers).

    Raises:
        TextError: Not even leniently read; the message gives the position.
    """
    reader = _Reader(text.removeprefix("\ufeff"))
    value = reader.value(0)
    if whole and not reader.at_end():
        raise reader.fault("text after the end of the document")
    return value


class _Reader:
    """Recursive descent over one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def fault(self, what: str) -> TextError:
        return TextError(f"not JSON: {what} at character {self._at}")

    def at_end(self) -> bool:
        return self._next() == ""

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise self.fault("nested too deeply")
        first = self._next()
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        if first in {'"', "'"}:
            return self._string(first)
        return _literal(self._bare())

    def _next(self) -> str:
        """Skip blanks and comments; the character after them, empty at the end."""
        blank = _BLANK.match(self._text, self._at)
        assert blank is not None
        self._at = blank.end()
        return self._text[self._at : self._at + 1]

    def _object(self, depth: int) -> dict[str, Any]:
        self._at += 1
        found: dict[str, Any] = {}
        if self._next() == "}":
            self._at += 1
            return found
        while True:
            name = self._name()
            self._colon()
            found[name] = self.value(depth + 1)
            end = self._next()
            if end not in {"}", ",", ";"}:
                raise self.fault("unterminated object")
            self._at += 1
            if end == "}":
                return found

    def _name(self) -> str:
        first = self._next()
        return self._string(first) if first in {'"', "'"} else self._bare()

    def _colon(self) -> None:
        if self._next() not in {":", "="}:
            raise self.fault("missing colon")
        arrow = self._text.startswith("=>", self._at)
        self._at += 2 if arrow else 1

    def _array(self, depth: int) -> list[Any]:
        self._at += 1
        found: list[Any] = []
        if self._next() == "]":
            self._at += 1
            return found
        while True:
            # An element left out counts as null.
            found.append(None if self._next() in {",", ";", "]"} else self.value(depth + 1))
            end = self._next()
            if end not in {"]", ",", ";"}:
                raise self.fault("unterminated list")
            self._at += 1
            if end == "]":
                return found

    def _bare(self) -> str:
        word = _BARE.match(self._text, self._at)
        if word is None:
            raise self.fault("a name or value is missing")
        self._at = word.end()
        return word[0]

    def _string(self, quote: str) -> str:
        self._at += 1
        pieces: list[str] = []
        while True:
            piece = _PIECE[quote].match(self._text, self._at)
            assert piece is not None
            pieces.append(piece[0])
            self._at = piece.end()
            if self._at >= len(self._text):
                raise self.fault("unterminated text")
            if self._text[self._at] == quote:
                self._at += 1
                return _joined(pieces)
            pieces.append(self._escape())

    def _escape(self) -> str:
        letter = self._text[self._at + 1 : self._at + 2]
        if letter == "u":
            digits = self._text[self._at + 2 : self._at + 6]
            if not re.fullmatch("[0-9A-Fa-f]{4}", digits):
                raise self.fault("a broken \\u escape")
            self._at += 6
            return chr(int(digits, 16))
        if not letter or letter not in "tbnrf\n'\"\\/":
            raise self.fault("an unknown escape")
        self._at += 2
        return _ESCAPES.get(letter, letter)


def _joined(pieces: list[str]) -> str:
    """The whole string, with pairs of halves made one character and lone halves replaced."""
    text = "".join(pieces)
    if not _HALF.search(text):
        return text
    # Differs: a lone half becomes U+FFFD; as a path it would turn into other bytes.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _literal(word: str) -> Any:
    lower = word.casefold()
    if lower in _WORDS:
        return _WORDS[lower]
    if _INTEGER.match(word):
        return int(word)
    return float(word) if _DECIMAL.match(word) else word
