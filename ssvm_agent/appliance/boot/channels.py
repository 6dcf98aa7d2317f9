# SPDX-License-Identifier: Apache-2.0
"""The channels by which hypervisors hand over the boot text, one small reader each.

A channel answers with a text, with ``None`` while there is none yet, or with a
:class:`ChannelError` saying why it never will. Files are read below a root and programs through a
runner, so tests can play every platform. Waiting and choosing is done in
:mod:`ssvm_agent.appliance.boot.search`.
"""

from __future__ import annotations

import base64
import os
import stat
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ssvm_agent.appliance.boot import kvp
from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.host.errors import HostError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner

# The longest text measured is 1.5 KB (boot-and-system.md 1.4); user data may have 32 KiB on the
# server.
MAX_TEXT_BYTES: Final = 64 * 1024
_PROGRAM_DEADLINE_S: Final = 10.0
_READ_DEADLINE_S: Final = 10.0
_TEXT_MARKER: Final = "cmdline:"
_KEY_MARKER: Final = "pubkey:"


class ChannelError(ApplianceError):
    """This channel cannot bring a text; the message says why."""

    code = "boot-channel"


class Channel(Protocol):
    """One way a boot text may come."""

    @property
    def name(self) -> str:
        """As reported to operators."""
        ...

    @property
    def may_be_old(self) -> bool:
        """Whether the text outlives a reboot, so that an old one may stand in it."""
        ...

    async def read(self) -> str | None:
        """The text, or ``None`` while there is none yet.

        Raises:
            ChannelError: There will not be one.
        """
        ...

    def written_at(self) -> float | None:
        """When a lasting text was written, seconds since the epoch; ``None`` when unknown."""
        ...


@dataclass(frozen=True, slots=True)
class FileChannel:
    """A file whose content, or a part of it, is the text."""

    name: str
    path: Path
    extract: Callable[[bytes], str | None]
    pool: WorkPool
    may_be_old: bool = False
    required: bool = False
    """A missing file is an error rather than "not yet"."""

    async def read(self) -> str | None:
        """See :class:`Channel`."""
        try:
            content = await self.pool.call(read_bytes, self.path, deadline_s=_READ_DEADLINE_S)
        except FileNotFoundError as error:
            if self.required:
                raise ChannelError(f"{self.path} does not exist.") from error
            return None
        except OSError as error:
            raise ChannelError(f"{self.path} cannot be read: {error.strerror}.") from error
        return self.extract(content)

    def written_at(self) -> float | None:
        """See :class:`Channel`."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return None


@dataclass(frozen=True, slots=True)
class ProgramChannel:
    """A program that prints the text."""

    name: str
    argv: Sequence[str]
    runner: Runner
    may_be_old: bool = False

    async def read(self) -> str | None:
        """See :class:`Channel`."""
        try:
            result = await self.runner.run(
                self.argv, deadline_s=_PROGRAM_DEADLINE_S, check=False,
                max_output_bytes=MAX_TEXT_BYTES,
            )  # fmt: skip
        except HostError as error:
            raise ChannelError(f"{self.argv[0]} cannot be used: {error.message}") from error
        return result.text.strip() or None if result.returncode == 0 else None

    def written_at(self) -> float | None:
        """See :class:`Channel`."""
        return None


def channels_for(
    hypervisor: Hypervisor | None, *, root: Path, runner: Runner, pool: WorkPool
) -> tuple[Channel, ...]:
    """The channels of a platform in the order they are asked; all harmless ones when unknown."""
    guest_agent = FileChannel(
        "QEMU guest agent file", root / "var/cache/cloud/cmdline", plain, pool, may_be_old=True
    )
    kernel = FileChannel("kernel command line", root / "proc/cmdline", with_boot_keys, pool)
    serial = VirtioSerialChannel(root / "dev", pool)
    dmi = ProgramChannel("DMI strings", ("dmidecode", "--quiet", "--type", "11"), runner)
    xenstore = ProgramChannel("xenstore", ("xenstore-read", "vm-data/cloudstack/init"), runner)
    vmware = ProgramChannel("VMware machine.id", ("vmtoolsd", "--cmd", "machine.id.get"), runner)
    hyperv = tuple(
        FileChannel(f"Hyper-V pool {path}", root / path, kvp.boot_text, pool)
        for path in ("var/lib/hyperv/.kvp_pool_0", "var/opt/hyperv/.kvp_pool_0")
    )
    table: dict[Hypervisor, tuple[Channel, ...]] = {
        Hypervisor.KVM: (kernel, Marked(dmi), serial, guest_agent),
        Hypervisor.LXC: (kernel, guest_agent),
        Hypervisor.XEN_PV: (kernel,),
        Hypervisor.OVM3: (kernel,),
        Hypervisor.XEN_HVM: (xenstore, kernel),
        Hypervisor.VMWARE: (vmware, kernel),
        Hypervisor.HYPERV: (*hyperv, kernel),
        Hypervisor.VIRTUALBOX: (Marked(dmi), kernel),
    }
    return table[hypervisor] if hypervisor else (kernel, Marked(dmi), serial, guest_agent)


@dataclass(frozen=True, slots=True)
class Marked:
    """The part of another channel's text behind the word ``cmdline:``."""

    inner: ProgramChannel

    @property
    def name(self) -> str:
        """See :class:`Channel`."""
        return self.inner.name

    @property
    def may_be_old(self) -> bool:
        """See :class:`Channel`."""
        return self.inner.may_be_old

    async def read(self) -> str | None:
        """See :class:`Channel`."""
        text = await self.inner.read()
        return None if text is None else after_marker(f"{text}\n", _TEXT_MARKER)

    def written_at(self) -> float | None:
        """See :class:`Channel`."""
        return None


