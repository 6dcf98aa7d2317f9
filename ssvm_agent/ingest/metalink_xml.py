# SPDX-License-Identifier: Apache-2.0
"""Reading a Metalink document (RFC 5854): files, mirrors by priority, digests. Pure.

The document comes from outside: no DTD, no entities, bounded in bytes, depth and number of URLs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from ssvm_agent.ingest.checksum import ExpectedChecksum, canonical_algorithm
from ssvm_agent.ingest.errors import SourceFailedError, UnknownAlgorithmError

MAX_DOCUMENT_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 16
_MAX_URLS: Final = 100
_LAST: Final = 1_000_000
# Best first; the ones below the line are better than nothing.
_PREFERENCE: Final = ("SHA-512", "SHA-384", "SHA-256", "SHA-224", "SHA-1", "MD5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metalink:
    """The one file of a document.

    Attributes:
        urls: Mirrors, best first; a URL without priority comes last.
        checksum: The strongest digest given.
        size_bytes: The length given.
    """

    urls: tuple[str, ...]
    checksum: ExpectedChecksum | None
    size_bytes: int | None


@dataclass(slots=True)
class _Reader:
    """Collects what the parser finds in the first file of the document."""

    path: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    files: int = 0
    urls: list[tuple[int, str]] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    size_bytes: int | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.path.append(name.rpartition(":")[2].lower())
        if len(self.path) > _MAX_DEPTH:
            raise SourceFailedError("The metalink document is nested too deeply")
        self.files += self.path[-1] == "file"
        self.text.clear()
        self.attributes = attributes

    def data(self, text: str) -> None:
        self.text.append(text)

    def end(self, _name: str) -> None:
        name = self.path.pop()
        value = "".join(self.text).strip()
        self.text.clear()
        # Digests of single pieces lie deeper and are of no use to a stream.
        if self.files != 1 or "pieces" in self.path:
            return
        if name == "url" and value:
            self._add_url(value)
        elif name == "hash":
            self.hashes.setdefault(self.attributes.get("type", ""), value)
        elif name == "size" and value.isdecimal() and len(value) < 19:
            self.size_bytes = int(value)

    def _add_url(self, value: str) -> None:
        if len(self.urls) >= _MAX_URLS:
            raise SourceFailedError(f"The metalink document names more than {_MAX_URLS} URLs")
        priority = self.attributes.get("priority", "")
        rank = int(priority) if priority.isdecimal() and len(priority) < 7 else _LAST
        self.urls.append((rank, value))


def _refuse(*_: object) -> None:
    raise SourceFailedError("The metalink document has a DTD, which is not allowed")


def parse_metalink(document: bytes) -> Metalink:
    """Read a document.

    Raises:
        SourceFailedError: It is no well-formed Metalink of one file with a URL, or breaks a bound.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise SourceFailedError("The metalink document is too large")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.data
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise SourceFailedError(
            "The metalink document is not well-formed", detail=str(error)
        ) from None
    if reader.files > 1:
        raise SourceFailedError("The metalink document describes more than one file")
    if not reader.urls:
        raise SourceFailedError("The metalink document has no URL")
    return Metalink(
        # sorted() keeps the order of the document among equals.
        urls=tuple(url for _, url in sorted(reader.urls, key=lambda entry: entry[0])),
        checksum=_strongest(reader.hashes),
        size_bytes=reader.size_bytes,
    )


def _strongest(hashes: dict[str, str]) -> ExpectedChecksum | None:
    found: dict[str, ExpectedChecksum] = {}
    for name, digest in hashes.items():
        try:
            algorithm = canonical_algorithm(name)
            found[algorithm] = ExpectedChecksum.parse(f"{{{algorithm}}}{digest}")
        except UnknownAlgorithmError:
            continue
    for algorithm in _PREFERENCE:
        if algorithm in found:
            return found[algorithm]
    return None
