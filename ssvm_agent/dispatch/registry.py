# SPDX-License-Identifier: Apache-2.0
"""Which function carries out which command, and under what terms.

A registry is filled by the handlers at import time of their modules and read by the executor; it
knows neither of them. ``S`` is whatever the handlers need (their services).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from ssvm_agent.dispatch.failures import OnError, failure_for
from ssvm_agent.messages.base import Answer, Command, class_name_of

S = TypeVar("S")
C = TypeVar("C", bound=Command)

DEFAULT_DEADLINE_S: Final = 1700.0
"""Just below the 1800 s a management server waits for a command without a time of its own."""

MAX_WAIT_S: Final = 7 * 86400.0
"""The longest ``wait`` that is honoured. Data migrations send milliseconds where seconds are meant
(storage-commands.md 3.15), which comes to months; no copy is worth a lane that long."""


class Lane(StrEnum):
    """How a command shares the agent with others."""

    CONTROL = "control"
    """Starts at once, whatever else is going on: Ready, health, server lists, certificates."""
    NORMAL = "normal"
    """Short work on a store; a bounded number at a time."""
    LONG = "long"
    """Work that moves much data; few at a time."""


Handler = Callable[[C, S], Awaitable[Answer | None]]


@dataclass(frozen=True, slots=True)
class Entry(Generic[S]):
    """One registered command.

    Attributes:
        command: Exactly this class; sub-classes have their own entries.
        answer: The class of its answers, used for failures too.
        handler: Carries the command out. ``None`` means that the request must not be answered.
        lane: See :class:`Lane`.
        deadline_s: Longest time from arrival to answer, in seconds.
        honours_wait: The command's own ``wait``, when given, replaces the deadline.
        on_error: Makes the answer for a failure.
        changes: Whether it changes a store or the machine (read-only commands do not).
    """

    command: type[Command]
    answer: type[Answer]
    handler: Handler[Command, S]
    lane: Lane
    deadline_s: float
    honours_wait: bool
    on_error: OnError
    changes: bool

    @property
    def class_name(self) -> str:
        """Java name of the command class."""
        return class_name_of(self.command)

    def deadline_of(self, command: Command) -> float:
        """Seconds this command may take."""
        if self.honours_wait and command.wait > 0:
            return min(float(command.wait), MAX_WAIT_S)
        return self.deadline_s


class Registry(Generic[S]):
    """All commands that are carried out."""

    def __init__(self) -> None:
        self._entries: dict[type[Command], Entry[S]] = {}

    def command(
        self,
        command: type[C],
        answer: type[Answer],
        *,
        lane: Lane = Lane.NORMAL,
        deadline_s: float = DEFAULT_DEADLINE_S,
        honours_wait: bool = False,
        on_error: OnError | None = None,
        changes: bool = True,
    ) -> Callable[[Handler[C, S]], Handler[C, S]]:
        """Register the decorated coroutine function ``(command, services) -> answer``.

        Args:
            command: The exact class.
            answer: The class that answers it.
            lane: Where it queues.
            deadline_s: See :class:`Entry`.
            honours_wait: See :class:`Entry`.
            on_error: Answer for a failure; by default the answer class with ``result`` false and
                the error's message, in the shape that class needs.
            changes: See :class:`Entry`.
        """

        def register(handler: Handler[C, S]) -> Handler[C, S]:
            assert command not in self._entries, command
            self._entries[command] = Entry(
                command=command,
                answer=answer,
                handler=handler,  # type: ignore[arg-type]  # looked up by the exact class only
                lane=lane,
                deadline_s=deadline_s,
                honours_wait=honours_wait,
                on_error=on_error or failure_for(answer),
                changes=changes,
            )
            return handler

        return register

    def entry_for(self, command: type[Command]) -> Entry[S] | None:
        """The entry of exactly this class; a sub-class of a registered one has none."""
        return self._entries.get(command)

    def entries(self) -> Iterator[Entry[S]]:
        """All entries by class name."""
        return iter(sorted(self._entries.values(), key=lambda entry: entry.class_name))
