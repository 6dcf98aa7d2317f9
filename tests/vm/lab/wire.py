# SPDX-License-Identifier: Apache-2.0
"""A network segment as a process: a small switch between guests' network cards and the host.

The host's end is a TAP device that belongs to this process and disappears with it; every guest's
end is a pair of datagram sockets that qemu speaks Ethernet frames to. Being a program of ours, the
wire can lose, delay and hold frames on any kernel. It knows nothing of what it carries.

    python -m tests.vm.lab.wire TAP ADDRESS/BITS OURS=THEIRS [OURS=THEIRS …]

Orders come as JSON lines on stdin (``{"loss": 0.05, "delay_s": 0.2, "cut": true}``) and are
acknowledged by a line on stdout each; it ends when stdin does.
"""

from __future__ import annotations

import fcntl
import heapq
import itertools
import json
import os
import random
import selectors
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP_WITHOUT_HEADER: Final = 0x0002 | 0x1000
_FRAME_BYTES: Final = 65536
_BURST: Final = 64
# A guest behind a slow emulator gets a long queue rather than holes.
_SOCKET_BYTES: Final = 4 << 20
_GROUP_BIT: Final = 1


@dataclass(slots=True)
class Faults:
    """What the wire does to frames.

    Attributes:
        loss: Share of frames that vanish.
        delay_s: Each frame's time on the wire.
        cut: Whether nothing passes at all.
    """

    loss: float = 0.0
    delay_s: float = 0.0
    cut: bool = False


@dataclass(slots=True)
class Port:
    """One end: reads and writes whole frames without blocking; what does not fit is lost."""

    descriptor: int
    channel: socket.socket | None = None
    peer: str = ""

    def read(self) -> bytes:
        """One frame, empty when there is none."""
        try:
            if self.channel is not None:
                return self.channel.recv(_FRAME_BYTES)
            return os.read(self.descriptor, _FRAME_BYTES)
        except OSError:
            return b""

    def write(self, frame: bytes) -> None:
        """Send a frame, or lose it as a network does."""
        try:
            if self.channel is not None:
                self.channel.sendto(frame, self.peer)
            else:
                os.write(self.descriptor, frame)
        except OSError:
            return


@dataclass(slots=True)
class Switch:
    """Forwards frames between ports by the addresses it has seen."""

    ports: list[Port]
    faults: Faults = field(default_factory=Faults)
    _seen: dict[bytes, Port] = field(default_factory=dict)
    _late: list[tuple[float, int, Port, bytes]] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)

    def take(self, port: Port) -> None:
        """Carry what has arrived at a port."""
        for _ in range(_BURST):
            frame = port.read()
            if len(frame) < 14:
                return
            self._seen[frame[6:12]] = port
            if self.faults.cut or random.random() < self.faults.loss:
                continue
            for target in self._targets(port, frame):
                self._send(target, frame)

    def deliver(self) -> float | None:
        """Send what has been on the wire long enough; seconds until the next frame is due."""
        now = time.monotonic()
        while self._late and self._late[0][0] <= now:
            _, _, target, frame = heapq.heappop(self._late)
            target.write(frame)
        return max(0.0, self._late[0][0] - now) if self._late else None

    def _targets(self, port: Port, frame: bytes) -> list[Port]:
        known = None if frame[0] & _GROUP_BIT else self._seen.get(frame[:6])
        return [known] if known else [one for one in self.ports if one is not port]

    def _send(self, target: Port, frame: bytes) -> None:
        if not self.faults.delay_s:
            target.write(frame)
            return
        due = time.monotonic() + self.faults.delay_s
        heapq.heappush(self._late, (due, next(self._count), target, frame))


def _open_tap(name: str, address: str) -> Port:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TAP_WITHOUT_HEADER))
    # No IPv6 chatter, and the address before the first guest asks for it.
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "up", "txqueuelen", "5000"], check=True)
    return Port(descriptor)


def _open_socket(ours: str, theirs: str) -> Port:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        channel.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)
    channel.bind(ours)
    channel.setblocking(False)
    return Port(channel.fileno(), channel, theirs)


def main(tap: str, address: str, *pairs: str) -> None:
    """Run the segment until stdin ends."""
    ports = [_open_tap(tap, address)]
    ports += [_open_socket(*pair.split("=", 1)) for pair in pairs]
    switch = Switch(ports)
    selector = selectors.DefaultSelector()
    for port in ports:
        selector.register(port.descriptor, selectors.EVENT_READ, port)
    selector.register(0, selectors.EVENT_READ, None)
    print("{}", flush=True)
    while True:
        wait_s = switch.deliver()
        for key, _ in selector.select(wait_s):
            if key.data is not None:
                switch.take(key.data)
                continue
            line = sys.stdin.buffer.readline()
            if not line:
                return
            switch.faults = Faults(**json.loads(line))
            print("{}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
