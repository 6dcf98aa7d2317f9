# SPDX-License-Identifier: Apache-2.0
"""The network part of an apply: files, packet filter and running network, kept or taken back.

Theory of operation: every change made here is remembered with what it replaced. There are two
reasons to go back.

*The kernel refuses a change.* The changes of that pass are undone by netlink. If a management
server could be reached before, the network that worked is worth more than the one that was asked
for: everything is taken back. If none could be reached - a boot - there is nothing to go back to:
the refused item is left out and the pass is made again without it, so that one bad route does not
cost the way in.

*No management server can be reached afterwards, although one could before.* Everything is taken
back, the packet filter included.

A pass is repeated until nothing is left to change, since the kernel drops routes by itself when
addresses go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ssvm_agent.appliance.apply import filtering
from ssvm_agent.appliance.apply.changes import Change, NetworkState, Owned
from ssvm_agent.appliance.apply.files import Files, FileWish, Saved
from ssvm_agent.appliance.apply.keeper import Keeper
from ssvm_agent.appliance.apply.netlink import ChangeError, NetworkDoor
from ssvm_agent.appliance.apply.network import Decision, decide
from ssvm_agent.appliance.apply.reach import Server
from ssvm_agent.appliance.apply.report import Items, Status
from ssvm_agent.appliance.apply.request import Request, Tools
from ssvm_agent.errors import AgentError

# Switches learn where an address is, neighbours answer, duplicate detection ends.
_SETTLE_S: Final = 15.0
_POLL_S: Final = 1.0
_PASSES: Final = 4


class NetworkStep:
    """One run of the network part."""

    def __init__(self, request: Request, tools: Tools, items: Items, keeper: Keeper) -> None:
        self._request = request
        self._tools = tools
        self._items = items
        self._keeper = keeper
        self._files = Files(tools.root)
        self._saved: list[Saved] = []
        self._filters: list[filtering.FilterChange] = []
        self._made: list[Change] = []
        self._texts: dict[str, list[str]] = {}
        self._before: NetworkState | None = None
        self.notes: list[str] = []

    @property
    def changed_anything(self) -> bool:
        """Whether something could be taken back."""
        return bool(self._saved or self._filters or self._made)

    async def write_files(self, wishes: Iterable[FileWish]) -> None:
        """Write declared files; those of the network are remembered."""
        for wish in wishes:
            item, saved = await self._tools.pool.call(
                self._files.apply, wish, dry_run=self._request.dry_run
            )
            self._items.add_all([item])
            if saved is not None and wish.is_network:
                self._saved.append(saved)

    async def close_filter(self) -> None:
        """Put the base packet filter in; a failure does not keep the network from coming up."""
        rule_sets = ((4, self._request.plan.firewall), (6, self._request.plan.firewall6))
        for version, rules in rule_sets:
            name = f"packet filter IPv{version}"
            try:
                change = await filtering.compare(rules, version, self._tools.runner)
                if change is None:
                    self._items.add(name, Status.UNCHANGED)
                elif self._request.dry_run:
                    self._items.add(name, Status.WOULD_CHANGE, change.text)
                else:
                    await filtering.make(change, self._tools.runner)
                    self._filters.append(change)
                    self._items.add(name, Status.CHANGED, change.text)
            except AgentError as error:
                self._items.add(name, Status.FAILED, error.for_operators())

    async def change(self, door: NetworkDoor, *, careful: bool) -> str:
        """Bring the running network to what the plan wants.

        Args:
            door: To the kernel.
            careful: There is a working network to go back to.

        Returns:
            Why everything was taken back; empty when it was not.
        """
        without: set[str] = set()
        passes = 0
        while True:
            decision = await self._decide(door, without)
            if self._request.dry_run:
                return ""
            if not decision.changes:
                await self._keeper.own(decision.owned)
                return ""
            if passes == _PASSES:
                for change in decision.changes:
                    reason = "something else on this machine changes it back"
                    self._items.add(change.item, Status.FAILED, reason)
                return ""
            await self._keeper.own(_both(self._keeper.owned, decision.owned))
            try:
                await self._tools.pool.call(door.make, decision.changes)
            except ChangeError as error:
                self._items.add(error.item, Status.FAILED, error.for_operators())
                if careful or not error.is_restored or error.item in without:
                    return await self.take_back(door, f"{error.item}: {error.message}")
                without.add(error.item)
                continue
            passes += 1
            self._note_made(decision)

    async def _decide(self, door: NetworkDoor, without: set[str]) -> Decision:
        state = await self._tools.pool.call(door.read)
        self._before = self._before or state
        decision = decide(self._request.plan, state, self._keeper.owned, without=without)
        self._note(decision)
        return decision

    def _note_made(self, decision: Decision) -> None:
        self._made.extend(decision.changes)
        for one in decision.changes:
            self._texts.setdefault(one.item, []).append(one.text)
        for name, texts in self._texts.items():
            self._items.add(name, Status.CHANGED, ", ".join(dict.fromkeys(texts)))

    async def is_reachable(self, servers: Sequence[Server]) -> bool:
        """Whether one of the servers can be reached, within the time a network needs to settle."""
        end = self._tools.clock.monotonic() + _SETTLE_S
        while True:
            if await self._tools.probe(servers):
                return True
            if self._tools.clock.monotonic() >= end:
                return False
            await self._tools.clock.sleep(_POLL_S)

    async def take_back(self, door: NetworkDoor | None, reason: str) -> str:
        """Restore the network as it was; returns the reason, and what could not be restored."""
        left: list[str] = []
        if door is not None and self._before is not None and self._made:
            left += await self._tools.pool.call(door.undo, self._made, self._before)
        for change in reversed(self._filters):
            try:
                await filtering.undo(change, self._tools.runner)
            except AgentError as error:
                left.append(f"packet filter IPv{change.version}: {error.message}")
        for saved in reversed(self._saved):
            problem = await self._tools.pool.call(self._files.restore, saved)
            left += [problem] if problem else []
        names = [
            *(change.item for change in self._made),
            *(f"packet filter IPv{change.version}" for change in self._filters),
            *(saved.item for saved in self._saved),
        ]
        self._items.take_back(names, reason)
        await self._keeper.own(self._keeper.owned_at_start)
        if left:
            return f"{reason}; not everything could be restored: {'; '.join(left)}"
        return reason

    def _note(self, decision: Decision) -> None:
        changing = {change.item for change in decision.changes}
        for name in decision.present:
            if name not in self._texts:
                self._items.add(name, Status.UNCHANGED)
        for name, reason in decision.left_alone.items():
            self._items.add(name, Status.SKIPPED, reason)
        for name, reason in decision.impossible.items():
            if name not in changing:
                self._items.add(name, Status.FAILED, reason)
        if self._request.dry_run:
            for name in dict.fromkeys(change.item for change in decision.changes):
                texts = [change.text for change in decision.changes if change.item == name]
                self._items.add(name, Status.WOULD_CHANGE, ", ".join(texts))
        self.notes.extend(note for note in decision.notes if note not in self.notes)


def _both(one: Owned, two: Owned) -> Owned:
    return Owned(addresses=one.addresses | two.addresses, routes=one.routes | two.routes)
