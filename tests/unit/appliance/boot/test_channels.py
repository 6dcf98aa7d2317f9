# SPDX-License-Identifier: Apache-2.0
"""Each channel brings its platform's text, or says why it cannot."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.appliance.boot import kvp
from ssvm_agent.appliance.boot.channels import (
    Channel,
    ChannelError,
    VirtioSerialChannel,
    channels_for,
)
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.host.errors import ProgramMissingError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import ProgramResult

POOL = WorkPool("test", threads=1)
TEXT = " template=domP type=secstorage host=10.1.32.5 name=s-1-VM"


@dataclass
class PrintingRunner:
    """Programs that print a fixed text; all others are not installed."""

    prints: dict[str, str]
    ran: list[list[str]] = field(default_factory=list)

    async def run(self, argv: Sequence[Any], **_options: Any) -> ProgramResult:
        self.ran.append([str(word) for word in argv])
        if argv[0] not in self.prints:
            raise ProgramMissingError(str(argv[0]))
        return ProgramResult(returncode=0, stdout=self.prints[argv[0]].encode(), stderr=b"")


def channel(hypervisor: Hypervisor, name: str, root: Path, **prints: str) -> Channel:
    runner = PrintingRunner({key.replace("_", "-"): value for key, value in prints.items()})
    return next(
        candidate
        for candidate in channels_for(hypervisor, root=root, runner=runner, pool=POOL)
        if name in candidate.name
    )


def put(root: Path, path: str, content: bytes | str) -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return target


async def test_the_guest_agent_file_is_the_text(tmp_path: Path) -> None:
    put(tmp_path, "var/cache/cloud/cmdline", TEXT + "\n")
    assert await channel(Hypervisor.KVM, "guest agent", tmp_path).read() == TEXT + "\n"


async def test_a_file_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    assert await channel(Hypervisor.KVM, "guest agent", tmp_path).read() is None


async def test_a_kernel_line_counts_only_with_boot_words(tmp_path: Path) -> None:
    """On KVM every machine has a kernel line, and it says nothing of CloudStack."""
    put(tmp_path, "proc/cmdline", "root=/dev/vda6 ro console=ttyS0\n")
    kernel = channel(Hypervisor.KVM, "kernel", tmp_path)
    assert await kernel.read() is None
    put(tmp_path, "proc/cmdline", "root=/dev/xvda6 quiet" + TEXT.replace(" ", "%"))
    text = await kernel.read()
    assert text is not None
    assert "%type=secstorage" in text


async def test_xenstore_and_vmware_are_asked_by_their_programs(tmp_path: Path) -> None:
    """boot-and-system.md 1.4: one argument vector each."""
    xen = channel(Hypervisor.XEN_HVM, "xenstore", tmp_path, xenstore_read=TEXT)
    vmware = channel(Hypervisor.VMWARE, "machine.id", tmp_path, vmtoolsd=TEXT)
    assert await xen.read() == TEXT.strip()
    assert await vmware.read() == TEXT.strip()


async def test_a_missing_program_is_said(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match="xenstore-read"):
        await channel(Hypervisor.XEN_HVM, "xenstore", tmp_path).read()


async def test_dmi_strings_carry_the_text_behind_a_marker(tmp_path: Path) -> None:
    strings = f"OEM Strings\n\tString 1: cmdline:{TEXT}\n"
    found = await channel(Hypervisor.KVM, "DMI", tmp_path, dmidecode=strings).read()
    assert found == TEXT.strip()


async def test_a_hyperv_pool_yields_the_value_of_our_item(tmp_path: Path) -> None:
    """512 bytes of key and 2048 of value, padded with NUL; other items are not ours."""

    def record(key: str, value: str) -> bytes:
        return key.encode().ljust(kvp.KEY_BYTES, b"\0") + value.encode().ljust(
            kvp.VALUE_BYTES, b"\0"
        )

    pool = record("other", "x") + record(kvp.BOOT_KEY, TEXT) + b"cut short"
    put(tmp_path, "var/lib/hyperv/.kvp_pool_0", pool)
    assert await channel(Hypervisor.HYPERV, "var/lib", tmp_path).read() == TEXT
    assert kvp.boot_text(record("other", "x")) is None


async def test_the_serial_port_is_collected_over_several_reads(tmp_path: Path) -> None:
    """boot-and-system.md 1.4: pubkey and cmdline lines arrive in pieces and are gone when read."""
    port = tmp_path / "vport0p1"
    os.mkfifo(port)
    serial = VirtioSerialChannel(tmp_path, POOL)
    writer = os.open(port, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(writer, b"pubkey:ssh-rsa AAAA cloud@mgmt\n\n")
        assert await serial.read() is None
        os.write(writer, b"cmdline: template=domP type=sec")
        assert await serial.read() is None
        os.write(writer, b"storage name=s-1-VM\n")
        text = await serial.read()
    finally:
        os.close(writer)
    key = base64.b64encode(b"ssh-rsa AAAA cloud@mgmt").decode()
    assert text == f"template=domP type=secstorage name=s-1-VM authorized_key={key}"


async def test_the_serial_port_stays_open_until_its_text_is_whole(tmp_path: Path) -> None:
    """boot-and-system.md 1.4: what comes between two reads is lost with a port that is closed."""
    port = tmp_path / "vport0p1"
    os.mkfifo(port)
    serial = VirtioSerialChannel(tmp_path, POOL)
    assert await serial.read() is None
    # Refused by the kernel where nobody has it open for reading.
    writer = os.open(port, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"cmdline: template=domP type=secstorage\n")
    os.close(writer)
    assert await serial.read() == "template=domP type=secstorage"
    with pytest.raises(OSError, match="No such device"):
        os.open(port, os.O_WRONLY | os.O_NONBLOCK)


async def test_a_machine_without_a_serial_port_says_so(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match="No virtio-serial port"):
        await VirtioSerialChannel(tmp_path, POOL).read()


async def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "var/cache/cloud/cmdline").mkdir(parents=True)
    with pytest.raises(ChannelError, match="cannot be read"):
        await channel(Hypervisor.KVM, "guest agent", tmp_path).read()


def test_every_platform_has_channels(tmp_path: Path) -> None:
    for hypervisor in (*Hypervisor, None):
        assert channels_for(hypervisor, root=tmp_path, runner=PrintingRunner({}), pool=POOL)