class VirtioSerialChannel:
    """The virtio-serial port of 4.5 hosts: lines ``pubkey:…`` and ``cmdline:…``.

    Bytes read from the port are gone, so they are kept over the reads of one search. The port stays
    open between them: the kernel drops what has arrived when a port is closed, and the host's end
    sends as soon as it is opened. The public key becomes the ``authorized_key`` word that later
    servers put into the text themselves.
    """

    name = "virtio-serial port"
    may_be_old = False

    def __init__(self, devices: Path, pool: WorkPool) -> None:
        self._devices = devices
        self._pool = pool
        self._received = b""
        self._descriptor: int | None = None
        self._close: Callable[[], object] = lambda: None

    async def read(self) -> str | None:
        """See :class:`Channel`."""
        try:
            piece = await self._pool.call(self._read_port, deadline_s=_READ_DEADLINE_S)
        except OSError as error:
            raise ChannelError(f"The port cannot be read: {error.strerror}.") from error
        self._received = (self._received + piece)[-MAX_TEXT_BYTES:]
        received = self._received.decode("utf-8", "replace")
        text = after_marker(received, _TEXT_MARKER)
        key = after_marker(received, _KEY_MARKER)
        if text is not None:
            self._let_go()
        if text is None or key is None:
            return text
        return f"{text} authorized_key={base64.b64encode(key.encode()).decode()}"

    def written_at(self) -> float | None:
        """See :class:`Channel`."""
        return None

    def _read_port(self) -> bytes:
        if self._descriptor is None:
            port = self._port()
            if port is None:
                raise ChannelError("No virtio-serial port is attached.")
            self._descriptor = _open(port)
            self._close = weakref.finalize(self, os.close, self._descriptor)
        try:
            return _read_open(self._descriptor)
        except OSError:
            self._let_go()
            raise

    def _let_go(self) -> None:
        self._descriptor = None
        self._close()

    def _port(self) -> Path | None:
        # Compat: boot-and-system.md 1.4, the port is called <vm>.vport on the host and is the
        # first of its device in the guest.
        named = sorted((self._devices / "virtio-ports").glob("*.vport"))
        first = self._devices / "vport0p1"
        guest_agent = self._devices / "virtio-ports/org.qemu.guest_agent.0"
        if named:
            return named[0]
        if first.exists() and not (guest_agent.exists() and guest_agent.samefile(first)):
            return first
        return None


def read_bytes(path: Path) -> bytes:
    """At most :data:`MAX_TEXT_BYTES` of a file, never waiting for more of a device to come."""
    descriptor = _open(path)
    try:
        return _read_open(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


def _read_open(descriptor: int) -> bytes:
    pieces: list[bytes] = []
    room = MAX_TEXT_BYTES
    while room:
        try:
            piece = os.read(descriptor, room)
        except BlockingIOError:
            break
        if not piece:
            break
        pieces.append(piece)
        room -= len(piece)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) and piece.endswith(b"\n"):
            break
    return b"".join(pieces)


def plain(content: bytes) -> str | None:
    """The whole content; ``None`` when it is blank."""
    text = content.decode("utf-8", "replace")
    return text if text.strip("\0 \t\r\n") else None


def with_boot_keys(content: bytes) -> str | None:
    """The content when it is a boot text and not only the kernel's own words."""
    text = plain(content)
    return text if text is not None and "type=" in text and "template=" in text else None


def after_marker(text: str, marker: str) -> str | None:
    """What stands behind a marker on its line; ``None`` before that line has come whole."""
    for line in text.splitlines(keepends=True):
        _, found, rest = line.partition(marker)
        if found and line.endswith("\n") and rest.strip():
            return rest.strip()
    return None
