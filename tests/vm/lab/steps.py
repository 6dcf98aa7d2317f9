# SPDX-License-Identifier: Apache-2.0
"""Steps that scenarios share: waiting until something works again, looking whether all is well."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.errors import SimulatorError
from ssvm_agent.simulator.model import Message, Violation
from tests.vm.lab.report import Scenario
from tests.vm.lab.world import World

HEAL_S: Final = 240.0
"""How long anything may take to come back in an emulated guest."""


async def eventually(
    attempt: Callable[[], Awaitable[bool]], deadline_s: float = HEAL_S, pause_s: float = 1.0
) -> None:
    """Try until it succeeds."""
    async with asyncio.timeout(deadline_s):
        while True:
            with contextlib.suppress(SimulatorError):
                if await attempt():
                    return
            await asyncio.sleep(pause_s)


async def answers(lab: World, message: Message) -> bool:
    """Whether the answer to a command is true."""
    return (await lab.server.ask(message)).result


async def all_is_well(lab: World, scenario: Scenario, what: str) -> None:
    """Up, both stores listed in full, nothing lost, nothing half there."""
    with scenario.healing(what):
        await lab.up(HEAL_S)
        for row in lab.zone.stores:
            await eventually(partial(answers, lab, commands.list_template(row)))
    for store in (0, 1):
        listed = {entry["installPath"] for entry in (await lab.listed(store)).values()}
        must = {path for path in lab.expected[store] if path.startswith("template/")}
        assert listed == must, f"store {store}: {listed - must} too many, {must - listed} missing"
    lab.check_trees()
    assert broken_rules(lab) == []


def broken_rules(lab: World) -> list[Violation]:
    """What the agent did wrong; that it cannot be heard while the network is broken is not."""
    return [one for one in lab.server.violations if not one.text.startswith("no ping for")]
