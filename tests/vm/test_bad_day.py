# SPDX-License-Identifier: Apache-2.0
"""A bad day: everything around the guest breaks, one thing after the other, and it heals by itself.

After each scenario the host is Up, both stores list what they hold, and no object is lost or half
there (``tests.vm.lab.steps.all_is_well``). What takes its time is recorded as the seconds to heal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
from typing import Final

from ssvm_agent.simulator import commands
from ssvm_agent.simulator.authority import CertificateAuthority
from ssvm_agent.simulator.downloads import Download
from ssvm_agent.simulator.errors import DownloadFailedError
from ssvm_agent.simulator.model import HostStatus
from tests.vm.lab.boots import session_of, up_anew
from tests.vm.lab.guest import Guest
from tests.vm.lab.marks import scenarios
from tests.vm.lab.mixture import Mixture
from tests.vm.lab.network import GUESTS
from tests.vm.lab.report import Scenario
from tests.vm.lab.server_process import ServerProcess
from tests.vm.lab.steps import HEAL_S, all_is_well, answers, eventually
from tests.vm.lab.world import World

pytestmark = scenarios(timeout_s=1800)

_OUTAGE_S: Final = 60.0
_KILLS: Final = 50


async def outcome(download: Download, deadline_s: float = HEAL_S) -> str:
    """How a download ended: DOWNLOADED, or the reason given."""
    try:
        await download.result(deadline_s)
    except DownloadFailedError as error:
        return str(error)
    return "DOWNLOADED"


def finished(lab: World, download: Download, said: str) -> None:
    """A download that ended well left its object, one that did not left nothing."""
    store = lab.zone.stores.index(
        next(one for one in lab.zone.stores if one.url == download.command.fields["secUrl"])
    )
    if said == "DOWNLOADED":
        content = lab.images.root / download.image.url.rpartition("/")[2]
        lab.expect(store, download.last["installPath"], content)
    else:
        assert said.strip(), "a failure without a reason"
        del lab.zone.downloads[download.image.id]


async def test_there_is_something_to_lose(lab: World, guest: Guest, scenario: Scenario) -> None:
    await lab.bring_in("first", lab.images.qcow2(), image_id=301)
    await lab.bring_in("second", lab.images.qcow2(), image_id=302, store=1)
    await all_is_well(lab, scenario, "nothing broke yet")


async def test_an_nfs_server_dies_for_a_minute(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    """During a download and a list: the other store works, the link stays, no list is empty."""
    connections = lab.server.connections_accepted
    download = lab.register("slow", lab.images.large(16), slow=True, image_id=310)
    await lab.server.wait_until(lambda: download.percent > 10, 60)
    lab.stores[0].kill()
    scenario.note("NFS server of the first store killed")
    listing = asyncio.create_task(lab.server.ask(commands.list_template(lab.store(0))))
    end = asyncio.get_running_loop().time() + _OUTAGE_S
    # Programs of the machine still start, though a file of the dead store is open.
    await lab.ask(commands.vm_setup(lab.zone.allowed_sites, lab.zone.copy_password))
    scenario.note("the packet filter was asked")
    while asyncio.get_running_loop().time() < end:
        assert len(await lab.listed(1)) == 1
        await asyncio.sleep(5)
    assert lab.server.host().status is HostStatus.UP
    assert lab.server.connections_accepted == connections
    lab.stores[0].start()
    with scenario.healing("the store answers again"):
        await eventually(lambda: answers(lab, commands.list_template(lab.store(0))))
    said = await listing
    scenario.note(f"the list said {said.result} {said.details}")
    assert not said.result or "first" in said.fields["templateInfos"]
    ended = await outcome(download)
    scenario.note(f"the download ended: {ended}")
    finished(lab, download, ended)
    await all_is_well(lab, scenario, "everything")


async def test_the_management_server_is_killed_and_restarted(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    await lab.kill_server()
    scenario.note("killed")
    await asyncio.sleep(15)
    await lab.start_server()
    with scenario.healing("Up"):
        await lab.server.wait_until(lambda: lab.server.connections_accepted > 0, HEAL_S)
        await lab.up(HEAL_S)
    await all_is_well(lab, scenario, "everything")


async def test_the_management_server_freezes(lab: World, guest: Guest, scenario: Scenario) -> None:
    """It keeps its sockets open and says nothing, as a stopped process does."""
    accepted = lab.server.connections_accepted
    lab.server.faults.stall_handshake = True
    lab.server.session().link.freeze()
    await lab.server.wait_until(lambda: lab.server.connections_accepted > accepted, 120)
    scenario.note("the agent has noticed and tries anew")
    lab.server.faults.stall_handshake = False
    with scenario.healing("Up"):
        await eventually(lambda: up_again(lab, accepted))
    await all_is_well(lab, scenario, "everything")


async def test_a_management_server_is_killed_and_frozen_as_a_process(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    """SIGKILL and a start, SIGSTOP for a minute and SIGCONT; then the lab's server comes back."""
    await lab.kill_server()
    process = ServerProcess(lab.networks.management.host, [row.url for row in lab.zone.stores])
    await process.start()
    try:
        await eventually(process.healthy)
        await process.kill()
        scenario.note("killed")
        await process.start()
        with scenario.healing("Up after SIGKILL"):
            await eventually(process.healthy)
        process.freeze()
        scenario.note("frozen")
        await asyncio.sleep(60)
        process.thaw()
        with scenario.healing("Up after SIGSTOP"):
            await eventually(process.healthy)
        said = await process.order(do="violations")
        scenario.note(f"broken rules: {said}")
    finally:
        await process.kill()
    await lab.start_server()
    await all_is_well(lab, scenario, "everything")


