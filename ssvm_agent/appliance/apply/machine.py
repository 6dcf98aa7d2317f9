# SPDX-License-Identifier: Apache-2.0
"""One apply from its beginning to its report: phases in order, each thing on its own.

What fails is an item of the report, never an exception: the rest of the machine is still worth
having. Only the network belongs together; see :mod:`ssvm_agent.appliance.apply.network_step`.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.apply import record, services, wishes
from ssvm_agent.appliance.apply.accounts import Accounts
from ssvm_agent.appliance.apply.ifupdown import settle
from ssvm_agent.appliance.apply.keeper import Keeper
from ssvm_agent.appliance.apply.names import set_host_name
from ssvm_agent.appliance.apply.network_step import NetworkStep
from ssvm_agent.appliance.apply.reach import Server, servers_of
from ssvm_agent.appliance.apply.record import Record
from ssvm_agent.appliance.apply.report import ApplyReport, Items, Status
from ssvm_agent.appliance.apply.request import Phase, Request, Tools
from ssvm_agent.appliance.apply.rest import Rest
from ssvm_agent.appliance.apply.sshd import knows_old_keys
from ssvm_agent.appliance.apply.switches import set_switches
from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.appliance.plan.keys import is_for_secondary_storage

RECORD_PATH: Final = Path("var/lib/ssvm-agent/machine.json")
LOCK_PATH: Final = Path("run/ssvm-agent-apply.lock")
_SSHD_ITEM: Final = f"file {wishes.SSHD_CONFIG}"


class Apply:
    """Carries out one request."""

    def __init__(self, request: Request, tools: Tools) -> None:
        self._request = request
        self._tools = tools
        self._items = Items()
        self._oddities = [*request.oddities, *request.plan.oddities]
        self._rolled_back = ""
        self._management = ""

    async def run(self) -> ApplyReport:
        """Apply; what cannot be done is in the report."""
        if not is_for_secondary_storage(self._request.boot):
            kind = self._request.boot.get("type") or "no type"
            self._items.add(
                "boot text", Status.FAILED,
                f"it is for {kind!r}, not for secondary storage; nothing was changed",
            )  # fmt: skip
            return self._report()
        with ExitStack() as stack:
            try:
                if not self._request.dry_run:
                    lock = record.lock(self._tools.root / LOCK_PATH)
                    await self._tools.pool.call(stack.enter_context, lock)
            except (ApplianceError, OSError) as error:
                reason = error.message if isinstance(error, ApplianceError) else str(error)
                self._items.add("boot text", Status.FAILED, reason)
                return self._report()
            await self._phases(await self._keeper())
        return self._report()

    async def _phases(self, keeper: Keeper) -> None:
        phase = self._request.phase
        await keeper.note(result="applying")
        rest = Rest(self._request, self._tools, self._items, keeper)
        if phase.includes(Phase.EARLY):
            await rest.forget_last_boot()
            await self._early(keeper)
        if phase.includes(Phase.CONFIG):
            await rest.configure()
        if phase.includes(Phase.POST):
            await rest.start()
        report = self._report()
        result = "applied" if report.is_as_wanted else "incomplete"
        await keeper.note(result="rolled back" if self._rolled_back else result)

    async def _early(self, keeper: Keeper) -> None:
        request, tools = self._request, self._tools
        door = tools.network
        servers = servers_of(request.boot)
        before: frozenset[Server] = frozenset()
        if door is not None and not request.dry_run:
            before = await tools.probe(servers)
        step = NetworkStep(request, tools, self._items, keeper)
        old_keys = await self._old_keys()
        await step.write_files(wishes.early_files(request.plan, request.boot, old_keys=old_keys))
        if tools.is_whole_machine:
            await self._names_and_passwords(keeper)
        if door is None:
            self._items.add("running network", Status.SKIPPED, "files below another root only")
            return
        await step.close_filter()
        self._items.add_all(
            await tools.pool.call(set_switches, tools.proc, dry_run=request.dry_run)
        )
        self._rolled_back = await step.change(door, careful=bool(before))
        self._oddities.extend(step.notes)
        if tools.is_whole_machine and not request.dry_run:
            if not self._rolled_back:
                self._items.add_all(await settle(request.plan, tools.runner, tools.pool))
            self._items.add_all(await services.bring_up(("ssh",), tools.runner, dry_run=False))
            await self._restart_sshd()
        if not request.dry_run and not self._rolled_back:
            await self._look_for_servers(step, servers, before)

    async def _look_for_servers(
        self, step: NetworkStep, servers: tuple[Server, ...], before: frozenset[Server]
    ) -> None:
        """The way to the management servers, and back when it was lost."""
        named = ", ".join(map(str, servers)) or "none is named"
        if not before:
            # Nothing to go back to; the agent goes on trying, and says where it fails.
            reached = await self._tools.probe(servers)
            found = "reachable" if reached else "not reachable yet, and was not before"
            self._management = f"management servers ({named}): {found}"
            return
        if not step.changed_anything or await step.is_reachable(servers):
            self._management = f"management servers ({named}): reachable"
            return
        reason = f"no management server ({named}) could be reached any more"
        self._rolled_back = await step.take_back(self._tools.network, reason)
        if self._tools.is_whole_machine:
            await self._restart_sshd()
        again = "reachable again" if await step.is_reachable(tuple(before)) else "still unreachable"
        self._management = f"{', '.join(map(str, sorted(before)))}: {again} after the restore"

    async def _names_and_passwords(self, keeper: Keeper) -> None:
        request, tools = self._request, self._tools
        if request.plan.hostname:
            self._items.add_all([await set_host_name(request.plan.hostname, tools, request)])
        remembered = dict(keeper.last.passwords)
        if keeper.last.text_sha256 != request.text_sha256:
            remembered.pop("root", None)
        accounts = Accounts(runner=tools.runner, pool=tools.pool, remembered=remembered)
        password = request.boot.get("vmpassword")
        if password is not None:
            self._items.add_all([await accounts.set_root(password, dry_run=request.dry_run)])
        closed = await accounts.close_cloud(dry_run=request.dry_run)
        self._items.add_all([closed] if closed is not None else [])
        await keeper.note(passwords=accounts.remembered)

    async def _old_keys(self) -> bool:
        if not self._tools.is_whole_machine:
            return True
        return await knows_old_keys(self._tools.runner)

    async def _restart_sshd(self) -> None:
        changed = any(
            item.name == _SSHD_ITEM and item.status in {Status.CHANGED, Status.RESTORED}
            for item in self._items
        )
        if changed:
            self._items.add_all([await services.restart("ssh", self._tools.runner)])

    async def _keeper(self) -> Keeper:
        request, tools = self._request, self._tools
        path = tools.root / RECORD_PATH
        last = await tools.pool.call(record.read, path)
        current = Record(
            boot_id=tools.identity.boot_id,
            plan_sha256=request.plan_sha256,
            text_sha256=request.text_sha256,
            phase=request.phase.value,
            passwords=last.passwords,
            user_data_ran_in=last.user_data_ran_in,
        )
        return Keeper(
            path=path, pool=tools.pool, items=self._items, last=last, current=current,
            dry_run=request.dry_run,
        )  # fmt: skip

    def _report(self) -> ApplyReport:
        return ApplyReport(
            phase=self._request.phase.value,
            plan_sha256=self._request.plan_sha256,
            dry_run=self._request.dry_run,
            items=tuple(self._items),
            rolled_back=self._rolled_back,
            management=self._management,
            oddities=tuple(dict.fromkeys(self._oddities)),
        )
