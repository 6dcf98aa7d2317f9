# SPDX-License-Identifier: Apache-2.0
"""The boot text finds its way into a real guest by every channel a KVM host has.

The kernel command line is what all other scenarios boot with; here are the others, and what happens
when none brings anything.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from ssvm_agent.simulator.server import ManagementServer
from ssvm_agent.simulator.session import Session
from ssvm_agent.simulator.zone import Zone
from tests.vm.lab import channels
from tests.vm.lab.boot_line import boot_line
from tests.vm.lab.boots import session_of, up_anew
from tests.vm.lab.evidence import note_evidence
from tests.vm.lab.guest import Guest
from tests.vm.lab.image import Image
from tests.vm.lab.network import GUESTS, Networks, networks
from tests.vm.lab.report import Scenario
from tests.vm.lab.shell import Shell
from tests.vm.lab.world import PORT, TIMING, UP_S

pytestmark = [
    pytest.mark.vm,
    pytest.mark.needs_root,
    pytest.mark.needs("qemu-system-x86_64", "qemu-img"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]

_UNITS: Final = ("cloud-preinit", "cloud-early-config", "cloud-postinit", "cloud")


@dataclass(slots=True)
class Site:
    """Where guests boot: networks and a management server, one guest after the other."""

    folder: Path
    networks: Networks
    server: ManagementServer
    image: Image
    shell: Shell
    _of_last_boot: Session | None = None

    def line(self, name: str, more: str = "") -> str:
        """The boot text of a guest."""
        return boot_line(self.networks, self.shell.authorized_key, name=name, more=more)

    @asynccontextmanager
    async def guest(
        self, scenario: Scenario, name: str, line: str = "", *extra: str
    ) -> AsyncIterator[Guest]:
        """A guest on a disk of its own, powered on; asked for reasons before it ends in failure.

        Args:
            scenario: The one it is for.
            name: Of its folder.
            line: For the kernel's command line.
            extra: Words for qemu.
        """
        folder = self.folder / name
        nics = self.networks.nics()
        machine = Guest(self.image, folder, boot_line=line, nics=nics, extra=extra)
        try:
            async with machine:
                try:
                    yield machine
                except Exception:
                    await note_evidence(scenario, self.shell, machine.console)
                    raise
        finally:
            await asyncio.to_thread(self.shell.forget)

    async def up(self, name: str) -> None:
        """Wait until the guest is Up by a session of the boot that goes on."""
        await up_anew(self.server, self._of_last_boot, UP_S, name)
        self._of_last_boot = session_of(self.server, name)

    async def channel(self) -> str:
        """Where the guest says it has its text from."""
        record: dict[str, Any] = json.loads(
            await self.shell.must("cat /var/lib/ssvm-agent/boot-text.json")
        )
        return str(record["channel"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(guest_image: Image) -> AsyncIterator[Site]:
    """What these scenarios need of a lab: no stores, no images; they bring their guests."""
    folder = Path(tempfile.mkdtemp(prefix="lab", dir="/var/tmp"))
    try:
        with networks(folder) as nets:
            zone = Zone(servers=(nets.management.host,))
            shell = Shell(nets.control.address(GUESTS[0]), folder / "ssh")
            async with ManagementServer(
                zone=zone, timing=TIMING, host=nets.management.host, port=PORT
            ) as server:
                yield Site(folder, nets, server, guest_image, shell)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def test_the_guest_agent_brings_the_text_of_each_power_on(
    lab: Site, scenario: Scenario
) -> None:
    """boot-and-system.md 1.4, 4.4: the file outlives the boot; a newer text replaces it."""
    name = "s-1-VM"
    async with lab.guest(scenario, "qga", "", *channels.GUEST_AGENT) as guest:
        await channels.send_by_guest_agent(guest.folder, lab.line(name))
        scenario.note("the text was written")
        await lab.up(name)
        scenario.note("Up")
        assert await lab.channel() == "QEMU guest agent file"
        await the_units_started_in_order(lab)
        await guest.kill()
        await asyncio.to_thread(lab.shell.forget)
        with scenario.healing("Up after a power cut, on the same disk, with a new text"):
            await guest.start()
            await channels.send_by_guest_agent(guest.folder, lab.line(name, "nfsVersion=4.1"))
            await lab.up(name)
        assert "nfsVersion=4.1" in await lab.shell.must("cat /var/cache/cloud/cmdline")


async def the_units_started_in_order(lab: Site) -> None:
    said = await lab.shell.must(
        "systemctl show -p Id -p ActiveState -p ActiveEnterTimestampMonotonic "
        + " ".join(f"{unit}.service" for unit in _UNITS)
    )
    units = [
        dict(line.split("=", 1) for line in unit.splitlines())
        for unit in said.strip().split("\n\n")
    ]
    assert [unit["ActiveState"] for unit in units] == ["active"] * len(_UNITS), said
    began = [int(unit["ActiveEnterTimestampMonotonic"]) for unit in units]
    assert began == sorted(began), said


async def test_the_virtio_serial_port_brings_text_and_key(lab: Site, scenario: Scenario) -> None:
    """boot-and-system.md 1.4: hosts of 4.5, which send the key on a line of its own."""
    name = "s-2-VM"
    words = lab.line(name).split()
    line = " ".join(word for word in words if not word.startswith("authorized_key="))
    async with lab.guest(scenario, "vport", "", *channels.VIRTIO_SERIAL) as guest:
        sending = asyncio.create_task(
            channels.send_by_virtio_serial(guest.folder, line, lab.shell.authorized_key)
        )
        try:
            await lab.up(name)
        finally:
            sending.cancel()
        assert await lab.channel() == "virtio-serial port"
        keys = await lab.shell.must("cat /root/.ssh/authorized_keys")
        assert keys.strip() == lab.shell.authorized_key


async def test_dmi_strings_bring_the_text(lab: Site, scenario: Scenario) -> None:
    name = "s-3-VM"
    async with lab.guest(scenario, "dmi", "", *channels.dmi(lab.folder, lab.line(name))):
        await lab.up(name)
        assert await lab.channel() == "DMI strings"


async def test_a_guest_without_a_text_says_so_on_its_console(lab: Site, scenario: Scenario) -> None:
    async with lab.guest(scenario, "none") as guest:
        await guest.wait_for_console("No boot text came within 60 s", 180)
        await guest.wait_for_console("start the VM from the management server", 5)
        scenario.note(guest.console[-1000:])
        await guest.wait_for_console("login:", 120)
        await guest.stop()
