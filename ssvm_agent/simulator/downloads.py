# SPDX-License-Identifier: Apache-2.0
"""The server's watch over one download, from DownloadCommand to PURGE.

The rules are those of storage-commands.md 4.4: ask every ten seconds, drop answers with another
job id, ask once more after thirty quiet seconds, give up after fifty, purge what is downloaded.
Which agent is asked is the caller's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ssvm_agent.host.tasks import BackgroundTasks, TaskHandle
from ssvm_agent.simulator import commands
from ssvm_agent.simulator.errors import DownloadFailedError, NoAgentError, SimulatorError
from ssvm_agent.simulator.model import Fields, ImageStore, Message
from ssvm_agent.simulator.timing import Timing

DOWNLOADED = "DOWNLOADED"
_FAILED = frozenset({"DOWNLOAD_ERROR", "UNKNOWN", "ABANDONED"})
_PROGRESS = commands.STORAGE_API + "DownloadAnswer"


class Asking(Protocol):
    """Sends one command to an agent; what an attaché can do."""

    async def __call__(self, message: Message) -> Message:
        """The agent's answer.

        Raises:
            NoAgentError: Nobody is there to ask.
            SimulatorError: No answer came.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What to download and as what (storage-commands.md 4.1).

    Attributes:
        kind: TEMPLATE (ISOs too), VOLUME or SNAPSHOT.
        name: Unique name.
        extra: Further fields of the command: ``auth``, ``_proxy``, ``followRedirects``…
    """

    id: int
    name: str
    url: str
    format: str | None = "QCOW2"
    kind: str = "TEMPLATE"
    account_id: int = 2
    checksum: str | None = None
    description: str = ""
    hvm: bool = True
    max_size_bytes: int | None = None
    install_path: str | None = None
    extra: Fields | None = None

    def directory(self) -> str:
        """Where it goes below the store."""
        if self.install_path is not None:
            return self.install_path
        top = {"TEMPLATE": "template/tmpl", "VOLUME": "volumes", "SNAPSHOT": "snapshots"}[self.kind]
        return f"{top}/{self.account_id}/{self.id}"

    def command(self, store: ImageStore) -> Message:
        """The DownloadCommand for it."""
        return commands.command(
            commands.DOWNLOAD,
            url=self.url,
            format=self.format,
            accountId=self.account_id,
            name=self.name,
            secUrl=store.url,
            hvm=self.hvm,
            description=self.description or self.name,
            checksum=self.checksum,
            maxDownloadSizeInBytes=self.max_size_bytes,
            id=self.id,
            resourceType=self.kind,
            installPath=self.directory(),
            _store=store.transfer_object(),
            **{"followRedirects": False, **(self.extra or {})},
        )


class Download:
    """One download as the server sees it.

    Attributes:
        image: What is downloaded.
        status: As in the last accepted answer; ``NOT_STARTED`` before the first.
        last: Fields of the last accepted answer.
        job_id: The agent's, once known.
        dropped_answers: Answers not taken because of their job id.
        purge_answer: Fields of the answer to PURGE.
        watcher: The task that runs it, for whoever starts it anew.
    """

    def __init__(
        self,
        image: Image,
        store: ImageStore,
        timing: Timing,
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self.image = image
        self.command = image.command(store)
        self.status = "NOT_STARTED"
        self.last: Fields = {}
        self.job_id: str | None = None
        self.dropped_answers = 0
        self.purge_answer: Fields | None = None
        self.error = ""
        self.watcher: TaskHandle | None = None
        self._timing = timing
        self._notify = notify
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue()
        self._ended = asyncio.Event()

    @property
    def list_key(self) -> str | None:
        """Under what key the agent lists it when done; None for what no list shows."""
        return {"TEMPLATE": self.image.name, "VOLUME": str(self.image.id)}.get(self.image.kind)

    @property
    def percent(self) -> int:
        """Of the last accepted answer."""
        return int(self.last.get("downloadPct") or 0)

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or badly."""
        return self._ended.is_set()

    async def result(self, deadline_s: float | None = None) -> Fields:
        """Wait for the end: the fields of the DOWNLOADED answer.

        Raises:
            DownloadFailedError: It ended in an error, with the agent's text.
            TimeoutError: It did not end within the deadline.
        """
        async with asyncio.timeout(deadline_s):
            await self._ended.wait()
        if self.status != DOWNLOADED:
            raise DownloadFailedError(self.error)
        return self.last

    async def run(self, ask: Asking) -> None:
        """See it through to its end; call again to start it anew."""
        self._ended.clear()
        self.status, self.error, self.job_id = "NOT_STARTED", "", None
        self._answers = asyncio.Queue()
        async with BackgroundTasks() as tasks:
            self._ask(tasks, ask, self.command)
            while not await self._step(tasks, ask):
                pass
        self._ended.set()
        self._notify()

    def found(self, entry: Fields) -> None:
        """An agent lists the image: it is downloaded, whoever saw to that.

        Args:
            entry: The image in the agent's list (storage-commands.md 1.3).
        """
        if self.status == DOWNLOADED:
            return
        self.status, self.error = DOWNLOADED, ""
        self.last = {
            "downloadStatus": DOWNLOADED,
            "downloadPct": 100,
            "installPath": entry.get("installPath"),
            "templateSize": entry.get("size"),
            "templatePhySicalSize": entry.get("physicalSize"),
        }
        self._ended.set()
        self._notify()

    async def abort(self, ask: Asking) -> Message:
        """Send ABORT and return the answer; the next accepted answer ends it."""
        return await ask(commands.progress(self.command, "ABORT", self.job_id or ""))

    async def _step(self, tasks: BackgroundTasks, ask: Asking) -> bool:
        """One accepted answer and what follows from it; whether that was the end."""
        if not await self._await_answer(tasks, ask):
            return self._fail("Timeout waiting for response from storage host")
        if self.status == DOWNLOADED:
            await asyncio.sleep(self._timing.purge_delay_s)
            await self._purge(ask)
            return True
        if self.status in _FAILED:
            return self._fail(str(self.last.get("errorString") or "no reason given"))
        await asyncio.sleep(self._timing.download_poll_s)
        self._ask(tasks, ask, self._question("GET_STATUS"))
        return False

    async def _await_answer(self, tasks: BackgroundTasks, ask: Asking) -> bool:
        """Wait for an answer that is accepted; False when none came in time."""
        loop = asyncio.get_running_loop()
        quiet = loop.time() + self._timing.download_quiet_s
        end = loop.time() + self._timing.download_timeout_s
        asked_again = False
        while loop.time() < end:
            try:
                async with asyncio.timeout_at(end if asked_again else quiet):
                    answer = await self._answers.get()
            except TimeoutError:
                if not asked_again:
                    asked_again = True
                    self._ask(tasks, ask, self._question("GET_STATUS"))
                continue
            if answer is None:
                self.status = "ABANDONED"
                self.last = {"errorString": "Storage agent or storage VM disconnected"}
                return True
            if self._accept(answer):
                return True
        return False

    def _accept(self, answer: Message) -> bool:
        if answer.class_name != _PROGRESS:
            return False
        job_id = answer.fields.get("jobId")
        if self.job_id is None:
            self.job_id = job_id
        elif str(job_id).lower() != self.job_id.lower():
            self.dropped_answers += 1
            return False
        self.last = answer.fields
        self.status = str(answer.fields.get("downloadStatus"))
        self._notify()
        return True

    async def _purge(self, ask: Asking) -> None:
        try:
            answer = await ask(self._question("PURGE"))
        except SimulatorError:
            return  # The image is there; the job is forgotten with the agent's memory.
        self.purge_answer = answer.fields

    def _question(self, request: str) -> Message:
        return commands.progress(self.command, request, self.job_id or "")

    def _ask(self, tasks: BackgroundTasks, ask: Asking, message: Message) -> None:
        async def put() -> None:
            try:
                self._answers.put_nowait(await ask(message))
            except NoAgentError:
                self._answers.put_nowait(None)
            except SimulatorError:
                pass  # The question is lost with its link; the quiet time brings the next one.

        tasks.start(put(), name=f"ask about {self.image.name}")

    def _fail(self, text: str) -> bool:
        self.status, self.error = "DOWNLOAD_ERROR", text
        return True
