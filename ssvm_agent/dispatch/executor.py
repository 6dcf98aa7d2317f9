# SPDX-License-Identifier: Apache-2.0
"""Requests in, answers out: order, lanes, deadlines and the error boundary around the handlers.

Theory of operation: the link calls :meth:`Executor.execute` once per request and cancels the call
when the link is lost. Commands of one request run one after another. A command first takes a place
in its lane, in the caller's task, so a request that still waits is dropped with its link. From
then on it runs in a task of the executor: what has begun is carried to its end even when nobody
waits for the answer any more. This module knows neither frames nor what any command does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import msgspec

from ssvm_agent import log
from ssvm_agent.dispatch.failures import (
    BusyError,
    DeadlineError,
    InternalError,
    StoppingError,
    UnreadableCommandError,
)
from ssvm_agent.dispatch.observer import (
    ANSWERED_FALSE,
    UNKNOWN_COMMAND,
    UNSUPPORTED,
    Observer,
    Unobserved,
)
from ssvm_agent.dispatch.registry import Entry, Lane, Registry
from ssvm_agent.errors import AgentError
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.messages.base import Answer, Command, UnsupportedAnswer, class_name_of, find_class
from ssvm_agent.messages.envelope import Fault, Undecodable, decode_commands, encode_answers

S = TypeVar("S")

_logger: Final = logging.getLogger(__name__)

STOPPED_TEXT: Final = "Stopped by previous failure"
_MAX_WAITING: Final = 512


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """How busy a lane is."""

    running: int
    waiting: int


class _Places:
    """The places of one lane; ``limit`` ``None`` means any number."""

    def __init__(self, limit: int | None) -> None:
        self._semaphore = asyncio.Semaphore(limit) if limit is not None else None
        self.running = 0
        self.waiting = 0

    async def take(self) -> None:
        """Wait for a place.

        Raises:
            BusyError: Too many wait already.
        """
        if self._semaphore is not None:
            if self.waiting >= _MAX_WAITING:
                raise BusyError("The agent has too many commands waiting; try again later.")
            self.waiting += 1
            try:
                await self._semaphore.acquire()
            finally:
                self.waiting -= 1
        self.running += 1

    def give_back(self) -> None:
        self.running -= 1
        if self._semaphore is not None:
            self._semaphore.release()


class Executor(Generic[S]):
    """Carries out the commands of requests.

    Use as an async context manager: leaving it cancels what still runs; call :meth:`drain` before,
    to let running commands end by themselves.

    Args:
        registry: The commands that are carried out.
        services: Handed to every handler.
        normal: Places in the normal lane.
        long: Places in the long lane.
        observer: Told what became of the commands.
    """

    def __init__(
        self,
        registry: Registry[S],
        services: S,
        *,
        normal: int,
        long: int,
        observer: Observer | None = None,
    ) -> None:
        self._registry = registry
        self._observer = observer or Unobserved()
        self._services = services
        self._tasks = BackgroundTasks()
        self._lanes = {
            Lane.CONTROL: _Places(None),
            Lane.NORMAL: _Places(normal),
            Lane.LONG: _Places(long),
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)

    async def drain(self, deadline_s: float) -> bool:
        """Wait for running commands, then cancel the rest; whether all ended by themselves."""
        return await self._tasks.drain(deadline_s)

    def load(self) -> Mapping[Lane, LaneLoad]:
        """How busy each lane is now."""
        return {
            lane: LaneLoad(places.running, places.waiting) for lane, places in self._lanes.items()
        }

    async def execute(self, content: bytes, *, stop_on_error: bool) -> bytes | None:
        """Carry out one request.

        Args:
            content: Uncompressed content of the frame.
            stop_on_error: Whether commands after a failed one are skipped.

        Returns:
            Content of the response, with one answer per command in the same order; ``None`` when
            the request must not be answered.
        """
        answers: list[Answer] = []
        failed = False
        for command in decode_commands(content):
            if failed and stop_on_error:
                answers.append(Answer(result=False, details=STOPPED_TEXT))
                continue
            answer = await self._answer(command)
            if answer is None:
                return None
            answers.append(answer)
            failed = failed or not answer.result
        return encode_answers(answers)

    async def _answer(self, command: Command | Undecodable) -> Answer | None:
        if isinstance(command, Undecodable):
            return self._answer_to_unreadable(command)
        entry = self._registry.entry_for(type(command))
        if entry is None:
            self._observer.command_failed(type(command).__name__, UNSUPPORTED)
            return UnsupportedAnswer.to(class_name_of(command))
        answer: Answer | None
        try:
            answer = await self._carry_out(entry, command)
        except AgentError as error:
            answer = entry.on_error(command, error)
        return None if answer is None else _never_blank(answer)

    def _answer_to_unreadable(self, fault: Undecodable) -> Answer:
        """Differs: wire-protocol.md 11: every position is answered, in the class it asks for."""
        known = find_class(fault.class_name) if fault.class_name else None
        entry = (
            self._registry.entry_for(known.struct)
            if known is not None and issubclass(known.struct, Command)
            else None
        )
        _logger.warning("unreadable command class=%s: %s", fault.class_name, fault.reason)
        if entry is not None:
            name = entry.command.__name__
            self._observer.command_failed(name, UnreadableCommandError.code)
            text = f"{name} cannot be read: {fault.reason}"
            return _never_blank(entry.on_error(None, UnreadableCommandError(text)))
        if fault.class_name is not None and fault.kind is not Fault.BAD_ENVELOPE:
            self._observer.command_failed(UNKNOWN_COMMAND, UNSUPPORTED)
            return UnsupportedAnswer.to(fault.class_name)
        self._observer.command_failed(UNKNOWN_COMMAND, UnreadableCommandError.code)
        return Answer(result=False, details=f"The request cannot be read: {fault.reason}")

    async def _carry_out(self, entry: Entry[S], command: Command) -> Answer | None:
        """Take a place in the lane, run the handler in a task of our own, wait for its answer.

        Raises:
            AgentError: The command could not start, or failed.
        """
        seconds = entry.deadline_of(command)
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            await self._take_place(entry, deadline, seconds)
        except AgentError as error:
            self._observer.command_failed(entry.command.__name__, error.code)
            raise
        outcome = _Outcome()
        handle = self._tasks.start(
            self._run(entry, command, deadline, outcome), name=entry.command.__name__
        )
        await handle.wait()
        if outcome.error is not None:
            raise outcome.error
        return outcome.answer

    async def _take_place(self, entry: Entry[S], deadline: float, seconds: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._lanes[entry.lane].take()
        except TimeoutError:
            raise DeadlineError(
                f"The command waited {seconds:g} s for others and was not started."
            ) from None

    async def _run(
        self, entry: Entry[S], command: Command, deadline: float, outcome: _Outcome
    ) -> None:
        """Run the handler in its log context, and give the place back whatever happens."""
        started = time.monotonic()
        try:
            with log.context(cmd=entry.command.__name__, logid=command.context_map.get("logid")):
                await self._attempt(entry, command, deadline, outcome)
                seconds = time.monotonic() - started
                self._tell(entry, outcome, seconds)
                _log_end(entry, outcome, seconds)
        finally:
            self._lanes[entry.lane].give_back()

    async def _attempt(
        self, entry: Entry[S], command: Command, deadline: float, outcome: _Outcome
    ) -> None:
        """The error boundary around a handler: whatever it raises becomes the outcome."""
        limit = asyncio.timeout_at(deadline)
        try:
            async with limit:
                answer = await entry.handler(command, self._services)
        except AgentError as error:
            outcome.error = error
        except Exception as error:  # noqa: BLE001  # the boundary named in the docstring
            outcome.error = (
                DeadlineError(f"The command did not end within {entry.deadline_of(command):g} s.")
                if limit.expired()
                else _unforeseen(error)
            )
        else:
            outcome.answer, outcome.error = answer, None

    def _tell(self, entry: Entry[S], outcome: _Outcome, seconds: float) -> None:
        name = entry.command.__name__
        self._observer.command_ran(name, seconds)
        if outcome.error is not None:
            self._observer.command_failed(name, outcome.error.code)
        elif outcome.answer is not None and not outcome.answer.result:
            self._observer.command_failed(name, ANSWERED_FALSE)


class _Outcome:
    """What became of a command; until its task says so, it was cut off by the agent's end."""

    __slots__ = ("answer", "error")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.error: AgentError | None = StoppingError("The agent is stopping.")


def _unforeseen(error: Exception) -> InternalError:
    _logger.error("command failed unforeseen", exc_info=error)
    return InternalError(
        f"Internal error ({type(error).__name__}); the agent's log has the details."
    )


def _log_end(entry: Entry[S], outcome: _Outcome, seconds: float) -> None:
    error = outcome.error
    if error is not None:
        log.event(
            _logger,
            logging.WARNING,
            "command failed",
            code=error.code,
            reason=error.for_operators(),
            seconds=round(seconds, 3),
        )
        return
    level = logging.INFO if entry.changes else logging.DEBUG
    result = outcome.answer.result if outcome.answer is not None else None
    log.event(_logger, level, "command done", result=result, seconds=round(seconds, 3))


def _never_blank(answer: Answer) -> Answer:
    """A failed answer always says something (requirements R14)."""
    if answer.result or (answer.details and answer.details.strip()):
        return answer
    return msgspec.structs.replace(answer, details="The command failed without giving a reason.")
