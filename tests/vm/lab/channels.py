# SPDX-License-Identifier: Apache-2.0
"""The host's side of the channels that bring a boot text: what a KVM host does for a starting VM.

Each gives the words for qemu that attach the channel, and sends the text through it. The kernel
command line needs none of this: :class:`tests.vm.lab.guest.Guest` has it. What the guest does with
the text is the guest's business.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

_TEXT_FILE: Final = "/var/cache/cloud/cmdline"
# An emulated guest starts its services a minute after its kernel.
_AGENT_DEADLINE_S: Final = 150.0
_ANSWER_S: Final = 5.0
# boot-and-system.md 1.4: up to 30 tries, 5 s each.
_RESEND_S: Final = 5.0

GUEST_AGENT: Final = (
    "-device", "virtio-serial",
    "-chardev", "socket,id=qga,path={folder}/qga,server=on,wait=off",
    "-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0",
)  # fmt: skip
"""What plugs in the channel of the QEMU guest agent."""

VIRTIO_SERIAL: Final = (
    "-device", "virtio-serial",
    "-chardev", "socket,id=vport,path={folder}/vport,server=on,wait=off",
    "-device", "virtserialport,chardev=vport,name=s-1-VM.vport",
)  # fmt: skip
"""What plugs in the port of 4.5 hosts."""


def dmi(folder: Path, boot_line: str) -> tuple[str, ...]:
    """What puts a text into the DMI strings of the machine."""
    text = folder / "dmi.txt"
    text.write_text(f"cmdline:{boot_line}")
    return ("-smbios", f"type=11,path={text}")


async def send_by_guest_agent(folder: Path, boot_line: str) -> None:
    """Write the file as a 4.22 host does: wait for the guest agent, open, write, close."""
    async with asyncio.timeout(_AGENT_DEADLINE_S), _guest_agent(folder / "qga") as agent:
        # The file's directory is part of the template; the host makes none.
        handle = await agent.ask("guest-file-open", path=_TEXT_FILE, mode="w+")
        content = base64.b64encode(f"{boot_line}\n".encode()).decode()
        written = await agent.ask("guest-file-write", handle=handle, **{"buf-b64": content})
        assert written["count"] == len(boot_line) + 1
        await agent.ask("guest-file-close", handle=handle)


async def send_by_virtio_serial(folder: Path, boot_line: str, public_key: str) -> None:
    """Send both lines and hang up at once, again and again, as a 4.5 host does; to be cancelled.

    What is sent while nobody in the guest has the port open is lost when the host hangs up.
    """
    while True:
        _, writer = await _connect(folder / "vport")
        writer.write(f"pubkey:{public_key}\n\ncmdline:{boot_line}\n\n".encode())
        await writer.drain()
        writer.close()
        await asyncio.sleep(_RESEND_S)


async def _connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The host's end of a channel, which qemu makes when it starts."""
    async with asyncio.timeout(_ANSWER_S):
        while True:
            try:
                return await asyncio.open_unix_connection(path)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(0.05)


class _GuestAgent:
    """A conversation with the guest agent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Run one command; what it returns."""
        self.send(command, **arguments)
        answer = json.loads(await self._reader.readline())
        assert "error" not in answer, answer
        return answer["return"]

    def send(self, command: str, **arguments: Any) -> None:
        """Ask without waiting for an answer."""
        order = {"execute": command, "arguments": arguments}
        self._writer.write(json.dumps(order).encode() + b"\n")

    async def agree(self, number: int) -> bool:
        """Whether the agent is there and answers *this* question."""
        self.send("guest-sync", id=number)
        try:
            async with asyncio.timeout(_ANSWER_S):
                while line := await self._reader.readline():
                    if json.loads(line).get("return") == number:
                        return True
        except TimeoutError:
            pass
        return False


@asynccontextmanager
async def _guest_agent(path: Path) -> AsyncIterator[_GuestAgent]:
    """The guest agent, once it answers."""
    reader, writer = await _connect(path)
    try:
        agent = _GuestAgent(reader, writer)
        number = 1
        while not await agent.agree(number):
            number += 1
        yield agent
    finally:
        writer.close()
