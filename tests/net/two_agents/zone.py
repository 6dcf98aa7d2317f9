# SPDX-License-Identifier: Apache-2.0
"""Two agents on two stores, and the orders a management server gives them.

An order to an agent that dies is repeated when it is back, as the server's own jobs do.
"""

from __future__ import annotations

import asyncio
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.downloads import Image
from ssvm_agent.simulator.errors import SimulatorError
from ssvm_agent.simulator.model import HostStatus, Message
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.storage.layout import parse_temporary
from tests.fakes.machine import until
from tests.fixtures.agents import AgentProcess, RunAgent
from tests.net.two_agents.model import TEMPLATE, Blob, Item, Model, Stand, Status

NAMES = ("s-1-VM", "s-2-VM")
_SNAPSHOT = "org.apache.cloudstack.storage.to.SnapshotObjectTO"
_VOLUME = "org.apache.cloudstack.storage.to.VolumeObjectTO"
_BACK_S = 30.0


@dataclass(slots=True)
class Sites:
    """Where images are fetched: base URLs."""

    fast: str
    slow: str


@dataclass(slots=True)
class Zone:
    """The whole set-up.

    Attributes:
        kills: How often each agent was killed, by name.
        done: How many orders of each sort were carried out.
        resting: Whether all orders are done.
    """

    server: ManagementServer
    run_agent: RunAgent
    folder: Path
    model: Model
    sites: Sites
    rng: random.Random
    agents: dict[str, AgentProcess] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    done: dict[str, int] = field(default_factory=dict)
    resting: bool = False

    # --- agents ----------------------------------------------------------------------------------

    async def start(self, name: str) -> None:
        """Start an agent, again in the folder of its earlier life."""
        self.agents[name] = await self.run_agent(
            self.server, self.folder / name, name=name, guid=name
        )
        await self.server.wait_for_status(HostStatus.UP, name=name, deadline_s=_BACK_S)

    async def end(self, name: str, how: signal.Signals) -> None:
        """End an agent, and wait until the server has noticed."""
        self.kills[name] += 1
        self.model.killed.add(name)
        await self.agents[name].stop(how)
        await self.server.wait_until(lambda: self.server.host(name).status is not HostStatus.UP)

    def any_agent(self) -> str:
        """One of the two."""
        return self.rng.choice(NAMES)

    async def ask(self, agent: str, message: Message) -> Message:
        """An answer, however often the agent dies meanwhile."""
        while True:
            try:
                return await self.server.ask(message, host=agent)
            except SimulatorError:
                await self.server.wait_for_status(HostStatus.UP, name=agent, deadline_s=_BACK_S)

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def _store(self, store: int) -> dict[str, Any]:
        return self.server.zone.stores[store].transfer_object()

    # --- downloads -------------------------------------------------------------------------------

    async def download(self, item: Item, store: int, blob: Blob, *, slow: bool = False) -> None:
        """Bring an image in; sometimes somebody else tries to delete it meanwhile."""
        agent, stand = self.any_agent(), item.stands[store]
        command = self._download(item, store, blob, slow=slow)
        stand.become(Status.COMING, blob)
        async with asyncio.TaskGroup() as group:
            if slow:
                group.create_task(self._meddle(agent, item, store))
            fields = await self._follow(agent, command)
        assert fields["downloadStatus"] == "DOWNLOADED", fields
        assert fields["checkSum"] == blob.checksum
        stand.become(Status.PRESENT, blob, fields["installPath"])
        self.model.check_item(item, store)
        self._count("slow downloads" if slow else "downloads")

    async def download_in_vain(self, item: Item, store: int, blob: Blob) -> None:
        """A download that has to fail, and to leave nothing."""
        agent, stand = self.any_agent(), item.stands[store]
        stand.become(Status.DOOMED)
        wrong: dict[str, Any] = self.rng.choice(
            [{"checksum": "{SHA-256}" + "0" * 64}, {"format": "QCOW2"}, {"max_size_bytes": 1000}]
        )
        fields = await self._follow(agent, self._download(item, store, blob, **wrong))
        assert fields["downloadStatus"] == "DOWNLOAD_ERROR", fields
        assert fields["errorString"].strip()
        stand.become(Status.ABSENT)
        self.model.check_item(item, store)
        self._count("failed downloads")

    async def download_and_abort(self, item: Item, store: int, blob: Blob) -> None:
        """A slow download that is stopped on its way."""
        agent, stand = self.any_agent(), item.stands[store]
        stand.become(Status.DOOMED)
        command = self._download(item, store, blob, slow=True)
        first = await self.ask(agent, command)
        job = str(first.fields["jobId"])
        answer = await self.ask(agent, commands.progress(command, "ABORT", job))
        assert answer.fields["downloadStatus"] in ("NOT_DOWNLOADED", "DOWNLOAD_ERROR")
        await self._until_gone(item, store)
        self._count("aborted downloads")

    def _download(
        self, item: Item, store: int, blob: Blob, *, slow: bool = False, **more: Any
    ) -> Message:
        site = self.sites.slow if slow else self.sites.fast
        options: dict[str, Any] = {"format": "RAW", "checksum": blob.checksum, **more}
        image = Image(
            id=item.id, name=item.name, url=f"{site}/{blob.name}", kind=item.kind,
            account_id=item.account, **options,
        )  # fmt: skip
        return image.command(self.server.zone.stores[store])

    async def _follow(self, agent: str, command: Message) -> dict[str, Any]:
        """Ask until it has ended; a job that a killed agent had not yet on record begins anew."""
        answer = await self.ask(agent, command)
        while True:
            status = answer.fields["downloadStatus"]
            if status == "DOWNLOAD_ERROR" and answer.details == "Cannot find job":
                answer = await self.ask(agent, command)
                continue
            if status in ("DOWNLOADED", "DOWNLOAD_ERROR"):
                break
            await asyncio.sleep(0.05)
            job = str(answer.fields["jobId"])
            answer = await self.ask(agent, commands.progress(command, "GET_STATUS", job))
        await self.ask(
            agent, commands.progress(command, "PURGE", str(answer.fields.get("jobId") or ""))
        )
        return answer.fields

    async def _meddle(self, writer: str, item: Item, store: int) -> None:
        """The other agent is told to delete what is being written: it must not."""
        kills, stand = self.kills[writer], item.stands[store]
        await until(lambda: self._is_writing(writer, item, store) or not self._is_coming(stand))
        other = NAMES[1 - NAMES.index(writer)]
        if self.kills[writer] != kills or not self._is_writing(writer, item, store):
            return
        try:
            # Not repeated: by then the download may have ended, and the deletion would be right.
            message = self._delete(item, store, item.directory)
            answer = await self.server.ask(message, host=other)
        except SimulatorError:
            return
        if self.kills[writer] == kills:
            assert not answer.result
            assert f"is being written by {writer}" in answer.details
            self._count("refused deletions")

    def _is_writing(self, writer: str, item: Item, store: int) -> bool:
        """Whether an agent is in the first half of a download."""
        stand, place = item.stands[store], self.model.roots[store] / item.directory
        if not (self._is_coming(stand) and stand.blob and place.is_dir()):
            return False
        sizes = [
            path.stat().st_size
            for path in place.glob("dnld.*.tmp_")
            if (found := parse_temporary(path.name)) and found.owner == writer
        ]
        return bool(sizes) and sizes[0] < len(stand.blob.plain) / 2

    @staticmethod
    def _is_coming(stand: Stand) -> bool:
        return stand.status is Status.COMING

    # --- everything else -------------------------------------------------------------------------

    def _delete(self, item: Item, store: int, path: str) -> Message:
        data = item.transfer_object(self._store(store), path)
        return commands.command(f"{commands.STORAGE}DeleteCommand", data=data)

    async def delete(self, item: Item, store: int) -> None:
        """Delete an item, by whichever agent."""
        stand = item.stands[store]
        path = self.rng.choice([stand.path, item.directory])
        stand.become(Status.GOING, stand.blob)
        message = self._delete(item, store, path)
        answer = await self.ask(self.any_agent(), message)
        if not answer.result:
            # What a killed copy left beside the image looks like work of its agent, for a while.
            (writer,) = [name for name in self.model.killed if f"by {name};" in answer.details]
            answer = await self.ask(writer, message)
        assert answer.result, answer.details
        stand.become(Status.ABSENT)
        self.model.check_item(item, store)
        self._count("deletions")

    async def migrate(self, item: Item, source: int) -> None:
        """Copy an item to the other store, then delete it where it was."""
        target = 1 - source
        blob, path = item.stands[source].blob, item.stands[source].path
        item.stands[target].become(Status.COMING, blob)
        command = commands.command(
            f"{commands.STORAGE}CopyCommand",
            srcTO=item.transfer_object(self._store(source), path),
            destTO=item.transfer_object(self._store(target), item.directory),
        )
        answer = await self.ask(self.any_agent(), command)
        assert answer.result, answer.details
        (data,) = answer.fields["newData"].values()
        item.stands[target].become(Status.PRESENT, blob, data["path"])
        self.model.check_item(item, target)
        self.model.check_item(item, source)
        self._count("copies")
        await self.delete(item, source)

    async def template_of_snapshot(self, item: Item, store: int, blob: Blob) -> None:
        """A host writes a snapshot, a template is made of it, the snapshot is deleted."""
        path = f"snapshots/{item.account}/{item.id}/snap-{item.id}"
        place = self.model.roots[store] / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(blob.plain)
        snapshot = {
            _SNAPSHOT: {
                "path": path, "hypervisorType": "KVM", "dataStore": self._store(store),
                "volume": {"format": "RAW"}, "id": item.id,
            }
        }  # fmt: skip
        stand = item.stands[store]
        stand.become(Status.COMING, blob)
        command = commands.command(
            f"{commands.STORAGE}CopyCommand",
            srcTO=snapshot,
            destTO=item.transfer_object(self._store(store), item.directory),
        )
        answer = await self.ask(self.any_agent(), command)
        assert answer.result, answer.details
        (data,) = answer.fields["newData"].values()
        stand.become(Status.PRESENT, blob, data["path"])
        self.model.check_item(item, store)
        delete = commands.command(f"{commands.STORAGE}DeleteCommand", data=snapshot)
        answer = await self.ask(self.any_agent(), delete)
        assert answer.result, answer.details
        assert not place.exists()
        self._count("templates of snapshots")

    async def checksum(self, item: Item, store: int) -> None:
        """The content as an agent reads it."""
        stand = item.stands[store]
        command = commands.command(
            f"{commands.API}ComputeChecksumCommand",
            store=self._store(store), templatePath=stand.path, algorithm="SHA-256",
        )  # fmt: skip
        answer = await self.ask(self.any_agent(), command)
        assert answer.result, answer.details
        assert stand.blob is not None
        assert answer.details == stand.blob.checksum
        self._count("checksums")

    async def move(self, item: Item, store: int) -> None:
        """Give a volume to another account."""
        stand = item.stands[store]
        blob, source = stand.blob, item.directory
        file_name = stand.path.rpartition("/")[2]
        stand.become(Status.COMING, blob)
        item.account = 5 - item.account
        command = commands.command(
            f"{commands.STORAGE}MoveVolumeCommand",
            srcPath=source, destPath=item.directory, volumeName=item.name,
            datastoreUri=self.server.zone.stores[store].url,
        )  # fmt: skip
        agent = self.any_agent()
        kills = self.kills[agent]
        answer = await self.ask(agent, command)
        if self.kills[agent] == kills:
            # Not repeatable: one that was carried out before its agent died fails the next time.
            assert answer.result, answer.details
        assert not (self.model.roots[store] / source).exists()
        stand.become(Status.PRESENT, blob, f"{item.directory}/{file_name}")
        self.model.check_item(item, store)
        self._count("moves")

    async def list_all(self, agent: str, store: int, kind: str) -> None:
        """A list of one agent while everybody is at work."""
        build = commands.list_template if kind == TEMPLATE else commands.list_volume
        before = self.model.snapshot(store, kind)
        try:
            answer = await self.server.ask(build(self.server.zone.stores[store]), host=agent)
        except SimulatorError:
            await self.server.wait_for_status(HostStatus.UP, name=agent, deadline_s=_BACK_S)
            return
        assert answer.result, answer.details
        listed = answer.fields.get("templateInfos", {})
        self.model.check_list(store, kind, before, listed)
        self._count("lists")

    async def _until_gone(self, item: Item, store: int) -> None:
        """An abort that came before the agent died leaves its files to the sweep."""

        def is_gone() -> bool:
            return not (self.model.roots[store] / item.directory / item.marker).exists()

        await until(is_gone)
        item.stands[store].become(Status.ABSENT)
        self.model.check_item(item, store)
