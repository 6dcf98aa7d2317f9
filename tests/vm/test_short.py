# SPDX-License-Identifier: Apache-2.0
"""The short set, for every test run: a guest boots, goes Up, works, and survives its NFS server."""

from __future__ import annotations

import json

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.model import HostStatus
from tests.vm.lab.guest import Guest
from tests.vm.lab.marks import scenarios
from tests.vm.lab.report import Scenario
from tests.vm.lab.steps import all_is_well, answers, eventually
from tests.vm.lab.world import World

pytestmark = scenarios(timeout_s=900, short=True)


async def test_a_guest_boots_works_and_survives_its_nfs_server(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    """Boot, Up, download, list, ssvm-check, and an outage of one store."""
    await lab.bring_in("template", lab.images.template(), image_id=201)
    await lab.bring_in("other", lab.images.qcow2(), image_id=202, store=1)
    assert set(await lab.listed(0)) == {"template"}
    said = await lab.shell.run("ssvm-check --json", 300)
    report = json.loads(said.output)
    checks = {check["name"]: check for check in report["checks"]}
    needed = [checks[name] for name in ("agent", "storage", "management-servers")]
    assert not [check for check in needed if check["status"] == "error"]
    lab.stores[0].kill()
    answer = await lab.server.ask(commands.list_template(lab.store(1)))
    assert set(answer.fields["templateInfos"]) == {"other"}
    assert lab.server.host().status is HostStatus.UP
    lab.stores[0].start()
    with scenario.healing("the store answers again"):
        await eventually(lambda: answers(lab, commands.list_template(lab.store(0))))
    await all_is_well(lab, scenario, "everything")
