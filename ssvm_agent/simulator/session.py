# SPDX-License-Identifier: Apache-2.0
"""What the server does with the messages of one link (agent-lifecycle.md 2.3 to 2.7, 5.4).

A session begins with the TLS handshake done and ends with the link. It answers what the agent asks
and starts the connect run; commands to the agent go through its attaché.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from ssvm_agent.host.tasks import TaskHandle
from ssvm_agent.simulator import commands, rules
from ssvm_agent.simulator.attache import Attache
from ssvm_agent.simulator.connect import Connect
from ssvm_agent.simulator.errors import AgentGoneError, ConnectFailedError
from ssvm_agent.simulator.link import AgentLink
from ssvm_agent.simulator.model import (
    Host,
    HostStatus,
    Message,
    decode_messages,
    encode_messages,
)
from ssvm_agent.simulator.state import ServerState
from ssvm_agent.wire.connection import BadFrame, RequestReceived, ResponseReceived
from ssvm_agent.wire.header import NO_ID, Flag, Header

_REFUSAL_HEADER: Final = Header(
    # The one request of a server without the from-server flag (agent-lifecycle.md 5.1).
    flags=int(Flag.REQUEST | Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE),
    sequence=-1,
)
_PINGS: Final = frozenset({commands.API + "PingCommand", commands.API + "PingStorageCommand"})


class Session:
    """One link after its handshake.

    Attributes:
        attache: Set once the agent was let in.
        link: For tests that want to misuse it.
        pings_answered: How many.
    """

    def __init__(self, link: AgentLink, state: ServerState) -> None:
        self.link = link
        self.attache: Attache | None = None
        self.pings_answered = 0
        self._state = state
        self._started = False
        self._pinged = asyncio.Event()
        self._tasks: list[TaskHandle] = []

    @property
    def agent(self) -> str:
        """Name for reports: the host's once known, the address before."""
        return self.attache.host.name if self.attache else self.link.peer_address

    async def run(self) -> None:
        """Serve the link to its end.

        Raises:
            RemoteProtocolError: The peer broke the framing or the encryption.
        """
        try:
            async for event in self.link.events():
                if isinstance(event, RequestReceived):
                    self._request(event.header, event.content)
                elif isinstance(event, ResponseReceived):
                    self._response(event.header, event.content)
                else:
                    self._bad_frame(event)
        finally:
            self._end()

    def disconnect(self, status: HostStatus) -> None:
        """The server gives this agent up: row changed, waiters failed, link closed."""
        if self.attache is not None:
            self._state.become(self.attache.host, status)
            self.attache.disconnect()
        self.link.close()

    def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.link.close()
        attache = self.attache
        if attache is None:
            return
        attache.disconnect()
        if self._state.sessions.get(attache.host.id) is self:
            del self._state.sessions[attache.host.id]
            if attache.host.status in (HostStatus.UP, HostStatus.CONNECTING):
                self._state.become(attache.host, HostStatus.ALERT)
        self._state.changed()

    def _report(self, finding: rules.Finding) -> None:
        self._state.report(self.agent, finding)

    # --- what comes in --------------------------------------------------------------------------

    def _response(self, header: Header, content: bytes) -> None:
        if self.attache is None:
            text = "a response came on a link nothing was asked on"
            self._report(rules.Finding(rules.REQUEST_RULE, text))
            return
        self.attache.receive(header, content)

    def _bad_frame(self, event: BadFrame) -> None:
        text = f"a frame cannot be understood: {event.error}"
        self._report(rules.Finding(rules.REQUEST_RULE, text))

    def _request(self, header: Header, content: bytes) -> None:
        try:
            messages = decode_messages(content)
        except ValueError as error:
            self._report(rules.Finding(rules.REQUEST_RULE, f"a request cannot be parsed: {error}"))
            messages = [Message("")]
        message = messages[0] if messages else Message("")
        if message.class_name == commands.STARTUP:
            self._startup(header, message)
        elif not self._started:
            text = f"the first message is not a Startup but {message.simple_name or 'unreadable'}"
            self._report(rules.Finding(rules.REQUEST_RULE, text))
        elif message.class_name in _PINGS:
            self._ping(header, message)
        elif message.class_name == commands.API + "ShutdownCommand":
            self._shutdown(header, message)
        else:
            if message.simple_name.endswith("Answer"):
                text = f"a {message.simple_name} came with the request flag set"
                self._report(rules.Finding(rules.ANSWER_RULE, text))
            self._respond(header, commands.answer(commands.ANSWER))

    def _startup(self, header: Header, message: Message) -> None:
        self._started = True
        state = self._state
        for finding in rules.findings_in_startup(header, message.fields):
            self._report(finding)
        if state.faults.ignore_startup:
            return
        self._startup_answer(header, None)
        text = state.faults.refuse_with
        text = text or rules.refusal_of_startup(message.fields, state.zone.names)
        if text is not None:
            self._refuse(text)
            return
        if self.attache is not None:
            # A second Startup on a live link is answered twice (agent-lifecycle.md 2.4).
            self._startup_answer(header, self.attache.host)
        name = f"connect of {message.fields['name']}"
        self._tasks.append(state.tasks.start(self._connect(message), name=name))

    def _startup_answer(self, request: Header, host: Host | None) -> None:
        message = commands.startup_answer(
            host_id=host.id if host else 0,
            host_uuid=host.uuid if host else "",
            host_name=host.name if host else "",
            ping_interval=self._state.timing.ping_interval_on_wire_s,
        )
        self._respond(request, message, via=host.id if host else NO_ID)

    def _refuse(self, text: str) -> None:
        self.link.send_frame(_REFUSAL_HEADER, encode_messages([commands.refusal(text)]))

    def _ping(self, header: Header, ping: Message) -> None:
        for finding in rules.findings_in_ping(header, ping):
            self._report(finding)
        state = self._state
        if self.attache is None or state.faults.ignore_pings:
            return  # A ping before the attaché exists gets no answer (agent-lifecycle.md 2.7).
        self._pinged.set()
        behind = state.zone.is_up(ping.fields.get("hostId")) is False
        answer = commands.ping_answer(ping, send_startup=behind, avoid=state.zone.avoid)
        self._respond(header, answer, via=self.attache.host.id)
        self.pings_answered += 1
        state.changed()

    def _shutdown(self, header: Header, message: Message) -> None:
        reason = message.fields.get("reason")
        if reason in ("update", None):
            self._respond(header, commands.answer(commands.ANSWER, result=False))
        elif reason == "sig.kill" and self.attache is not None:
            self._state.become(self.attache.host, HostStatus.DISCONNECTED)
            self.attache.disconnect()

    def _respond(self, request: Header, message: Message, *, via: int | None = None) -> None:
        header = replace(
            request.response(),
            management_server_id=self._state.node_id,
            via=request.via if via is None else via,
        )
        self.link.send_frame(header, encode_messages([message]))

    # --- connect and pings -----------------------------------------------------------------------

    async def _connect(self, startup: Message) -> None:
        state = self._state
        host = state.zone.host_for(startup.fields)
        state.changed()
        try:
            async with asyncio.timeout(state.timing.connect_lock_s) as deadline:
                async with state.joins.hold(host.id):
                    deadline.reschedule(None)
                    await self._join(host)
        except TimeoutError:
            self._refuse("com.cloud.exception.ConnectionException: Unable to acquire lock")

    async def _join(self, host: Host) -> None:
        state = self._state
        older = state.sessions.get(host.id)
        others = [
            session.attache
            for session in state.sessions.values()
            if session.attache is not None and session is not older
        ]
        if older is not None and older.attache is not None:
            older.attache.disconnect()
            older.link.close()
            if older is self:
                return  # The new attaché would share the link that has just been closed.
        self.attache = Attache(host, state.node_id, self.link.send_request, self._report)
        state.sessions[host.id] = self
        self._tasks.append(state.tasks.start(self._watch_pings(), name=f"pings of {host.name}"))
        try:
            await Connect(state, self.attache, others, self.link.own_address).run()
        except ConnectFailedError as error:
            self._report(rules.Finding("agent-lifecycle.md 5.2", error.message))
            self.disconnect(HostStatus.ALERT)
        except AgentGoneError:
            return
        finally:
            state.changed()

    async def _watch_pings(self) -> None:
        timeout_s = self._state.timing.ping_timeout_s
        try:
            while True:
                async with asyncio.timeout(timeout_s):
                    await self._pinged.wait()
                self._pinged.clear()
        except TimeoutError:
            self._report(rules.Finding(rules.REQUEST_RULE, f"no ping for {timeout_s:g} s"))
            self.disconnect(HostStatus.DISCONNECTED)