async def up_again(lab: World, accepted: int) -> bool:
    return (
        lab.server.connections_accepted > accepted
        and lab.server.host().status is HostStatus.UP
        and (await lab.server.ask(commands.check_health())).result
    )


async def test_the_link_is_cut(lab: World, guest: Guest, scenario: Scenario) -> None:
    """Nothing passes between guest and management network, stores included, for half a minute."""
    lab.networks.management.disturb(cut=True)
    await asyncio.sleep(30)
    lab.networks.management.heal()
    with scenario.healing("Up and answering"):
        await eventually(lambda: up_again(lab, 0))
    await all_is_well(lab, scenario, "everything")


async def test_a_slow_and_lossy_network(lab: World, guest: Guest, scenario: Scenario) -> None:
    """200 ms there and as many back, 3 % of the frames lost: everything works, only slower."""
    accepted = lab.server.connections_accepted
    lab.networks.management.disturb(loss=0.03, delay_s=0.1)
    try:
        fields = await lab.bring_in("far", lab.images.qcow2(), image_id=320, deadline_s=300)
        scenario.note(f"downloaded to {fields['installPath']}")
        assert lab.server.connections_accepted == accepted
    finally:
        lab.networks.management.heal()
    await all_is_well(lab, scenario, "everything")


async def test_an_export_is_read_only(lab: World, guest: Guest, scenario: Scenario) -> None:
    lab.stores[1].restart(read_only=True)
    download = lab.register("refused", lab.images.iso(), store=1, image_id=330)
    said = await outcome(download)
    scenario.note(said)
    assert said != "DOWNLOADED"
    finished(lab, download, said)
    assert len(await lab.listed(1)) == 1
    lab.stores[1].restart()
    with scenario.healing("a download works"):

        async def works() -> bool:
            download = lab.register("allowed", lab.images.iso(), store=1, image_id=331)
            said = await outcome(download)
            scenario.note(said)
            finished(lab, download, said)
            return said == "DOWNLOADED"

        await eventually(works)
    await all_is_well(lab, scenario, "everything")


async def test_an_export_is_full(lab: World, guest: Guest, scenario: Scenario) -> None:
    """A download fails and says why, leaves nothing, and works when there is room again."""
    filler = lab.stores[1].directory / "lost+found"
    room = shutil.disk_usage(lab.stores[1].directory).free - (4 << 20)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room)
    try:
        download = lab.register("too-much", lab.images.large(16), store=1, image_id=335)
        said = await outcome(download)
        scenario.note(said)
        assert "bytes left" in said
        finished(lab, download, said)
        assert "second" in await lab.listed(1)
    finally:
        filler.unlink()
    with scenario.healing("a download works"):
        await lab.bring_in("enough", lab.images.large(16), store=1, image_id=336)
    await all_is_well(lab, scenario, "everything")


