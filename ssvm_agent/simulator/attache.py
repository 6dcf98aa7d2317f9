# SPDX-License-Identifier: Apache-2.0
"""The server's end of one connected agent: sequence numbers, waiters and the in-sequence queue.

It behaves as agent-lifecycle.md 2.5 (sequencing), 3.1 (waiting rule) and 5.3 describe, mishaps
included: an answer without the in-sequence flag leaves the queue standing, one with a flag too many
moves it early. No sockets here; frames go out through the callable given.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ssvm_agent.simulator import commands, rules
from ssvm_agent.simulator.errors import AgentGoneError, AnswerTimeoutError
from ssvm_agent.simulator.model import Host, Message, decode_messages, encode_messages
from ssvm_agent.wire.header import Flag, Header

_SEQUENCE_SHIFT: Final = 48
_SEQUENCE_STARTS: Final = 32767


@dataclass(slots=True)
class _Sent:
    header: Header
    messages: Sequence[Message]
    waiter: asyncio.Future[list[Message]] = field(default_factory=asyncio.Future)


class Attache:
    """What the server keeps per connection of an agent.

    Args:
        host: The row it serves.
        node_id: Of this management server.
        transmit: Sends a request frame: header (request flag included) and content.
        report: Told of every broken rule.
    """

    def __init__(
        self,
        host: Host,
        node_id: int,
        transmit: Callable[[Header, bytes], None],
        report: Callable[[rules.Finding], None],
    ) -> None:
        self.host = host
        self._node_id = node_id
        self._transmit = transmit
        self._report = report
        self._sequence = secrets.randbelow(_SEQUENCE_STARTS) << _SEQUENCE_SHIFT
        self._waiting: dict[int, _Sent] = {}
        self._queue: deque[_Sent] = deque()
        self._current: int | None = None
        self._gone = False

    async def send(
        self,
        messages: Sequence[Message],
        *,
        wait_s: float,
        in_sequence: bool | None = None,
        stop_on_error: bool = True,
    ) -> list[Message]:
        """Send one request and wait for its answers.

        Args:
            messages: The commands.
            wait_s: As the server does: once this long, and once more when it is our turn.
            in_sequence: By the commands' classes unless given.
            stop_on_error: Whether commands behind a failed one are left out.

        Raises:
            AnswerTimeoutError: No answer in time.
            AgentGoneError: The link ended first.
        """
        if self._gone:
            raise AgentGoneError(f"{self.host.name} is not connected.")
        if in_sequence is None:
            in_sequence = any(commands.is_in_sequence(one) for one in messages)
        sent = _Sent(self._header(in_sequence, stop_on_error), messages)
        self._waiting[sent.header.sequence] = sent
        if not in_sequence:
            self._put(sent)
        elif self._current is None:
            self._start(sent)
        else:
            self._queue.append(sent)
        return await self._wait(sent, wait_s)

    def receive(self, header: Header, content: bytes) -> None:
        """Take a response of the agent; one that comes after the end is nobody's any more."""
        if self._gone:
            return
        try:
            answers = decode_messages(content)
        except ValueError as error:
            self._report(rules.Finding(rules.ANSWER_RULE, f"a response cannot be parsed: {error}"))
            return
        sent = self._waiting.get(header.sequence)
        if sent is None:
            text = f"an answer to sequence {header.sequence}, which nobody waits for"
            self._report(rules.Finding(rules.ANSWER_RULE, text))
        else:
            self._check(sent, header, answers, content)
            if not _is_for(sent.header, header, self._node_id):
                return
            del self._waiting[header.sequence]
            if not sent.waiter.done():
                sent.waiter.set_result(answers)
        if header.is_in_sequence:
            self._next()

    def disconnect(self) -> None:
        """The link has ended: every waiter hears of it, nothing is sent any more."""
        self._gone = True
        self._queue.clear()
        waiting, self._waiting = self._waiting, {}
        for sent in waiting.values():
            if not sent.waiter.done():
                sent.waiter.set_exception(AgentGoneError(f"{self.host.name} disconnected."))
                sent.waiter.exception()  # Looked at now: its waiter may have been cancelled.

    def _header(self, in_sequence: bool, stop_on_error: bool) -> Header:
        self._sequence += 1
        flags = Flag.REQUEST | Flag.FROM_SERVER
        if in_sequence:
            flags |= Flag.IN_SEQUENCE
        if stop_on_error:
            flags |= Flag.STOP_ON_ERROR
        return Header(
            flags=int(flags),
            sequence=self._sequence,
            management_server_id=self._node_id,
            agent_id=self.host.id,
            via=self.host.id,
        )

    async def _wait(self, sent: _Sent, wait_s: float) -> list[Message]:
        sequence = sent.header.sequence
        try:
            for _ in range(2):
                done, _pending = await asyncio.wait([sent.waiter], timeout=wait_s)
                if done:
                    return sent.waiter.result()
                if self._current not in (None, sequence):
                    break  # Still behind another one: one wait is all it gets.
        finally:
            self._waiting.pop(sequence, None)
        sent.waiter.cancel()
        if sent in self._queue:
            self._queue.remove(sent)
        if self._current == sequence:
            self._next()
        names = ", ".join(message.simple_name for message in sent.messages)
        raise AnswerTimeoutError(f"{self.host.name} did not answer {names} in time.")

    def _start(self, sent: _Sent) -> None:
        self._current = sent.header.sequence
        self._put(sent)

    def _next(self) -> None:
        self._current = None
        if self._queue:
            self._start(self._queue.popleft())

    def _put(self, sent: _Sent) -> None:
        self._transmit(sent.header, encode_messages(sent.messages))

    def _check(
        self, sent: _Sent, header: Header, answers: Sequence[Message], content: bytes
    ) -> None:
        for finding in (
            *rules.findings_in_response_header(sent.header, header, self._node_id),
            *rules.findings_in_answers(sent.messages, answers, content),
        ):
            self._report(finding)


def _is_for(request: Header, response: Header, node_id: int) -> bool:
    """Whether a server finds its way from this response to the waiter (agent-lifecycle.md 5.3)."""
    return (
        response.agent_id == request.agent_id
        and response.management_server_id in (-1, node_id)
        and not response.flags & Flag.FROM_SERVER
    )
