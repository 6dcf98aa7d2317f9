# SPDX-License-Identifier: Apache-2.0
"""Stores on real mounts: a tmpfs stands in for the export of a server."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ssvm_agent.host.run import Argument, ProgramResult, ResourceLimits, SystemRunner
from ssvm_agent.storage.service import Patience, StoreService
from tests.fakes.machine import FakeClock, beside_the_loop


@dataclass
class TmpfsRunner:
    """Runs programs for real, but mounts a tmpfs where an NFS export was asked for."""

    options: str = "size=16m,mode=0777"
    device: Path | None = None
    """The image of a file system to mount instead."""
    calls: list[list[str]] = field(default_factory=list)

    async def run(
        self,
        argv: Sequence[Argument],
        *,
        deadline_s: float,
        input: bytes | None = None,  # noqa: A002
        check: bool = True,
        env: Mapping[str, str] | None = None,
        max_output_bytes: int = 1 << 20,
        limits: ResourceLimits | None = None,
    ) -> ProgramResult:
        call = [str(argument) for argument in argv]
        self.calls.append(call)
        if call[:3] == ["mount", "-t", "nfs"]:
            what = (
                ["-o", "loop", str(self.device)]
                if self.device
                else ["-t", "tmpfs", "-o", self.options, call[-2]]
            )
            call = ["mount", *what, call[-1]]
        return await SystemRunner().run(call, deadline_s=deadline_s)


def shell(*argv: str | Path) -> None:
    subprocess.run([str(argument) for argument in argv], check=True, capture_output=True)


@pytest.fixture
def mount_root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "mnt"
    root.mkdir()
    yield root
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        place = line.split(" ")[4]
        if place.startswith(str(tmp_path)):
            with contextlib.suppress(subprocess.CalledProcessError):
                shell("umount", "-l", place)


@pytest.fixture
def runner() -> TmpfsRunner:
    return TmpfsRunner()


@pytest.fixture
async def service(mount_root: Path, runner: TmpfsRunner) -> AsyncIterator[StoreService]:
    made = StoreService(
        mount_root=mount_root, runner=runner, clock=FakeClock(), patience=Patience(probe_s=5)
    )
    yield made
    await made.close()


@pytest.fixture
def sh() -> Callable[..., None]:
    """Run a program of the system beside the loop."""

    def run(*argv: str | Path) -> None:
        beside_the_loop(shell, *argv)

    return run
