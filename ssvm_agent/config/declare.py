# SPDX-License-Identifier: Apache-2.0
"""How a setting is declared, and how the declared tree is walked.

This module knows dataclasses and nothing of the agent: the tree itself is in
:mod:`ssvm_agent.config.settings`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, get_type_hints

T = TypeVar("T")

_META: Final = "setting"

Check = Callable[[Any], str | None]
"""Says what is wrong with a value, or ``None``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What is known about one key besides its type.

    Attributes:
        meaning: One phrase for the documentation.
        boot: Names in the boot text, first match wins; a tuple collects all.
        properties: Names in agent.properties, likewise.
        properties_first: agent.properties beats the boot text (agent-lifecycle.md 1.2, "File").
        check: Refuses values of the right type that make no sense.
    """

    meaning: str
    boot: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    properties_first: bool = False
    check: Check | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One declared key of the tree."""

    path: tuple[str, ...]
    annotation: Any
    default: Any
    declaration: Declaration

    @property
    def key(self) -> str:
        """The dotted name, as in ``download.proxy``."""
        return ".".join(self.path)


def setting(
    default: T,
    meaning: str,
    *,
    boot: str = "",
    properties: str = "",
    properties_first: bool = False,
    check: Check | None = None,
) -> T:
    """Declare a leaf: its default, what it means, and its names in CloudStack's two texts.

    ``boot`` and ``properties`` hold names separated by blanks; most have one or none.
    """
    declaration = Declaration(
        meaning=meaning,
        boot=tuple(boot.split()),
        properties=tuple(properties.split()),
        properties_first=properties_first,
        check=check,
    )
    return field(default=default, metadata={_META: declaration})


def leaves(tree: type[Any], prefix: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """All declared keys of a tree of dataclasses, in order of declaration."""
    hints = get_type_hints(tree)
    for item in dataclasses.fields(tree):
        path = (*prefix, item.name)
        annotation = hints[item.name]
        if _META in item.metadata:
            yield Leaf(
                path=path,
                annotation=annotation,
                default=item.default,
                declaration=item.metadata[_META],
            )
        elif any(_META in inner.metadata for inner in _fields(annotation)):
            yield from leaves(annotation, path)


def build(tree: type[T], values: dict[tuple[str, ...], Any], **extra: object) -> T:
    """An instance of a tree from its leaves' values; leaves not named keep their default."""
    own: dict[str, Any] = dict(extra)
    hints = get_type_hints(tree)
    for name in {path[0] for path in values}:
        if (name,) in values:
            own[name] = values[(name,)]
        else:
            below = {path[1:]: value for path, value in values.items() if path[0] == name}
            own[name] = build(hints[name], below)
    return tree(**own)


def value_at(tree: object, path: tuple[str, ...]) -> Any:
    """The value of one leaf."""
    for name in path:
        tree = getattr(tree, name)
    return tree


def _fields(annotation: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(annotation) if dataclasses.is_dataclass(annotation) else ()
