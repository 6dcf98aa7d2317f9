# SPDX-License-Identifier: Apache-2.0
"""A small XML reader for descriptors that strangers wrote (requirements R31, H13).

Namespace-aware; a document type declaration, and with it every entity, is refused; depth and number
of elements are capped. Elements know which bytes of the document they are, so that a document can
be shortened without being written anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from ssvm_agent.images.errors import CorruptImageError, UnsafeImageError

_MAX_DEPTH = 64
_MAX_ELEMENTS = 50_000


@dataclass(slots=True, eq=False)
class Element:
    """One element.

    Attributes:
        namespace: Its namespace; empty when it has none.
        name: Its name without prefix.
        attributes: Values by (namespace, name).
        content: Texts and elements in document order.
        start: Offset of its first byte in the document.
        end: Offset behind its last byte.
    """

    namespace: str
    name: str
    attributes: dict[tuple[str, str], str]
    start: int
    end: int = 0
    content: list[str | Element] = field(default_factory=list)

    @property
    def children(self) -> Iterator[Element]:
        """The elements directly inside."""
        return (item for item in self.content if isinstance(item, Element))

    @property
    def text(self) -> str:
        """All text inside, also that of elements inside."""
        return "".join(item if isinstance(item, str) else item.text for item in self.content)

    def descendants(self, name: str) -> Iterator[Element]:
        """All elements of a name anywhere inside, in document order, whatever their namespace."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.descendants(name)

    def child_text(self, name: str) -> str | None:
        """The text of the first element of that name directly inside; None without one."""
        return next((child.text for child in self.children if child.name == name), None)

    def attribute(self, name: str) -> str | None:
        """The value of an attribute, preferably in the namespace of the element itself."""
        for namespace in (self.namespace, ""):
            if (namespace, name) in self.attributes:
                return self.attributes[namespace, name]
        return next((value for (_, key), value in self.attributes.items() if key == name), None)


def parse_xml(data: bytes, what: str) -> Element:
    """Parse a document.

    Args:
        data: The document; its encoding is that of its declaration or mark.
        what: What the document is, for messages, e.g. ``the OVF descriptor``.

    Raises:
        UnsafeImageError: It has a document type declaration, or is too deep or too large.
        CorruptImageError: It is not well-formed.
    """
    builder = _Builder(what)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = False
    builder.connect(parser)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise CorruptImageError(f"{what} is not well-formed.", detail=str(error)) from error
    except (LookupError, ValueError) as error:
        raise CorruptImageError(f"{what} has an unknown encoding.", detail=str(error)) from error
    assert builder.root is not None
    return builder.root


class _Builder:
    """Collects elements while the parser runs.

    The parser tells where a token begins, not where it ends; the end of an element is the beginning
    of the next token, so every kind of token has a handler.
    """

    def __init__(self, what: str) -> None:
        self.root: Element | None = None
        self._what = what
        self._open: list[Element] = []
        self._ended: Element | None = None
        self._count = 0

    def connect(self, parser: expat.XMLParserType) -> None:
        self._parser = parser
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.CharacterDataHandler = self._on_text
        parser.StartDoctypeDeclHandler = self._on_doctype
        parser.DefaultHandler = self._on_other

    def _on_token(self) -> None:
        if self._ended is not None:
            self._ended.end = self._parser.CurrentByteIndex
            self._ended = None

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._on_token()
        self._count += 1
        if self._count > _MAX_ELEMENTS or len(self._open) >= _MAX_DEPTH:
            raise UnsafeImageError(f"{self._what} has too many elements.")
        namespace, local = _split(name)
        element = Element(
            namespace,
            local,
            {_split(key): value for key, value in attributes.items()},
            self._parser.CurrentByteIndex,
        )
        if self._open:
            self._open[-1].content.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _on_end(self, _: str) -> None:
        self._on_token()
        self._ended = self._open.pop()

    def _on_text(self, text: str) -> None:
        self._on_token()
        self._open[-1].content.append(text)

    def _on_other(self, _: str) -> None:
        self._on_token()

    def _on_doctype(self, *_: object) -> None:
        raise UnsafeImageError(
            f"{self._what} has a document type declaration, which is not allowed."
        )


def _split(name: str) -> tuple[str, str]:
    namespace, _, local = name.rpartition(" ")
    return namespace, local
