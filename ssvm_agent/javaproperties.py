# SPDX-License-Identifier: Apache-2.0
"""The dialect of ``java.util.Properties``: reading, writing and changing such texts.

Pure: text in, text out. It does not know which file the text came from, what a key means, or how
files are written. Two users need it: ``agent.properties`` (agent-lifecycle.md 1.1) and the
``template.properties`` beside each image (storage-commands.md 6.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_BLANKS: Final = " \t\f"
_NATURAL_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\s\S])|\Z)")
_READ_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_WRITE_ESCAPES: Final = {"\t": r"\t", "\n": r"\n", "\r": r"\r", "\f": r"\f", "\\": r"\\"} | {
    char: "\\" + char for char in "=:#!"
}


@dataclass(frozen=True, slots=True)
class _LogicalLine:
    """One entry, comment or blank with the exact text it came from."""

    raw: str
    entry: tuple[str, str] | None


def parse(text: str) -> dict[str, str]:
    r"""The entries of a properties text; the last of several equal keys wins.

    Accepts everything the Java reader accepts: separators ``=``, ``:`` or blanks, comments with
    ``#`` or ``!``, continuation lines, ``\uXXXX``, and all three line ends. A malformed ``\u`` is
    kept as the letters it consists of, so reading never fails.
    """
    return dict(line.entry for line in _logical_lines(text) if line.entry is not None)


def format_value(key: str, value: str) -> str:
    """One ``key=value`` line without line end, escaped as the Java writer does; ASCII only."""
    return f"{_escape(key, in_key=True)}={_escape(value, in_key=False)}"


def render(mapping: Mapping[str, str], *, comment: Sequence[str] = ()) -> str:
    """A whole text: comment lines first, then one line for each entry in the mapping's order."""
    lines = [f"#{_escape_unprintable(line)}" for line in comment]
    lines.extend(format_value(key, value) for key, value in mapping.items())
    return "".join(f"{line}\n" for line in lines)


def update(text: str, changes: Mapping[str, str | None]) -> str:
    """The text with some entries changed and everything else as it was.

    Args:
        text: The present content.
        changes: New values; ``None`` removes the key. A key with an unchanged value keeps its line.

    Returns:
        The new text. A changed key stands where its last line stood (earlier duplicates go away);
        new keys are appended in the order of ``changes``.
    """
    lines = list(_logical_lines(text))
    last = {line.entry[0]: index for index, line in enumerate(lines) if line.entry is not None}
    kept: list[str] = []
    for index, line in enumerate(lines):
        key = line.entry[0] if line.entry is not None else None
        if key is None or line.entry is None or key not in changes:
            kept.append(line.raw)
        elif index == last[key] and (value := changes[key]) is not None:
            same = line.entry[1] == value
            kept.append(line.raw if same else format_value(key, value) + _line_end(line.raw))
    if kept and not kept[-1].endswith(("\n", "\r")):
        kept[-1] += "\n"
    if kept and _ends_in_backslash(kept[-1].removesuffix("\n").removesuffix("\r")):
        kept[-1] += "\n"  # ends a continuation that would swallow what follows
    for key, value in changes.items():
        if value is not None and key not in last:
            kept.append(format_value(key, value) + "\n")
    return "".join(kept)


def _line_end(raw: str) -> str:
    return "\r\n" if raw.endswith("\r\n") else "\n"


def _logical_lines(text: str) -> Iterator[_LogicalLine]:
    raw = ""
    logical = ""
    continuing = False
    for natural in _natural_lines(text):
        raw += natural
        content = natural.rstrip("\r\n").lstrip(_BLANKS)
        if not logical and (content.startswith(("#", "!")) or (not content and not continuing)):
            yield _LogicalLine(raw, None)
            raw, continuing = "", False
            continue
        continuing = _ends_in_backslash(content)
        logical += content[:-1] if continuing else content
        if continuing:
            continue
        yield _LogicalLine(raw, _split_entry(logical) if logical else None)
        raw = logical = ""
    if raw:
        yield _LogicalLine(raw, _split_entry(logical) if logical else None)


def _natural_lines(text: str) -> Iterator[str]:
    for found in _NATURAL_LINE.finditer(text):
        if found[0]:
            yield found[0]


def _ends_in_backslash(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _split_entry(line: str) -> tuple[str, str]:
    end = 0
    while end < len(line) and line[end] not in "=:" + _BLANKS:
        end += 2 if line[end] == "\\" else 1
    end = min(end, len(line))
    value = line[end:].lstrip(_BLANKS)
    if value.startswith(("=", ":")):
        value = value[1:].lstrip(_BLANKS)
    return _unescape(line[:end]), _unescape(value)


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    units = _ESCAPE.sub(_read_escape, text)
    # Characters beyond the BMP are written as two \uXXXX units; join what forms a pair.
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _read_escape(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    char = found[2] or ""
    return _READ_ESCAPES.get(char, char)


def _escape(text: str, *, in_key: bool) -> str:
    escaped = "".join(_WRITE_ESCAPES.get(char, char) for char in text)
    if in_key:
        escaped = escaped.replace(" ", "\\ ")
    elif escaped.startswith(" "):
        escaped = "\\" + escaped
    return _escape_unprintable(escaped)


def _escape_unprintable(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if " " <= char <= "~" else _unicode_escape(char) for char in text)


def _unicode_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02X}{units[at + 1]:02X}" for at in range(0, len(units), 2))
