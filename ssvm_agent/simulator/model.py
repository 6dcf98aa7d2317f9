# SPDX-License-Identifier: Apache-2.0
"""What a management server remembers: hosts, stores, templates, and what went against the rules.

Plain data without behaviour on the wire. Messages are a class name and a JSON object here, on
purpose not the agent's own typed messages: a misspelt field must not be misspelt on both sides.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One command or answer: Java class name and fields."""

    class_name: str
    fields: Fields = field(default_factory=dict)

    @property
    def simple_name(self) -> str:
        """The class name without its package."""
        return self.class_name.rpartition(".")[2]

    @property
    def result(self) -> bool:
        """Whether an answer reports success."""
        return self.fields.get("result") is True

    @property
    def details(self) -> str:
        """The text of an answer; empty when there is none."""
        return str(self.fields.get("details") or "")

    @classmethod
    def of(cls, element: Mapping[str, Fields]) -> Self:
        """One element of a frame's array; the first key counts (wire-protocol.md 3)."""
        class_name, fields = next(iter(element.items()))
        return cls(class_name, fields)

    def element(self) -> dict[str, Fields]:
        """The element of a frame's array."""
        return {self.class_name: self.fields}


def encode_messages(messages: Iterable[Message]) -> bytes:
    """The content of a frame; beyond ASCII as a server with a UTF-8 locale writes it."""
    elements = [message.element() for message in messages]
    return json.dumps(elements, separators=(",", ":"), ensure_ascii=False).encode()


def decode_messages(content: bytes) -> list[Message]:
    """Reads the content of a frame, strictly.

    Raises:
        ValueError: Not an array of one-key objects that hold an object each.
    """
    elements = json.loads(content.decode("utf-8"))
    if not (isinstance(elements, list) and all(map(_is_element, elements))):
        raise ValueError("the content is no array of one-key objects with an object each")
    return [Message.of(element) for element in elements]


def _is_element(element: object) -> bool:
    return (
        isinstance(element, dict)
        and len(element) == 1
        and isinstance(next(iter(element.values())), dict)
    )


class HostStatus(StrEnum):
    """Status of a host row (agent-lifecycle.md 2.8)."""

    CONNECTING = "Connecting"
    UP = "Up"
    ALERT = "Alert"
    DISCONNECTED = "Disconnected"


@dataclass(slots=True, kw_only=True)
class Host:
    """The row of one agent; it outlives its connections."""

    id: int
    guid: str
    name: str
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: HostStatus = HostStatus.CONNECTING
    startup: Fields = field(default_factory=dict)
    history: list[HostStatus] = field(default_factory=list)

    def become(self, status: HostStatus) -> None:
        """Change the status and remember the way taken."""
        self.status = status
        self.history.append(status)


@dataclass(slots=True, kw_only=True)
class ImageStore:
    """An image store of the zone.

    Attributes:
        url: ``nfs://…``, ``cifs://…``, or ``file:///…`` for development.
        parent: The ``_dir`` an agent reported; empty until then.
    """

    url: str
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    nfs_version: str | None = None
    parent: str = ""

    def transfer_object(self) -> dict[str, Fields]:
        """The store as commands carry it, wrapped in its class name."""
        fields: Fields = {"_url": self.url, "_role": "Image", "uuid": self.uuid}
        if self.nfs_version is not None:
            fields["nfsVersion"] = self.nfs_version
        return {"com.cloud.agent.api.to.NfsTO": fields}


@dataclass(frozen=True, slots=True)
class Violation:
    """Something an agent did that a real server would not have served.

    Attributes:
        rule: Where the rule is written down.
        text: What happened, in one sentence.
        agent: Name or address of the agent.
    """

    rule: str
    text: str
    agent: str

    def __str__(self) -> str:
        return f"{self.agent}: {self.text} [{self.rule}]"
