# SPDX-License-Identifier: Apache-2.0
"""What all messages share: the base structs, their Java names and the table of their wire fields.

A message is a frozen struct whose attributes are the Java fields in snake case, without a leading
underscore. The annotations say what travels; :func:`fields_of` turns them, once per class, into
the table that :mod:`ssvm_agent.messages.reading` and :mod:`ssvm_agent.messages.writing` work by.
This module knows no JSON text and nothing of frames.
"""

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from functools import cache
from typing import Annotated, Any, ClassVar, Final, TypeVar, get_args, get_origin

import msgspec

from ssvm_agent.masking import MASK, is_secret_name, mask_text


class Mark(Enum):
    """Remarks on a field that its Python type cannot express."""

    INT32 = auto()
    """A Java int: 32 bits, larger values are cut (wire-protocol.md 4)."""
    SECRET = auto()
    """Never shown, whatever its name is."""
    OMIT_EMPTY = auto()
    """An empty list is left out (the list of PortConfig, wire-protocol.md 4)."""


Int = Annotated[int, Mark.INT32]
SecretText = Annotated[str, Mark.SECRET]


class Message(msgspec.Struct, kw_only=True, frozen=True, rename="camel"):
    """Anything that travels as a JSON object."""

    def __repr__(self) -> str:
        shown = (
            f"{field.name}={_shown(field, value)}"
            for field in fields_of(type(self))
            if (value := getattr(self, field.name)) is not None
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class Command(Message, kw_only=True, frozen=True):
    """Fields of every command and answer (wire-protocol.md 4.2).

    Attributes:
        context_map: Trace id (``logid``) and, for VMware zones, ``hypervisor``; always written.
        wait: Seconds the sender waits; 0 is its default.
        bypass_host_maintenance: Of no meaning to an SSVM.
        external_details: Map of maps, since 4.22.
    """

    context_map: dict[str, str] = msgspec.field(default_factory=dict)
    wait: Int = 0
    bypass_host_maintenance: bool = False
    external_details: dict[str, Any] | None = None


class Answer(Command, kw_only=True, frozen=True):
    """The plain answer, and the base of all others."""

    result: bool = True
    details: str | None = None


class TransferObject(Message, kw_only=True, frozen=True):
    """An object that is written as ``{"<class name>": {…}}`` where a field declares its family."""


class DataStoreTO(TransferObject, kw_only=True, frozen=True):
    """The family of stores; a field declared with it carries the class name."""


class DataTO(TransferObject, kw_only=True, frozen=True):
    """The family of templates, volumes, snapshots and backups, likewise."""


FAMILIES: Final[tuple[type[TransferObject], ...]] = (DataStoreTO, DataTO)


@dataclass(frozen=True, slots=True)
class WireClass:
    """A Java class and the struct that stands for it.

    Attributes:
        name: Full Java class name.
        struct: Our class.
        bare: The Java class has no no-argument constructor, so a primitive that is missing reads
            as 0 or false instead of its initial value.
    """

    name: str
    struct: type[Message]
    bare: bool


_BY_NAME: Final[dict[str, WireClass]] = {}
_BY_STRUCT: Final[dict[type[Message], WireClass]] = {}

M = TypeVar("M", bound=Message)


def wire_class(name: str, *, bare: bool = False) -> Callable[[type[M]], type[M]]:
    """Give a struct its Java class name; see :class:`WireClass` for ``bare``."""

    def register(struct: type[M]) -> type[M]:
        assert name not in _BY_NAME, name
        _BY_NAME[name] = _BY_STRUCT[struct] = WireClass(name, struct, bare)
        return struct

    return register


_BY_NAME["com.cloud.agent.api.Answer"] = _BY_STRUCT[Answer] = WireClass(
    "com.cloud.agent.api.Answer", Answer, bare=False
)


def wire_class_of(struct: type[Message]) -> WireClass | None:
    """The Java side of exactly this struct; ``None`` for objects that never carry a name."""
    return _BY_STRUCT.get(struct)


def find_class(name: str) -> WireClass | None:
    """The registered class of this Java name."""
    return _BY_NAME.get(name)


def class_name_of(message: Message | type[Message]) -> str:
    """The full Java class name of a message or a message class.

    Raises:
        KeyError: The class never travels under its own name.
    """
    struct = message if isinstance(message, type) else type(message)
    return _BY_STRUCT[struct].name


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """One field as it travels.

    Attributes:
        name: Our attribute.
        wire: The JSON key.
        annotation: Its type without ``None`` and without remarks.
        marks: The remarks, and the enumeration of its known constants if it has one.
        nullable: Whether ``None`` may stand in it; otherwise null keeps the initial value.
        family: The family when the object is wrapped with its class name.
    """

    name: str
    wire: str
    annotation: Any
    marks: frozenset[Mark]
    constants: type[StrEnum] | None
    nullable: bool
    family: type[TransferObject] | None

    @property
    def secret(self) -> bool:
        """Whether the value must never be shown."""
        return Mark.SECRET in self.marks or is_secret_name(self.wire)


@cache
def fields_of(struct: type[Message]) -> tuple[FieldPlan, ...]:
    """The fields of a class in wire order: its own, then its parent's, and so on.

    A field that a sub-class declares again (to change its initial value) keeps the place its
    parent gave it, as in the Java class, which has the field once.
    """
    hints = typing.get_type_hints(struct, include_extras=True)
    wire_names = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    lineage = [cls for cls in struct.__mro__ if issubclass(cls, Message)]
    declared = [vars(cls).get("__annotations__", {}) for cls in lineage]
    ordered = [
        name
        for index, own in enumerate(declared)
        for name in own
        if name in wire_names and not any(name in inherited for inherited in declared[index + 1 :])
    ]
    return tuple(_plan(name, wire_names[name], hints[name]) for name in ordered)


def _plan(name: str, wire: str, hint: Any) -> FieldPlan:
    annotation, remarks, nullable = _unwrapped(hint)
    constants = next((r for r in remarks if isinstance(r, type) and issubclass(r, StrEnum)), None)
    return FieldPlan(
        name=name,
        wire=wire,
        annotation=annotation,
        marks=frozenset(remark for remark in remarks if isinstance(remark, Mark)),
        constants=constants,
        nullable=nullable,
        family=annotation if annotation in FAMILIES else None,
    )


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """A hint taken apart: the bare type, its remarks, whether it allows ``None``."""
    if get_origin(hint) is Annotated:
        inner, *remarks = get_args(hint)
        bare, more, nullable = _unwrapped(inner)
        return bare, (*remarks, *more), nullable
    if get_origin(hint) in {types.UnionType, typing.Union}:
        (inner,) = (arm for arm in get_args(hint) if arm is not types.NoneType)
        bare, remarks_of_arm, _ = _unwrapped(inner)
        return bare, remarks_of_arm, True
    return hint, (), hint is Any


def _shown(field: FieldPlan, value: object) -> str:
    if field.secret:
        return repr(MASK)
    return mask_text(repr(value))


@wire_class("com.cloud.agent.api.UnsupportedAnswer")
class UnsupportedAnswer(Answer, kw_only=True, frozen=True):
    """What an unknown command is answered with."""

    result: bool = False

    TEXT: ClassVar[str] = (
        "Unsupported command issued: {}.  Are you sure you got the right type of server?"
    )

    @classmethod
    def to(cls, class_name: str) -> "UnsupportedAnswer":
        """The answer to a command of this Java class; both blanks belong (storage-commands 1.1)."""
        return cls(details=cls.TEXT.format(class_name))
