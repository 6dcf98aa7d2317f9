# SPDX-License-Identifier: Apache-2.0
"""The order of an installation: look, fetch, place, update the database, clean up.

Theory of operation: everything that can be known is checked before anything is written. The
template then comes in through the same pipeline as every image, in one pass, into a work directory
of the first store; further stores get a verified copy. Only when it is complete everywhere it is
moved into place, and only when it is in place the database is told. If that fails, the moves are
undone (docs/adr/0070-template-installer.md).
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import PurePosixPath
from typing import Any, Final, TypeVar

from ssvm_agent.errors import AgentError
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.errors import PoolError
from ssvm_agent.ingest import pipeline
from ssvm_agent.ingest.progress import Progress
from ssvm_agent.ingest.source import Source
from ssvm_agent.ingest.spec import IngestSpec, Installed
from ssvm_agent.masking import mask_url
from ssvm_agent.storage.copier import Copier
from ssvm_agent.storage.errors import StorageError
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.sysvmtemplate import properties
from ssvm_agent.sysvmtemplate.access import resolve
from ssvm_agent.sysvmtemplate.database import TemplateRow, TemplateTable
from ssvm_agent.sysvmtemplate.equipment import Equipment
from ssvm_agent.sysvmtemplate.errors import DatabaseFailedError, NoTemplateRowError
from ssvm_agent.sysvmtemplate.listener import Listener
from ssvm_agent.sysvmtemplate.look import Look, look_at
from ssvm_agent.sysvmtemplate.placement import Plan, complete
from ssvm_agent.sysvmtemplate.request import Request
from ssvm_agent.sysvmtemplate.result import Result
from ssvm_agent.sysvmtemplate.sites import Site, check_mounts, open_store
from ssvm_agent.sysvmtemplate.workspace import FILE_MODE, Workspace

T = TypeVar("T")

# A moment to log in, to look and to wait for the lock of a row.
_DATABASE_DEADLINE_S: Final = 90.0
# The column has no room for more.
_MAX_URL_CHARS: Final = 255
_SYSTEM: Final = "SYSTEM"


class Installer:
    """One installation.

    Args:
        request: What is asked for.
        equipment: What to work with.
        listener: Told what is going on.
        clock: Time.
    """

    def __init__(
        self, request: Request, equipment: Equipment, listener: Listener, *, clock: Clock
    ) -> None:
        self._request = request
        self._equipment = equipment
        self._listener = listener
        self._clock = clock
        self._source: Source = equipment.source
        self._table: TemplateTable | None = None
        self._sites: tuple[Site, ...] = ()

    async def run(self) -> Result:
        """Install, or only look.

        Raises:
            AgentError: What was wrong; a note on it tells the state that is left. Unless that note
                says otherwise, stores and database are as they were before.
        """
        async with AsyncExitStack() as stack:
            stores = tuple(open_store(mount) for mount in self._request.mounts)
            for store in stores:
                stack.callback(store.close)
            for remark in await check_mounts(stores):
                self._listener.warn(remark)
            look = await self._look()
            row = await self._find_row()
            self._sites = tuple(Site(store, Workspace(store.root, row.id)) for store in stores)
            try:
                return await self._install(row, look)
            finally:
                await self._leave()

    async def _look(self) -> Look:
        """What can be known of the source before it is fetched."""
        request = self._request
        if request.file is not None:
            return await self._equipment.local.call(look_at, request.file, request.image_format)
        return Look(size_bytes=await self._source.measure() or 0)

    async def _find_row(self) -> TemplateRow:
        """The template in the database; without one, what the command line says."""
        request = self._request
        if request.database is None:
            assert request.template_id is not None
            return TemplateRow(id=request.template_id, name="", uuid="", type="", hypervisor="")
        table = TemplateTable(await self._equipment.local.call(resolve, request.database))
        self._table = table
        if request.template_id is None:
            row = await self._ask(table.newest, request.hypervisor)
        else:
            row = await self._ask(table.row, request.template_id)
            self._judge(row)
        await self._ask(table.check_update, row.id)
        return row

    def _judge(self, row: TemplateRow) -> None:
        wanted = self._request.hypervisor.database_word
        if row.hypervisor.lower() != wanted.lower():
            raise NoTemplateRowError(
                f"Template {row.id} ({row.name}) is for {row.hypervisor or 'no hypervisor'} and not"
                f" for {wanted}. Check -t and -h."
            )
        if row.type != _SYSTEM:
            self._listener.warn(
                f"template {row.id} ({row.name}) is of type {row.type}: system VMs are made of"
                f" {_SYSTEM} templates only"
            )

    async def _install(self, row: TemplateRow, look: Look) -> Result:
        request = self._request
        least_bytes = look.least_bytes(request.image_format)
        for site in self._sites:
            if not request.dry_run:
                await site.take()
                self._tell(await site.put_right(row.uuid if self._table else None))
            elif await site.is_interrupted():
                self._listener.warn(
                    f"an installation was interrupted on {site.mount}; the next one that is no dry"
                    " run puts it right first"
                )
            await site.examine(force=request.force)
            site.check_space(least_bytes)
            if look.virtual_size_bytes and site.free_bytes < look.virtual_size_bytes:
                self._listener.warn(
                    f"{site.mount} has less free space than the disk in the template is large;"
                    " it may not be enough"
                )
        if request.dry_run:
            return self._result(row, dry_run=True)
        new_uuid = str(uuid.uuid4())
        installed = await self._fetch(row.id)
        plan = await self._complete(row.id, new_uuid, installed)
        url = self._recorded_url()
        with self._listener.uninterrupted():
            await self._place(row.id, plan, url)
        return self._result(
            row,
            uuid=new_uuid,
            file_name=f"{new_uuid}.{request.image_format.extension}",
            size_bytes=installed.physical_size_bytes,
            virtual_size_bytes=installed.virtual_size_bytes,
            checksum=installed.checksum_text,
            database_updated=plan.database,
        )

    async def _fetch(self, template_id: int) -> Installed:
        """Bring the template into the work directory of the first store, in one pass."""
        first, request = self._sites[0], self._request
        await first.store.run(first.workspace.make, what=f"prepare {first.mount}")
        self._listener.say(f"Installing {self._source.describe()} for {request.hypervisor.word}")
        progress = Progress()
        spec = IngestSpec(
            job_id=f"systemvm-{template_id}",
            kind=ImageKind.TEMPLATE,
            store=first.store,
            directory=first.workspace.new_relative,
            name=properties.unique_name(template_id),
            image_id=template_id,
            account_id=1,
            image_format=request.image_format,
            source=self._source,
            checksum=request.checksum,
        )
        async with self._listener.watch(progress):
            return await pipeline.run(spec, progress, self._equipment.tools)

    async def _complete(self, template_id: int, new_uuid: str, installed: Installed) -> Plan:
        """Finish the template in the work directories of all stores."""
        first, *others = self._sites
        extension = self._request.image_format.extension
        file_name = f"{new_uuid}.{extension}"
        names = await first.store.run(
            complete, first.workspace,
            received=PurePosixPath(installed.install_path).name,
            file_name=file_name,
            properties=properties.render(
                template_id=template_id, file_name=file_name,
                image_format=self._request.image_format,
                size_bytes=installed.physical_size_bytes,
                virtual_size_bytes=installed.virtual_size_bytes,
            ),
            what=f"complete the template on {first.mount}",
        )  # fmt: skip
        for other in others:
            self._listener.say(f"Copying it to {other.mount}")
            await self._copy(first, other, names)
        return Plan(uuid=new_uuid, names=names, database=self._table is not None)

    async def _copy(self, source: Site, target: Site, names: tuple[str, ...]) -> None:
        await target.store.run(target.workspace.make, what=f"prepare {target.mount}")
        async with Copier(target.workspace.new_relative, clock=self._clock) as copier:
            for name in names:
                path = target.workspace.new / name
                # Never left to the kernel, so that every byte is compared (requirements R33).
                await copier.copy(source.workspace.new / name, path, _accept, in_kernel=False)
                await copier.call(path.chmod, FILE_MODE)

    async def _place(self, template_id: int, plan: Plan, url: str) -> None:
        """Move the template into place everywhere and tell the database, or nothing of it."""
        try:
            for site in self._sites:
                await site.place(plan)
            if self._table is not None:
                await self._update(self._table, template_id, plan.uuid, url)
        except AgentError as error:
            await self._take_back(error, plan.uuid)
            raise
        for site in self._sites:
            site.keep_work = False

    async def _update(self, table: TemplateTable, template_id: int, uuid: str, url: str) -> None:
        try:
            await self._ask(table.update, template_id, uuid=uuid, url=url)
        except DatabaseFailedError as error:
            if not error.maybe_done:
                raise
            # The connection broke while the server was committing: it alone knows.
            with contextlib.suppress(DatabaseFailedError):
                if (await self._ask(table.row, template_id)).uuid == uuid:
                    return
                error.maybe_done = False
            raise

    async def _take_back(self, error: AgentError, new_uuid: str) -> None:
        """Undo the moves; the error gets notes about what is there now."""
        for site in self._sites:
            if not site.keep_work:
                continue
            try:
                await site.undo()
            except StorageError as failure:
                error.add_note(
                    f"The files on {site.mount} could not be put back: {failure.for_operators()}."
                    " Run the command again: it puts that right before anything else."
                )
            else:
                state = "the old template is in place" if site.occupants else "it has no template"
                error.add_note(f"{site.mount} is as it was before: {state}.")
        if isinstance(error, DatabaseFailedError) and error.maybe_done:
            error.add_note(
                f"Whether the database has the new uuid {new_uuid} is not known; that does no harm,"
                " and another installation sets it anew."
            )
        elif self._table is not None:
            error.add_note("The database has not been changed.")

    async def _leave(self) -> None:
        """Remove the work directories and locks; what cannot be removed now, the next run does."""
        for site in self._sites:
            try:
                await site.leave()
            except StorageError as error:
                self._listener.warn(
                    f"{error.for_operators()}; the next installation removes what is left"
                )

    async def _ask(self, statement: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Ask the database, with a deadline."""
        try:
            return await self._equipment.local.call(
                statement, *args, deadline_s=_DATABASE_DEADLINE_S, **kwargs
            )
        except PoolError as error:
            raise DatabaseFailedError(
                "The database does not answer. Check that it runs, and the network to it.",
                detail=error.message,
                maybe_done=True,
            ) from error

    def _recorded_url(self) -> str:
        """What the database will have as the URL of the template.

        Compat: boot-and-system.md 6.1: empty for a local file.
        """
        url = self._request.url or ""
        if len(url) <= _MAX_URL_CHARS:
            return url
        self._listener.warn("the URL is too long for the database, which gets none")
        return ""

    def _tell(self, text: str) -> None:
        if text:
            self._listener.say(text)

    def _result(self, row: TemplateRow, **facts: Any) -> Result:
        return Result(
            template_id=row.id,
            template_name=row.name,
            hypervisor=self._request.hypervisor.database_word,
            extension=self._request.image_format.extension,
            source=str(self._request.file or mask_url(self._request.url or "")),
            stores=tuple(site.result() for site in self._sites),
            **facts,
        )


def _accept(_descriptor: int) -> None:
    """The copy was compared with its original, which had been inspected."""