async def test_handles_are_stale_after_a_new_export(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    lab.stores[0].restart(stale=True)
    await all_is_well(lab, scenario, "everything")


async def test_garbage_at_every_open_port(lab: World, guest: Guest, scenario: Scenario) -> None:
    """2,000 connections that say something short and senseless."""
    address = lab.networks.public.address(GUESTS[0])
    listening = await lab.shell.must("ss -Hltn | awk '{print $4}'")
    ports = {int(line.rpartition(":")[2]) for line in listening.split()}
    scenario.note(f"listening in the guest: {sorted(ports)}")
    rng = random.Random(1)
    reached: dict[int, int] = {}
    limit = asyncio.Semaphore(40)

    async def poke(host: str, port: int) -> None:
        async with limit:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(3):
                    _, writer = await asyncio.open_connection(host, port)
                    reached[port] = reached.get(port, 0) + 1
                    writer.write(rng.randbytes(24))
                    writer.close()

    hosts = [address, lab.networks.management.address(GUESTS[0])]
    open_ports = []
    for host in hosts:
        for port in ports:
            before = reached.get(port, 0)
            await poke(host, port)
            if reached.get(port, 0) > before:
                open_ports.append((host, port))
    scenario.note(f"open: {open_ports}")
    each = 2000 // max(1, len(open_ports))
    async with asyncio.TaskGroup() as group:
        for host, port in open_ports * each:
            group.create_task(poke(host, port))
    scenario.measured["connections"] = sum(reached.values())
    assert sum(reached.values()) > 1500
    await all_is_well(lab, scenario, "everything")


async def test_the_clock_jumps_by_an_hour(lab: World, guest: Guest, scenario: Scenario) -> None:
    download = lab.register("timeless", lab.images.large(8), slow=True, image_id=340)
    await lab.server.wait_until(lambda: download.percent > 10, 60)
    for jump in ("+1 hour", "-2 hour", "+1 hour"):
        await lab.shell.must(f"date -s '{jump}'")
        await asyncio.sleep(2)
    said = await outcome(download)
    assert said == "DOWNLOADED"
    finished(lab, download, said)
    await all_is_well(lab, scenario, "everything")


async def test_the_disk_of_the_guest_is_full(lab: World, guest: Guest, scenario: Scenario) -> None:
    await lab.shell.must("fallocate -l $(($(df --output=avail -B1 / | tail -1))) /filled; true", 60)
    await lab.shell.run("dd if=/dev/zero of=/filled2 bs=4k 2>/dev/null; sync", 60)
    scenario.note(await lab.shell.must("df / | tail -1"))
    try:
        fields = await lab.bring_in("nospace", lab.images.template(), image_id=350)
        scenario.note(f"downloaded to {fields['installPath']}")
        accepted = lab.server.connections_accepted
        lab.server.disconnect()
        await eventually(lambda: up_again(lab, accepted))
    finally:
        await lab.shell.must("rm -f /filled /filled2")
    await all_is_well(lab, scenario, "everything")


async def test_the_agent_is_killed_fifty_times(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    """kill -9 at random moments of downloads, uploads and copies; everything asked for is done.

    What fails is asked for again, as a user does; what was done before the kill stays.
    """
    rng = random.Random(6)
    # How long the service manager waits is not what is tried here.
    await lab.shell.must(
        "mkdir -p /run/systemd/system/cloud.service.d && "
        "printf '[Service]\\nRestartSec=1\\n' > /run/systemd/system/cloud.service.d/lab.conf && "
        "systemctl daemon-reload"
    )
    work = Mixture(lab, scenario)
    async with asyncio.TaskGroup() as group:
        for number in range(_KILLS):
            if number % 3 == 0:
                group.create_task(work.do(rng.choice(work.kinds), 400 + number))
            await asyncio.sleep(rng.uniform(0.0, 8.0))
            accepted = lab.server.connections_accepted
            await lab.shell.must("systemctl kill -s KILL cloud.service")
            await lab.server.wait_until(lambda: lab.server.connections_accepted > accepted, HEAL_S)  # noqa: B023
    scenario.measured["kills"] = _KILLS
    scenario.measured |= work.done
    await lab.shell.must(
        "rm /run/systemd/system/cloud.service.d/lab.conf && systemctl daemon-reload"
    )
    await all_is_well(lab, scenario, "everything")


async def test_the_power_is_cut(lab: World, guest: Guest, scenario: Scenario) -> None:
    """During a download; the guest boots from the disk it had."""
    download = lab.register("powerless", lab.images.large(8), slow=True, image_id=360)
    await lab.server.wait_until(lambda: download.percent > 20, 60)
    before = session_of(lab.server)
    await guest.kill()
    lab.shell.forget()
    scenario.note("power cut")
    await guest.start()
    with scenario.healing("Up after the boot"):
        await up_anew(lab.server, before, HEAL_S)
    # sshd listens on an address the boot makes, Apache finds the pid file it left.
    failed = await lab.shell.must("systemctl --failed --no-legend --plain")
    assert not re.findall(r"(?:ssh|apache2|cloud[\w-]*)\.service", failed), failed
    said = await outcome(download)
    scenario.note(said)
    assert said == "DOWNLOADED"
    finished(lab, download, said)
    await all_is_well(lab, scenario, "everything")


async def test_a_server_with_another_certificate(
    lab: World, guest: Guest, scenario: Scenario
) -> None:
    """One that the pinned authority did not sign gets nothing; the right one is found again."""
    answer = await lab.server.provision_certificate()
    assert answer.result, answer.details
    await lab.kill_server()
    await lab.start_server(CertificateAuthority.create())
    await lab.server.wait_until(lambda: bool(lab.server.handshakes_failed), 120)
    await asyncio.sleep(10)
    assert not lab.server._state.sessions
    await lab.kill_server()
    await lab.start_server()
    with scenario.healing("Up at the right one"):
        await lab.server.wait_until(lambda: lab.server.connections_accepted > 0, HEAL_S)
        await lab.up(HEAL_S)
    await all_is_well(lab, scenario, "everything")
