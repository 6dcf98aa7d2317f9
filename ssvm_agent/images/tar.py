# SPDX-License-Identifier: Apache-2.0
"""Walking over the members of a tar archive, by our own strict rules (requirements S5, H10).

Only regular files with plain names are members. Links, devices, directories, sparse files, size
overrides that contradict the header, duplicate names and junk behind the end are refused at the
first sight of them. The walk is a parser over a stream (:mod:`ssvm_agent.images.stream`), used for
inspecting, unwrapping and unpacking alike, so all three see the same members.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssvm_agent.images.compression import is_tar_header
from ssvm_agent.images.errors import ArchiveRefusedError, CorruptImageError
from ssvm_agent.images.names import plain_name, shown_name
from ssvm_agent.images.stream import Parser, Span, exactly

BLOCK_BYTES = 512
_MAX_EXTENSION_BYTES = 64 << 10
_MAX_EXTENSIONS_IN_A_ROW = 4
_PADDING_STEP_BYTES = 1 << 20
_LARGEST_OCTAL_SIZE = 0o77777777777

_REGULAR = frozenset({b"0", b"\0"})
_PAX_MEMBER, _PAX_GLOBAL, _GNU_LONG_NAME = b"x", b"g", b"L"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a directory",
    b"6": "a named pipe",
    b"S": "a sparse file",
    b"K": "a link",
    b"M": "a part of a larger archive",
    b"V": "a volume label",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file inside an archive.

    Attributes:
        name: Its plain file name.
        offset: Where its data begins in the archive.
        size: Length of its data in bytes.
    """

    name: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The offset just behind its data."""
        return self.offset + self.size


class TarWalk:
    """Goes through one archive, member by member.

    Args:
        max_members: How many members the archive may have.
    """

    def __init__(self, max_members: int) -> None:
        self._max_members = max_members
        self._offset = 0
        self._names: set[str] = set()

    def next_member(self) -> Parser[Member | None]:
        """Find the next member; None behind the last one, when the rest of the archive is sound.

        Raises:
            ArchiveRefusedError: The member, or the number of members, is not acceptable.
            CorruptImageError: The archive is damaged or ends too early.
        """
        overrides: dict[str, str] = {}
        for _ in range(_MAX_EXTENSIONS_IN_A_ROW):
            window = yield Span(self._offset, BLOCK_BYTES)
            block = exactly(window, BLOCK_BYTES, "the archive")
            if not any(block):
                yield from self._check_padding()
                return None
            if not is_tar_header(block):
                raise CorruptImageError("The archive is damaged: a member header is not valid.")
            kind, size = block[156:157], _size(block)
            if kind in {_PAX_MEMBER, _PAX_GLOBAL, _GNU_LONG_NAME}:
                overrides.update((yield from self._read_extension(kind, size)))
                continue
            return self._accept(block, kind, size, overrides)
        raise ArchiveRefusedError("The archive has too many extension headers.")

    def _read_extension(self, kind: bytes, size: int) -> Parser[dict[str, str]]:
        if size > _MAX_EXTENSION_BYTES:
            raise ArchiveRefusedError("The archive has an extension header that is too large.")
        window = yield Span(self._offset + BLOCK_BYTES, size)
        data = exactly(window, size, "the archive")
        self._offset = _next_block(self._offset + BLOCK_BYTES + size)
        if kind == _GNU_LONG_NAME:
            return {"path": data.rstrip(b"\0").decode("utf-8", "replace")}
        records = _pax_records(data)
        refused = [key for key in records if key == "linkpath" or key.startswith("GNU.sparse")]
        if kind == _PAX_GLOBAL:
            refused += [key for key in records if key in {"path", "size"}]
        if refused:
            raise ArchiveRefusedError(
                f"The archive uses the extension {shown_name(refused[0])}, which is not allowed."
            )
        return records

    def _accept(self, block: bytes, kind: bytes, size: int, overrides: dict[str, str]) -> Member:
        raw_name = overrides.get("path", _name(block))
        if kind not in _REGULAR:
            what = _KINDS.get(kind, "of an unknown kind")
            raise ArchiveRefusedError(
                f"The archive member {shown_name(raw_name)} is {what};"
                " only regular files are allowed."
            )
        name = plain_name(raw_name)
        # Two names that differ in case only are one file on some of the systems that unpack this.
        key = name.casefold()
        if key in self._names:
            raise ArchiveRefusedError(f"The archive has two members named {shown_name(name)}.")
        self._names.add(key)
        if len(self._names) > self._max_members:
            raise ArchiveRefusedError(f"The archive has more than {self._max_members} members.")
        if "size" in overrides:
            size = _overridden_size(size, overrides["size"])
        member = Member(name, self._offset + BLOCK_BYTES, size)
        self._offset = _next_block(member.end)
        return member

    def _check_padding(self) -> Parser[None]:
        """Nothing but zeros may follow the end mark."""
        offset = self._offset + BLOCK_BYTES
        while True:
            window = yield Span(offset, _PADDING_STEP_BYTES)
            if any(window.data):
                raise ArchiveRefusedError(
                    "The archive is followed by data that belongs to nothing."
                )
            if len(window.data) < _PADDING_STEP_BYTES:
                return
            offset = window.end


def single_member(walk: TarWalk) -> Parser[Member]:
    """Find the first member of an archive that must have one.

    Raises:
        ArchiveRefusedError: It has none.
    """
    member = yield from walk.next_member()
    if member is None:
        raise ArchiveRefusedError("The archive is empty; it must hold exactly one image.")
    return member


def _next_block(offset: int) -> int:
    return (offset + BLOCK_BYTES - 1) // BLOCK_BYTES * BLOCK_BYTES


def _size(block: bytes) -> int:
    field = block[124:136]
    if field[0] == 0x80:
        size = int.from_bytes(field[1:], "big")
    else:
        digits = field.strip(b" \0")
        if not digits or digits.strip(b"01234567"):
            raise CorruptImageError("The archive is damaged: a member has no valid size.")
        size = int(digits, 8)
    if size >= 1 << 62:
        raise CorruptImageError("The archive is damaged: a member has an impossible size.")
    return size


def _overridden_size(size: int, text: str) -> int:
    """The size a PAX record gives; it may only replace what the header has no room for."""
    digits = text if text.isascii() and text.isdigit() else ""
    override = int(digits or -1)
    if override != size and not _LARGEST_OCTAL_SIZE < override < 1 << 62:
        raise ArchiveRefusedError("The archive gives two different sizes for one member.")
    return override


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0", 1)[0] + b"/" + name
    return name.decode("utf-8", "replace")


def _pax_records(data: bytes) -> dict[str, str]:
    """Parse PAX records: a length, a blank, a key, an equals sign, a value, a newline."""
    records: dict[str, str] = {}
    while data:
        digits, _, _ = data[:8].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = data[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n") or length > len(data):
            raise CorruptImageError("The archive is damaged: an extension header is not valid.")
        records[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "replace")
        data = data[length:]
    return records
