# SPDX-License-Identifier: Apache-2.0
"""Two zones, a guest and a management server each: one copies from the other's public side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.errors import DownloadFailedError
from ssvm_agent.simulator.model import HostStatus
from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.zone import Zone
from tests.vm.lab.boot_line import boot_line
from tests.vm.lab.curl import curl
from tests.vm.lab.guest import Guest
from tests.vm.lab.image import Image
from tests.vm.lab.marks import scenarios
from tests.vm.lab.network import GUESTS, add_address
from tests.vm.lab.objects import transfer_object
from tests.vm.lab.report import Scenario
from tests.vm.lab.shell import Shell
from tests.vm.lab.world import PORT, TIMING, UP_S, World

pytestmark = scenarios(timeout_s=900)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(lab: World, guest: Guest, guest_image: Image) -> AsyncIterator[ManagementServer]:
    """The management server of a second zone, whose guest is Up; the second store is its own."""
    row = lab.zone.stores.pop()
    address = add_address(lab.networks.management, 4)
    zone = Zone(stores=[row], servers=(address,))
    shell = Shell(lab.networks.control.address(GUESTS[1]), lab.folder / "ssh2")
    async with (
        ManagementServer(zone=zone, timing=TIMING, host=address, port=PORT) as server,
        Guest(
            guest_image,
            lab.folder / "guest2",
            boot_line=boot_line(
                lab.networks, shell.authorized_key, guest=GUESTS[1], name="s-2-VM", servers=address
            ),
            nics=lab.networks.nics(GUESTS[1]),
        ),
    ):
        await server.wait_for_status(HostStatus.UP, deadline_s=UP_S)
        yield server


def copy_url(lab: World, path: str) -> str:
    """Where the other zone finds an object of the first store."""
    public = lab.networks.public.address(GUESTS[0])
    return f"http://{public}/copy/SecStorage/{lab.store(0).parent}/{path}"


async def test_a_template_is_there_to_copy(
    lab: World, guest: Guest, other: ManagementServer, scenario: Scenario
) -> None:
    await lab.bring_in("template", lab.images.qcow2(), image_id=501)
    assert other.host().name == "s-2-VM"
    assert lab.server.violations == other.violations == []


async def test_nobody_copies_before_it_is_allowed(
    lab: World, other: ManagementServer, scenario: Scenario
) -> None:
    """Neither the other zone's system VM nor anybody else on the public network."""
    (path,) = lab.expected[0]
    with pytest.raises(AssertionError):
        await curl(copy_url(lab, path))
    refused = other.register(name="early", url=copy_url(lab, path), image_id=502)
    with pytest.raises(DownloadFailedError) as said:
        await refused.result(90)
    scenario.note(str(said.value))
    assert "403" in str(said.value)
    del other.zone.downloads[502]


async def test_the_other_zone_copies_a_template(
    lab: World, other: ManagementServer, scenario: Scenario
) -> None:
    (path,) = lab.expected[0]
    neighbour = lab.networks.public.address(GUESTS[1])
    await lab.ask(commands.firewall([neighbour], append=True))
    image = lab.images.qcow2()
    fields = await other.register(
        name="template", url=copy_url(lab, path), image_id=503, checksum=image.checksum
    ).result(120)
    lab.expect(1, fields["installPath"], image.path)
    with pytest.raises(AssertionError):
        await curl(copy_url(lab, path))


async def test_the_other_zone_copies_a_snapshot(
    lab: World, other: ManagementServer, scenario: Scenario
) -> None:
    """The first zone names the files of the snapshot, the other fetches them."""
    path = "snapshots/2/44/snap-44"
    place = lab.path(0, path)
    place.parent.mkdir(parents=True)
    place.write_bytes(lab.images.qcow2().path.read_bytes())
    lab.expect(0, path, place)
    (snapshot,) = transfer_object(lab, "Snapshot", 0, path, id=44, hypervisorType="KVM").values()
    answer = await lab.ask(
        commands.command(f"{commands.STORAGE}QuerySnapshotZoneCopyCommand", snapshot=snapshot)
    )
    url = "\n".join(copy_url(lab, file) for file in answer.fields["files"])
    fields = await other.register(
        name="snap-44", url=url, kind="SNAPSHOT", image_id=44, install_path=str(Path(path).parent)
    ).result(120)
    scenario.note(f"{answer.fields['files']} became {fields['installPath']}")
    lab.expect(1, fields["installPath"], place)


async def test_nobody_copies_when_it_is_no_longer_allowed(
    lab: World, other: ManagementServer, scenario: Scenario
) -> None:
    path = next(path for path in lab.expected[0] if path.startswith("template/"))
    await lab.ask(commands.firewall([], append=False))
    refused = other.register(name="late", url=copy_url(lab, path), image_id=504)
    with pytest.raises(DownloadFailedError, match="403"):
        await refused.result(90)
    lab.check_trees()
    assert lab.server.violations == other.violations == []
