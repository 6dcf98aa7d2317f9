# SPDX-License-Identifier: Apache-2.0
"""Programs start while a file is open whose file system answers no more.

The file system is a real mount, answered by a thread of the test until a file is let go: what a
network file system does whose server died with data still to be written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ssvm_agent.host.run import SystemRunner

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("mount", "umount"),
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="the kernel offers no FUSE here"),
]

# linux/fuse.h
_LOOKUP, _FORGET, _GETATTR, _OPEN, _FLUSH, _INIT = 1, 2, 3, 14, 25, 26
_REQUEST = struct.Struct("<IIQQIIII")
_REPLY = struct.Struct("<IiQ")
_FILE, _LONG_S = 2, 3600


def _attributes(node: int) -> bytes:
    mode = 0o100644 if node == _FILE else 0o40755
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


@dataclass
class FileSystem:
    """One file, which can be opened, and not let go."""

    device: int
    asked: list[int] = field(default_factory=list)

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self.device, 1 << 20)
            except OSError:
                return  # it was unmounted
            _, operation, unique, node, *_ = _REQUEST.unpack_from(request)
            self.asked.append(operation)
            if operation in (_FLUSH, _FORGET):
                continue
            body = self._answer(operation, node)
            error = -errno.ENOSYS if body is None else 0
            body = body or b""
            os.write(self.device, _REPLY.pack(_REPLY.size + len(body), error, unique) + body)

    def _answer(self, operation: int, node: int) -> bytes | None:
        """What belongs to a request; None: there is no such thing here."""
        found = struct.pack("<4Q2I", _FILE, 0, _LONG_S, _LONG_S, 0, 0) + _attributes(_FILE)
        answers = {
            _INIT: struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, *[0] * 8),
            _LOOKUP: found,
            _GETATTR: struct.pack("<Q2I", _LONG_S, 0, 0) + _attributes(node),
            _OPEN: struct.pack("<Q2I", 1, 0, 0),
        }
        return answers.get(operation)


@pytest.fixture
def file_system(tmp_path: Path) -> Iterator[FileSystem]:
    place = tmp_path / "dead"
    place.mkdir()
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},allow_other,rootmode=40000,user_id=0,group_id=0"
    subprocess.run(
        ["mount", "-i", "-t", "fuse", "-o", options, "nobody", place],
        check=True, pass_fds=[device],
    )  # fmt: skip
    served = FileSystem(device)
    thread = threading.Thread(target=served.serve, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        # Whoever still waits gets an error.
        subprocess.run(["umount", "--force", "--lazy", place], check=True)
        thread.join(10)
        os.close(device)


def let_go(descriptor: int) -> None:
    """Close it; an error when the file system goes first."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


async def test_a_program_starts_while_an_open_file_cannot_be_let_go(
    file_system: FileSystem, tmp_path: Path
) -> None:
    """One store's outage must not stop the agent, nor the program that ends it (R13)."""
    runner = SystemRunner()
    descriptor = os.open(tmp_path / "dead/file", os.O_RDWR)
    try:
        result = await runner.run(["echo", "started"], deadline_s=10)
    finally:
        # This waits for an answer too; another thread may do that.
        threading.Thread(target=let_go, args=(descriptor,), daemon=True).start()
    assert result.text == "started\n"
    assert _OPEN in file_system.asked
    assert file_system.asked.count(_FLUSH) <= 1, "only our own close may ask for it"
