# SPDX-License-Identifier: Apache-2.0
"""The later phases of a boot: time, service lists, user data, services, the marker of a done boot.

Everything here is on its own; nothing is taken back when something fails.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Final

from ssvm_agent.appliance.apply import services, wishes
from ssvm_agent.appliance.apply.disk import grow_root
from ssvm_agent.appliance.apply.files import Files
from ssvm_agent.appliance.apply.keeper import Keeper
from ssvm_agent.appliance.apply.report import Item, Items, Status
from ssvm_agent.appliance.apply.request import Request, Tools
from ssvm_agent.errors import AgentError
from ssvm_agent.host.files import atomic_write

# Compat: boot-and-system.md 2.9, get_template_version.sh waits for it.
BOOT_DONE: Final = PurePosixPath("/var/cache/cloud/boot_up_done")
_CLOUD_INIT_STAGES: Final = (
    ("init", "--local"), ("init",), ("modules", "--mode=config"), ("modules", "--mode=final"),
)  # fmt: skip
_CLOUD_INIT_DEADLINE_S: Final = 300.0


class Rest:
    """The later phases."""

    def __init__(self, request: Request, tools: Tools, items: Items, keeper: Keeper) -> None:
        self._request = request
        self._tools = tools
        self._items = items
        self._keeper = keeper

    @property
    def _acts(self) -> bool:
        return self._tools.is_whole_machine and not self._request.dry_run

    async def forget_last_boot(self) -> None:
        """The marker of an earlier boot must not stand when somebody asks for this one's."""
        if self._acts:
            await self._tools.pool.call(self._remove_old_marker)

    async def configure(self) -> None:
        """Files of the second phase, and the root file system."""
        files = Files(self._tools.root)
        for wish in wishes.config_files(self._request.plan, self._request.boot):
            item, _ = await self._tools.pool.call(files.apply, wish, dry_run=self._request.dry_run)
            self._items.add_all([item])
        if self._acts:
            self._items.add_all([await grow_root(self._tools.runner, self._tools.pool)])
            if self._was_changed(*wishes.NTP_FILES):
                self._items.add_all([await services.restart("ntp", self._tools.runner)])

    async def start(self) -> None:
        """Services, user data, and the word that the boot is done."""
        if not self._tools.is_whole_machine:
            self._items.add("services", Status.SKIPPED, "files below another root only")
            return
        plan, runner, dry_run = self._request.plan, self._tools.runner, self._request.dry_run
        self._items.add_all(
            [
                *await services.bring_down(plan.services_disabled, runner, dry_run=dry_run),
                *await services.bring_up(("ntp", *plan.services_enabled), runner, dry_run=dry_run),
            ]
        )
        if not dry_run:
            await self._run_user_data()
            self._items.add_all([await self._tools.pool.call(self._mark_done)])

    async def _run_user_data(self) -> None:
        value = self._request.boot.get("userdata")
        if value is None:
            return
        item = "user data"
        run = f"{self._tools.identity.boot_id}:{hashlib.sha256(value.encode()).hexdigest()}"
        if self._keeper.last.user_data_ran_in == run:
            self._items.add(item, Status.UNCHANGED)
            return
        if any(one.name == f"file {wishes.USER_DATA}" and one.status is Status.FAILED
               for one in self._items):  # fmt: skip
            self._items.add(item, Status.FAILED, "it could not be unpacked")
            return
        try:
            for stage in _CLOUD_INIT_STAGES:
                await self._tools.runner.run(
                    ["cloud-init", *stage], deadline_s=_CLOUD_INIT_DEADLINE_S
                )
        except AgentError as error:
            self._items.add(item, Status.FAILED, error.message)
            return
        self._items.add(item, Status.CHANGED, "carried out by cloud-init")
        await self._keeper.note(user_data_ran_in=run)

    def _was_changed(self, *paths: PurePosixPath) -> bool:
        names = {f"file {path}" for path in paths}
        return any(one.name in names and one.status is Status.CHANGED for one in self._items)

    def _marker(self) -> Path:
        return self._tools.root / BOOT_DONE.relative_to("/")

    def _is_of_this_boot(self, marker: Path) -> bool:
        try:
            return marker.stat().st_mtime >= self._tools.identity.started_at
        except OSError:
            return False

    def _remove_old_marker(self) -> None:
        marker = self._marker()
        if marker.exists() and not self._is_of_this_boot(marker):
            marker.unlink(missing_ok=True)

    def _mark_done(self) -> Item:
        marker, item = self._marker(), "marker of a done boot"
        if self._is_of_this_boot(marker):
            return Item(name=item, status=Status.UNCHANGED)
        try:
            marker.parent.mkdir(parents=True, exist_ok=True)
            text = self._tools.clock.now().strftime("%a %b %e %H:%M:%S UTC %Y\n")
            atomic_write(marker, text.encode())
        except OSError as error:
            return Item(name=item, status=Status.FAILED, reason=error.strerror or str(error))
        return Item(name=item, status=Status.CHANGED)
