# SPDX-License-Identifier: Apache-2.0
"""Real sshd processes that stand for system VMs and hypervisors, and a proxy that cuts.

Each runs in a mount namespace of its own, with its own /root, /opt and /var/lib, so several of them
live on one machine without seeing each other's files.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fixtures.ports import free_port

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
PidFile none
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2
MaxStartups 1000
MaxSessions 1000
Subsystem sftp internal-sftp
AllowTcpForwarding {forwarding}
LogLevel VERBOSE
"""


def make_key(path: Path, *options: str) -> Path:
    """A key made by ssh-keygen."""
    words = ["ssh-keygen", "-q", "-N", "", "-C", f"key {path.name}", "-f", str(path), *options]
    subprocess.run(words, check=True, capture_output=True)
    return path


@dataclass
class SshMachine:
    """One of them.

    Attributes:
        root: Its files: root/, opt/, varlib/, log.
        small_ssh: Whether its ~/.ssh is a file system of 16 KiB.
    """

    root: Path
    name: str
    port: int = field(default_factory=free_port)
    forwarding: bool = False
    small_ssh: bool = False
    process: subprocess.Popen[bytes] | None = None
    host_key: Path = field(init=False)

    def __post_init__(self) -> None:
        for folder in ("root", "opt", "varlib"):
            (self.root / folder).mkdir(parents=True)
        self.new_host_key()

    def new_host_key(self) -> None:
        for file in self.root.glob("host_key*"):
            file.unlink()
        self.host_key = make_key(self.root / "host_key", "-t", "ecdsa")

    @property
    def fingerprint(self) -> str:
        words = ["ssh-keygen", "-lf", str(self.host_key)]
        return subprocess.check_output(words, text=True).split()[1]

    @property
    def authorized_keys(self) -> Path:
        """Visible from outside too, unless ``small_ssh``."""
        return self.root / "root" / ".ssh" / "authorized_keys"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def allow(self, text: str) -> None:
        self.authorized_keys.parent.mkdir(mode=0o700, exist_ok=True)
        self.authorized_keys.write_text(text)
        self.authorized_keys.chmod(0o600)

    def start(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        config = self.root / "sshd_config"
        text = _CONFIG.format(
            port=self.port,
            host_key=self.host_key,
            forwarding="yes" if self.forwarding else "no",
        )
        config.write_text(text)
        folders = {"root": "/root", "opt": "/opt", "varlib": "/var/lib"}
        steps = [
            f"mount --bind {shlex.quote(str(self.root / folder))} {place}"
            for folder, place in folders.items()
        ]
        if self.small_ssh:
            keys = self.authorized_keys.read_text()
            steps += [
                "mount -t tmpfs -o size=16k,mode=700 tmpfs /root/.ssh",
                f"printf %s {shlex.quote(keys)} >/root/.ssh/authorized_keys",
            ]
        # A copy of the configuration's path lies outside what is hidden.
        steps.append(f"exec /usr/sbin/sshd -D -e -f {shlex.quote(str(config))}")
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", "sh", "-ec", "\n".join(steps)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert self.process.poll() is None, (self.root / "log").read_text()
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    def inside(self, command: str) -> str:
        """Run something in its mount namespace."""
        assert self.process is not None
        words = ["nsenter", "-m", "-t", str(self.process.pid), "sh", "-c", command]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout

    def allowed(self) -> str:
        return self.inside("cat /root/.ssh/authorized_keys")

    def log(self) -> str:
        return (self.root / "log").read_text("utf-8", "replace")

    def stop(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        self.process = None


@dataclass
class CuttingProxy:
    """Forwards to a machine until so many bytes have come from the client.

    Attributes:
        port: Where it listens.
        cut_after: Bytes of all connections together; None never cuts.
        on_cut: Called then; afterwards everything is closed, and refused until :meth:`heal`.
    """

    to: int
    port: int = 0
    cut_after: int | None = None
    on_cut: Callable[[], None] = lambda: None
    once: bool = False
    seen: int = 0
    cuts: int = 0
    is_cut: bool = False
    links: list[socket.socket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def heal(self) -> None:
        self.cut_after, self.is_cut = None, False

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if self.is_cut:
                client.close()
                continue
            threading.Thread(target=self.forward, args=(client,), daemon=True).start()

    def forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.to)) as server:
            self.links += [client, server]
            answers = threading.Thread(target=self.relay, args=(server, client, False), daemon=True)
            answers.start()
            self.relay(client, server, True)
            answers.join()

    def relay(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(256):
                if counts:
                    self.count(len(data))
                sink.sendall(data)
        for link in (source, sink):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def count(self, length: int) -> None:
        with self.lock:
            self.seen += length
            if self.cut_after is None or self.seen < self.cut_after:
                return
            self.cut_after, self.is_cut = None, not self.once
            self.cuts += 1
            self.on_cut()
            self.sever()

    def sever(self) -> None:
        for link in self.links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        self.links.clear()


@contextmanager
def cutting_proxy(to: int) -> Iterator[CuttingProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = CuttingProxy(to=to, port=listener.getsockname()[1])
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            proxy.sever()
            thread.join(5)
