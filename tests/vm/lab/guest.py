# SPDX-License-Identifier: Apache-2.0
"""The guest as a process: qemu with a disk of its own over the image, its console captured.

It knows nothing of what runs inside; commands are run over SSH (:mod:`tests.vm.lab.shell`).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from tests.vm.lab.image import Image
from tests.vm.lab.owned import owned

_KERNEL_WORDS: Final = "root=/dev/vda rw console=ttyS0 panic=1 net.ifnames=0 random.trust_cpu=on"


class Guest:
    """One virtual machine.

    Args:
        image: What it boots; never written to.
        folder: For its disk, console and monitor; a short path.
        boot_line: What the management server's host puts on the kernel command line.
        nics: Words for qemu that plug it in.
        memory_mib: The usual system VM has 512.
        extra: Further words for qemu; ``{folder}`` in them is the folder.
    """

    def __init__(
        self,
        image: Image,
        folder: Path,
        *,
        boot_line: str,
        nics: Sequence[str],
        memory_mib: int = 512,
        extra: Sequence[str] = (),
    ) -> None:
        self._image = image
        self._folder = folder
        self._boot_line = boot_line
        self._nics = nics
        self._memory_mib = memory_mib
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def console(self) -> str:
        """What the guest has written to its serial port, over all boots."""
        path = self._folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def folder(self) -> Path:
        """Where its disk, console and sockets are."""
        return self._folder

    async def wait_for_console(self, text: str, deadline_s: float) -> None:
        """Wait until the guest has written this to its serial port."""
        async with asyncio.timeout(deadline_s):
            while text not in self.console:  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.5)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            await self.kill()

    async def start(self) -> None:
        """Power on, with the disk as it was left."""
        assert self._process is None
        self._folder.mkdir(parents=True, exist_ok=True)
        disk = self._folder / "disk.qcow2"
        if not disk.exists():
            self._make_disk(disk)
        (self._folder / "monitor").unlink(missing_ok=True)
        with (self._folder / "qemu.log").open("ab") as log:
            self._process = self._power_on(disk, log)

    def _make_disk(self, disk: Path) -> None:
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw",
             "-b", self._image.disk, disk],
            check=True,
        )  # fmt: skip

    def _power_on(self, disk: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            owned(
                "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1",
                "-m", str(self._memory_mib), "-nodefaults", "-nographic", "-no-reboot",
                "-kernel", self._image.kernel, "-initrd", self._image.initrd,
                "-append", f"{_KERNEL_WORDS} {self._boot_line}",
                "-drive", f"file={disk},if=virtio,format=qcow2,cache=writeback",
                "-chardev", f"file,id=c0,path={self._folder}/console,append=on",
                "-serial", "chardev:c0",
                "-qmp", f"unix:{self._folder}/monitor,server=on,wait=off",
                "-device", "virtio-rng-pci",
                *self._nics,
                *(word.format(folder=self._folder) for word in self._extra),
            ),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=log,
        )  # fmt: skip

    async def kill(self) -> None:
        """Cut the power; the disk stays as it is."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        await asyncio.to_thread(process.wait)

    async def stop(self, deadline_s: float = 120) -> None:
        """Press the power button and wait until it is off."""
        process = self._process
        assert process is not None
        await self.monitor("system_powerdown")
        async with asyncio.timeout(deadline_s):
            while process.poll() is None:  # noqa: ASYNC110 - a process tells nobody
                await asyncio.sleep(0.2)
        self._process = None

    async def monitor(self, command: str, **arguments: Any) -> Any:
        """Run a command of the machine protocol."""
        reader, writer = await asyncio.open_unix_connection(self._folder / "monitor")
        try:
            await reader.readline()
            await _exchange(reader, writer, {"execute": "qmp_capabilities"})
            return await _exchange(reader, writer, {"execute": command, "arguments": arguments})
        finally:
            writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, order: dict[str, Any]
) -> Any:
    """Send one order; its result, past all events."""
    writer.write(json.dumps(order).encode() + b"\n")
    while True:
        answer = json.loads(await reader.readline())
        assert "error" not in answer, answer
        if "return" in answer:
            return answer["return"]
