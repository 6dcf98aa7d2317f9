# SPDX-License-Identifier: Apache-2.0
"""A root shell in the guest over SSH on port 3922, the way a management server's host has one."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PORT = 3922


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said."""

    code: int
    output: str


class Shell:
    """Runs commands in one guest; the connection is kept between them.

    Args:
        address: Of the guest on the control network.
        folder: For the key pair and the kept connection; a short path.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._folder = folder
        self.key = folder / "id_ed25519"
        if not self.key.exists():
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "cloud@lab", "-f", self.key],
                check=True,
            )

    @property
    def authorized_key(self) -> str:
        """What the boot line carries."""
        return self.key.with_suffix(".pub").read_text().strip()

    async def run(self, command: str, deadline_s: float = 60) -> Said:
        """Run a shell command as root; its output with its errors."""
        process = await asyncio.create_subprocess_exec(
            "ssh", "-i", self.key, "-p", str(_PORT),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-E", self._folder / "ssh.log", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20",
            "-o", "ControlMaster=auto", "-o", f"ControlPath={self._folder}/ssh",
            "-o", "ControlPersist=600",
            "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6",
            f"root@{self._address}", f"exec 2>&1; {command}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            # The kept connection holds on to this one: a pipe would never end.
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(deadline_s):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Said(process.returncode, output.decode(errors="replace"))

    async def must(self, command: str, deadline_s: float = 60) -> str:
        """As :meth:`run` for a command that has to succeed; its output."""
        said = await self.run(command, deadline_s)
        assert said.code == 0, f"{command}: {said.code}\n{said.output}"
        return said.output

    async def put(self, files: Sequence[Path], directory: str, deadline_s: float = 120) -> None:
        """Copy files into a directory of the guest, as a management server does."""
        process = await asyncio.create_subprocess_exec(
            "scp", "-q", "-p", "-o", f"ControlPath={self._folder}/ssh",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", self.key,
            "-P", str(_PORT), *files, f"root@{self._address}:{directory}",
        )  # fmt: skip
        async with asyncio.timeout(deadline_s):
            assert await process.wait() == 0

    def forget(self) -> None:
        """Drop the kept connection, for a guest that has been cut off (blocking)."""
        subprocess.run(
            ["ssh", "-O", "exit", "-o", f"ControlPath={self._folder}/ssh", "guest"],
            check=False, capture_output=True, timeout=10,
        )  # fmt: skip
