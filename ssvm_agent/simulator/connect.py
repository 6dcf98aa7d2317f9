# SPDX-License-Identifier: Apache-2.0
"""From StartupAnswer to Up: what the server asks of an agent that has just connected.

The steps and their order are agent-lifecycle.md 2.5 d to l. The attaché carries the messages; what
a failed step leads to (Alert, the link closed) is up to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ssvm_agent.simulator import commands, rules
from ssvm_agent.simulator.attache import Attache
from ssvm_agent.simulator.errors import AgentGoneError, AnswerTimeoutError, ConnectFailedError
from ssvm_agent.simulator.model import Fields, HostStatus, ImageStore, Message
from ssvm_agent.simulator.state import ServerState


class Connect:
    """One connect run.

    Args:
        state: The zone to tell the agent of, and the waits.
        attache: The agent.
        others: Attachés of the other agents, whose firewalls must let this one in.
        own_address: Where the agent reached this server.
    """

    def __init__(
        self, state: ServerState, attache: Attache, others: Sequence[Attache], own_address: str
    ) -> None:
        self._state = state
        self._zone = state.zone
        self._timing = state.timing
        self._attache = attache
        self._others = others
        self._own_address = own_address

    async def run(self) -> None:
        """All steps; the host is Up afterwards.

        Raises:
            ConnectFailedError: An answer threw in a listener, or Ready was not answered well.
            AgentGoneError: The link ended.
        """
        if self._zone.sets_up(self._attache.host):
            for store in self._zone.stores:
                await self._set_up_store(store)
            await self._open_firewalls()
            await self._easily(self._vm_setup())
        await self._synchronise()
        await self._ready()

    async def _easily(self, message: Message, attache: Attache | None = None) -> Message | None:
        """Ask, and take no answer for an answer."""
        try:
            answers = await (attache or self._attache).send(
                [message], wait_s=self._timing.command_wait_s
            )
        except AnswerTimeoutError:
            return None
        return answers[0] if answers else None

    async def _set_up_store(self, store: ImageStore) -> None:
        message = commands.sec_storage_setup(store, self._zone.upload_key)
        answer = await self._easily(message)
        if answer is None:
            return
        if rules.breaks_the_connect(message, answer):
            raise ConnectFailedError(
                f"java.lang.ClassCastException: {answer.class_name} in a connect listener"
            )
        if answer.result:
            store.parent = str(answer.fields.get("_dir", ""))

    async def _open_firewalls(self) -> None:
        """Let the others in, and us in with the others; the second waits for the first."""
        ours = str(self._attache.host.startup.get("publicIpAddress") or "")
        theirs = []
        for other in self._others:
            theirs.append(str(other.host.startup.get("publicIpAddress") or ""))
            if ours and not await self._tell(other, commands.firewall([ours], append=True)):
                return
        await self._easily(commands.firewall([one for one in theirs if one], append=False))

    async def _tell(self, other: Attache, message: Message) -> bool:
        try:
            answer = await self._easily(message, other)
        except AgentGoneError:
            return False
        return answer is not None and answer.result

    def _vm_setup(self) -> Message:
        return commands.vm_setup(self._zone.allowed_sites, self._zone.copy_password)

    async def _synchronise(self) -> None:
        """Read both lists of each store; a list that failed says nothing about anything."""
        listed: dict[str, Fields] = {}
        complete = True
        for store in self._zone.stores:
            ask: tuple[Callable[[ImageStore], Message], ...]
            ask = (commands.list_volume, commands.list_template)
            for build in ask:
                answer = await self._easily(build(store))
                entries = answer.fields.get("templateInfos") if answer else None
                if answer is None or not answer.result or not isinstance(entries, dict):
                    complete = False
                else:
                    listed |= entries
        if complete:
            self._state.synchronise(listed)

    async def _ready(self) -> None:
        host = self._attache.host
        wait_s = self._timing.ready_wait_s
        try:
            first = await self._attache.send(
                [commands.ready(host, wait=round(wait_s))], wait_s=wait_s
            )
        except AnswerTimeoutError as error:
            raise ConnectFailedError("Ready was not answered in time.") from error
        if not (first and first[0].result):
            raise ConnectFailedError("Ready was answered with false.")
        self._state.become(host, HostStatus.UP)
        zone = self._zone
        servers = zone.servers or (self._own_address,)
        await self._easily(
            commands.ready_with_servers(
                host, servers, zone.avoid, zone.algorithm, zone.check_interval_s
            )
        )
