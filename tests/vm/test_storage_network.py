# SPDX-License-Identifier: Apache-2.0
"""A zone with a storage network: a fourth NIC, over which the stores are reached."""

from __future__ import annotations

import asyncio
from functools import partial

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.model import HostStatus
from tests.vm.lab.guest import Guest
from tests.vm.lab.marks import scenarios
from tests.vm.lab.network import GUESTS
from tests.vm.lab.report import Scenario
from tests.vm.lab.steps import all_is_well, answers, eventually
from tests.vm.lab.world import World

STORAGE_NETWORK = True

pytestmark = scenarios(timeout_s=900)


async def test_the_stores_are_reached_over_the_storage_network(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    storage = lab.networks.storage
    assert storage is not None
    addresses = await lab.shell.must("ip -o -4 address show dev eth3")
    assert f"{storage.address(GUESTS[0])}/24" in addresses
    for server in lab.stores:
        way = await lab.shell.must(f"ip route get {server.address}")
        assert "dev eth3" in way, way
    mounts = await lab.shell.must("grep SecStorage /proc/mounts")
    scenario.note(mounts)
    assert all(f",addr={server.address} " in mounts for server in lab.stores)
    await lab.bring_in("template", lab.images.template(), image_id=601)
    await lab.bring_in("other", lab.images.qcow2(), image_id=602, store=1)
    await all_is_well(lab, scenario, "nothing broke yet")


async def test_the_storage_network_is_cut(lab: World, guest: Guest, scenario: Scenario) -> None:
    """Both stores are gone for half a minute; the link, on another network, stays Up."""
    storage = lab.networks.storage
    assert storage is not None
    connections = lab.server.connections_accepted
    storage.disturb(cut=True)
    answer = await lab.server.ask(commands.list_template(lab.store(0)))
    scenario.note(f"the list said {answer.result} {answer.details}")
    # A list that leaves out what is there makes the server forget it.
    assert not answer.result or "template" in answer.fields["templateInfos"]
    await asyncio.sleep(30)
    assert lab.server.host().status is HostStatus.UP
    assert lab.server.connections_accepted == connections
    storage.heal()
    with scenario.healing("both stores answer again"):
        for row in lab.zone.stores:
            await eventually(partial(answers, lab, commands.list_template(row)))
    await all_is_well(lab, scenario, "everything")
