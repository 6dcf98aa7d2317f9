# SPDX-License-Identifier: Apache-2.0
"""The text of an ``authorized_keys`` file. Pure.

Lines of others, their options, comments and order stay as they are, byte for byte.
"""

from __future__ import annotations

from ssvm_agent.delivery.errors import DeliveryError
from ssvm_agent.delivery.keyfile import PublicKey


def positions(text: bytes, key: PublicKey) -> list[int]:
    """Numbers, from 1, of the lines that allow a key."""
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if _options(line, key) is not None
    ]


def with_key(text: bytes, key: PublicKey, *, beside: PublicKey | None = None) -> bytes:
    """The text with a key allowed.

    Args:
        text: The file.
        key: The key to add; nothing changes when it is allowed already.
        beside: The key it will replace: it comes after it and gets the same options. At the end,
            without options, when this one has no line.
    """
    if positions(text, key):
        return text
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"
    place, options = len(lines), b""
    for number, line in enumerate(lines):
        found = _options(line, beside) if beside else None
        if found is not None:
            place, options = number + 1, found
            break
    lines.insert(place, options + key.line().encode() + b"\n")
    return b"".join(lines)


def without_key(text: bytes, key: PublicKey, *, keeping: PublicKey) -> bytes:
    """The text without a key.

    Raises:
        DeliveryError: The other key, which shall stay, is not there.
    """
    if not positions(text, keeping):
        raise DeliveryError(
            f"authorized_keys does not hold the key {keeping.fingerprint}; nothing is removed"
        )
    lines = text.splitlines(keepends=True)
    return b"".join(line for line in lines if _options(line, key) is None)


def _options(line: bytes, key: PublicKey) -> bytes | None:
    """What stands before the key in its line; None when the line is about something else."""
    stripped = line.lstrip()
    if stripped.startswith(b"#"):
        return None
    kind, blob = key.kind.encode(), key.blob.encode()
    start, quoted = 0, False
    # Options may hold blanks, and even something like a key, between quotes.
    for place, byte in enumerate(stripped):
        if byte == 0x22 and stripped[place - 1 : place] != b"\\":
            quoted = not quoted
        if quoted or byte not in b" \t":
            continue
        if stripped[start:place] == kind and stripped[place:].split(maxsplit=1)[:1] == [blob]:
            return stripped[:start]
        start = place + 1
    return None
