# SPDX-License-Identifier: Apache-2.0
"""The networks of the lab: control, management and public, each a segment that can be disturbed.

A segment is a process (:mod:`tests.vm.lab.wire`), ended with its context. Addresses are fixed: they
stand in boot lines and in certificates.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

_REPOSITORY: Final = Path(__file__).parents[3]
_PREFIX: Final = "10.91"
_LOCK: Final = Path("/run/lock/ssvm-lab.lock")
GUESTS: Final = (10, 20)
"""The last number of the first guest's addresses, and of the second's."""


@dataclass(slots=True)
class Segment:
    """One network of the lab, up as long as its process runs."""

    number: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> str:
        """The host's address on it."""
        return self.address(1)

    def address(self, last: int) -> str:
        """An address on it."""
        return f"{_PREFIX}.{self.number}.{last}"

    @property
    def cidr(self) -> str:
        """The whole of it."""
        return f"{_PREFIX}.{self.number}.0/24"

    def nic(self, guest: int = GUESTS[0]) -> list[str]:
        """The words for qemu that plug a guest in."""
        name = f"n{self.number}"
        theirs, ours = _sockets(self.folder, guest)
        mac = f"52:54:00:91:{self.number:02x}:{guest:02d}"
        netdev = (
            f"dgram,id={name},local.type=unix,local.path={theirs},"
            f"remote.type=unix,remote.path={ours}"
        )
        return [
            "-netdev", netdev,
            "-device", f"virtio-net-pci,netdev={name},mac={mac},romfile=",
        ]  # fmt: skip

    def disturb(self, *, loss: float = 0.0, delay_s: float = 0.0, cut: bool = False) -> None:
        """Lose a share of the frames, delay each, or let none pass; without arguments: heal."""
        assert self.process.stdin is not None
        order = {"loss": loss, "delay_s": delay_s, "cut": cut}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        _acknowledged(self.process)

    heal = disturb


def _sockets(folder: Path, guest: int) -> tuple[Path, Path]:
    return folder / f"guest{guest}", folder / f"wire{guest}"


def _acknowledged(process: subprocess.Popen[bytes]) -> None:
    output: IO[bytes] | None = process.stdout
    assert output is not None
    if not output.readline():
        raise RuntimeError("The network segment has ended; see its messages above.")


@contextmanager
def segment(number: int, folder: Path) -> Iterator[Segment]:
    """Run the segment ``10.91.<number>.0/24``.

    Args:
        number: 1 control, 2 management, 3 public, 4 storage.
        folder: For its sockets; the path must be short (a socket's name has 107 bytes).
    """
    folder = folder / f"net{number}"
    folder.mkdir(parents=True)
    pairs = [f"{ours}={theirs}" for theirs, ours in (_sockets(folder, guest) for guest in GUESTS)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.vm.lab.wire", f"ssvmlab{number}", f"{_PREFIX}.{number}.1/24",
         *pairs],
        cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        _acknowledged(process)
        yield Segment(number, folder, process)
    finally:
        process.kill()
        # Also closes its pipes.
        process.__exit__(None, None, None)


@dataclass(frozen=True, slots=True)
class Networks:
    """All segments a guest is plugged into, in the order of its NICs."""

    control: Segment
    management: Segment
    public: Segment
    storage: Segment | None = None

    @property
    def of_stores(self) -> Segment:
        """Where the image stores are: the storage network of a zone that has one."""
        return self.storage or self.management

    def nics(self, guest: int = GUESTS[0]) -> list[str]:
        """The words for qemu."""
        segments = (self.control, self.management, self.public, self.storage)
        return [word for one in segments if one is not None for word in one.nic(guest)]


@contextmanager
def networks(folder: Path, *, storage: bool = False) -> Iterator[Networks]:
    """Run the segments: three, and the storage network when it is wanted.

    Raises:
        RuntimeError: Another lab runs on this machine.
    """
    numbers = (1, 2, 3, 4) if storage else (1, 2, 3)
    with ExitStack() as stack:
        stack.enter_context(_only_lab())
        yield Networks(*(stack.enter_context(segment(number, folder)) for number in numbers))


@contextmanager
def _only_lab() -> Iterator[None]:
    """Hold the addresses of this machine's one lab; the kernel lets go with the process."""
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(
                f"Another lab runs on this machine and has its addresses ({_LOCK} is locked); "
                "wait for it, or end it"
            ) from error
        yield


def add_address(segment: Segment, last: int) -> str:
    """Give the host one more address on a segment, for a server of its own; returns it."""
    address = segment.address(last)
    subprocess.run(
        ["ip", "address", "replace", f"{address}/24", "dev", f"ssvmlab{segment.number}"], check=True
    )
    return address
