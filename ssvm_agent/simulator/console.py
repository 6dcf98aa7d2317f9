# SPDX-License-Identifier: Apache-2.0
"""``ssvm-sim serve`` as lines: JSON orders in, JSON results and events out.

An order is ``{"command": CLASS, "fields": {…}}``, which goes to an agent as it is, or ``{"do": …}``
for something the server itself does; ``id`` is repeated in the result. What happens by itself (a
host changes its status, a download moves on, a rule is broken) comes out as events. Reading stdin
and writing stdout are handed in. Orders from people run side by side; those of a scenario
(:mod:`ssvm_agent.simulator.script`) one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ssvm_agent.errors import AgentError
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.messages.catalogue import CATALOGUE
from ssvm_agent.simulator import commands
from ssvm_agent.simulator.downloads import Download
from ssvm_agent.simulator.form_page import FormSite
from ssvm_agent.simulator.orders import (
    Doing,
    Order,
    OrderError,
    Result,
    chosen_store,
    particulars,
)
from ssvm_agent.simulator.public_orders import PublicOrders
from ssvm_agent.simulator.script import Script
from ssvm_agent.simulator.server import ManagementServer

_FULL_NAMES: Final = {row.class_name.rpartition(".")[2]: row.class_name for row in CATALOGUE}


class Console:
    """Carries out orders and tells what happens.

    Args:
        server: A running server.
        write: Takes one line of output without its end.
        script: Fills orders in and checks their results; with it they wait for each other.
        forms: Gets a page for every upload that is ordered.
    """

    def __init__(
        self,
        server: ManagementServer,
        write: Callable[[str], None],
        script: Script | None = None,
        forms: FormSite | None = None,
    ) -> None:
        self._server = server
        self._write = write
        self._script = script
        self._told_violations = 0
        self._told: dict[str, object] = {}
        self._doings: dict[str, Doing] = {
            "hosts": self._hosts,
            "list": self._list,
            "register": self._register,
            "wait": self._wait,
            "certificate": self._certificate,
            "disconnect": self._disconnect,
            "faults": self._faults,
            "violations": self._violations,
            **PublicOrders(server, forms).doings,
        }

    async def serve(self, read_line: Callable[[], Awaitable[str]]) -> None:
        """Carry out orders until the input ends and the last of them is done."""
        self._event("listening", port=self._server.port)
        async with BackgroundTasks() as watching, BackgroundTasks() as orders:
            watching.start(self._watch(), name="tell what happens")
            while line := await read_line():
                if not line.strip():
                    continue
                order = orders.start(self._line(line), name="order")
                if self._script is not None:
                    await order.wait()
            await orders.drain(self._server.timing.command_wait_s)
            self._tell_changes()

    async def _line(self, line: str) -> None:
        order: Order = {}
        try:
            order = _parse(line)
            if self._script is not None:
                self._script.define(self._words())
                order = self._script.filled(order)
            result = await self._carry_out(order)
        except AgentError as error:
            result = {"error": error.message}
        except TimeoutError:
            result = {"error": "It did not happen in time."}
        if self._script is not None and (surprises := self._script.take(order, result)):
            result |= {"order": order, "surprises": surprises}
        self._put({"id": order["id"]} | result if "id" in order else result)

    def _words(self) -> dict[str, Any]:
        """What every scenario can name: the stores, the first one without its number."""
        words: dict[str, Any] = {}
        for number, store in enumerate(self._server.zone.stores):
            own = {"store": store.transfer_object(), "url": store.url, "parent": store.parent}
            words |= {f"{name}{number or ''}": value for name, value in own.items()}
        return words

    async def _carry_out(self, order: Order) -> Result:
        if "command" in order:
            return await self._send(order)
        doing = self._doings.get(str(order.get("do")))
        if doing is None:
            known = ", ".join(self._doings)
            raise OrderError(f'An order has "command" or "do"; what can be done: {known}.')
        return await doing(order)

    async def _send(self, order: Order) -> Result:
        name = str(order["command"])
        fields = order.get("fields", {})
        if not isinstance(fields, dict):
            raise OrderError('"fields" is an object.')
        message = commands.command(_FULL_NAMES.get(name, name), **fields)
        answers = await self._server.send(message, host=order.get("host"))
        return {"answers": [answer.element() for answer in answers]}

    # --- what the server does itself -------------------------------------------------------------

    async def _hosts(self, _order: Order) -> Result:
        hosts = self._server.zone.hosts.values()
        return {
            "hosts": [
                {"id": host.id, "name": host.name, "guid": host.guid, "status": host.status}
                for host in hosts
            ]
        }

    async def _list(self, order: Order) -> Result:
        """Both lists of one store."""
        store = chosen_store(order, self._server.zone.stores)
        found: Result = {}
        for kind, build in (
            ("templates", commands.list_template),
            ("volumes", commands.list_volume),
        ):
            answer = await self._server.ask(build(store), host=order.get("host"))
            if not answer.result:
                raise OrderError(answer.details or "The list failed.")
            found[kind] = answer.fields.get("templateInfos", {})
        return found

    async def _register(self, order: Order) -> Result:
        """Register an image; with ``"wait": true`` the result comes when it is downloaded."""
        try:
            download = self._server.register(**particulars(order))
        except TypeError as error:
            raise OrderError(f"An image cannot be registered so: {error}.") from error
        if order.get("wait"):
            return {"download": await download.result()}
        return {"image": download.image.id, "directory": download.image.directory()}

    async def _wait(self, order: Order) -> Result:
        """Wait for a host to be Up."""
        host = await self._server.wait_for_status(
            name=order.get("host"), deadline_s=float(order.get("seconds", 60))
        )
        return {"name": host.name, "status": host.status}

    async def _certificate(self, order: Order) -> Result:
        answer = await self._server.provision_certificate(
            order.get("host"), reconnect=bool(order.get("reconnect"))
        )
        return {"answers": [answer.element()]}

    async def _disconnect(self, order: Order) -> Result:
        self._server.disconnect(order.get("host"))
        return {"done": True}

    async def _faults(self, order: Order) -> Result:
        """Switch misbehaviour: every further key is one."""
        for name, value in particulars(order).items():
            if not hasattr(self._server.faults, name):
                raise OrderError(f"No fault is called {name}.")
            setattr(self._server.faults, name, value)
        return {"done": True}

    async def _violations(self, _order: Order) -> Result:
        return {"violations": [str(one) for one in self._server.violations]}

    # --- what happens by itself ------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await self._server.next_change()
            self._tell_changes()

    def _tell_changes(self) -> None:
        for host in self._server.zone.hosts.values():
            if self._is_news(f"host {host.id}", host.status):
                self._event("host", name=host.name, host_id=host.id, status=host.status)
        for download in self._server.zone.downloads.values():
            self._tell_download(download)
        for violation in self._server.violations[self._told_violations :]:
            self._event(
                "violation", agent=violation.agent, text=violation.text, rule=violation.rule
            )
        self._told_violations = len(self._server.violations)

    def _tell_download(self, download: Download) -> None:
        state = (download.status, download.percent)
        if self._is_news(f"download {download.image.id}", state):
            self._event(
                "download",
                image=download.image.id,
                name=download.image.name,
                status=download.status,
                percent=download.percent,
                error=download.error,
            )

    def _is_news(self, key: str, value: object) -> bool:
        if self._told.get(key) == value:
            return False
        self._told[key] = value
        return True

    def _event(self, event: str, /, **fields: object) -> None:
        self._put({"event": event} | fields)

    def _put(self, line: Result) -> None:
        self._write(json.dumps(line, ensure_ascii=False))


def _parse(line: str) -> Order:
    try:
        order = json.loads(line)
    except ValueError as error:
        raise OrderError(f"A line is one JSON object: {error}.") from error
    if not isinstance(order, dict):
        raise OrderError("A line is one JSON object.")
    return order
