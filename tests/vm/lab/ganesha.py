# SPDX-License-Identifier: Apache-2.0
"""A real NFS server in user space (nfs-ganesha), one process per image store.

Each has an address of its own, so that one can die while the other serves. Its configuration, log
and recovery state lie in a folder of the test; the only thing shared with the machine is rpcbind,
which is started when there is none.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.vm.lab.owned import owned

# The lease is ganesha's default: a guest with an emulated CPU does not renew one of five seconds in
# time when it is busy, and what it asks for while it recovers ends with an input/output error. The
# grace period is short: no scenario waits for another client to reclaim what it had open.
_CONFIGURATION: Final = """
NFS_CORE_PARAM {{
  NFS_Port = 2049; MNT_Port = 20048; Bind_addr = {address};
  Protocols = 3,4; Enable_NLM = false; Enable_RQUOTA = false;
}}
NFSV4 {{
  Grace_Period = 1; Lease_Lifetime = 60; Minor_Versions = 0,1,2;
  RecoveryBackend = fs; RecoveryRoot = {home}/recovery;
}}
EXPORT {{
  Export_Id = {export_id}; Path = {directory}; Pseudo = {pseudo}; Access_Type = {access};
  Squash = No_Root_Squash; SecType = sys; Protocols = 3,4; Filesystem_Id = {export_id}.{generation};
  FSAL {{ Name = VFS; }}
  CLIENT {{ Clients = *; Access_Type = {access}; }}
}}
LOG {{ Default_Log_Level = EVENT; }}
"""
_RPCBIND_PORT: Final = 111
# What it writes when it has opened its port and knows its export.
_SERVES: Final = "NFS SERVER INITIALIZED"


@dataclass(slots=True)
class NfsServer:
    """One server with one export.

    Attributes:
        directory: What it exports, as this machine sees it.
        address: Where it listens.
    """

    directory: Path
    address: str
    export_id: int
    home: Path
    read_only: bool = False
    generation: int = 1
    process: subprocess.Popen[bytes] | None = None
    pseudo: str = field(init=False)

    def __post_init__(self) -> None:
        # The same path under every version of the protocol: what the store's URL says.
        self.pseudo = str(self.directory)

    @property
    def url(self) -> str:
        """As the management server knows the store."""
        return f"nfs://{self.address}{self.directory}"

    @property
    def log(self) -> str:
        """What it has written."""
        path = self.home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, deadline_s: float = 30) -> None:
        """Start it and wait until it serves."""
        assert self.process is None
        (self.home / "recovery").mkdir(parents=True, exist_ok=True)
        Path("/var/run/ganesha").mkdir(exist_ok=True)  # compiled in
        configuration = self.home / "ganesha.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                address=self.address,
                home=self.home,
                export_id=self.export_id,
                directory=self.directory,
                pseudo=self.pseudo,
                access="RO" if self.read_only else "RW",
                generation=self.generation,
            )
        )
        served = self.log.count(_SERVES)
        self.process = subprocess.Popen(
            owned("ganesha.nfsd", "-F", "-f", configuration, "-L", self.home / "log",
                  "-p", self.home / "pid"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + deadline_s
        while self.log.count(_SERVES) == served:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"The NFS server does not start:\n{self.log[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it without a word, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end; kill it when it does not within ten seconds."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after :meth:`freeze`."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self, *, read_only: bool = False, stale: bool = False) -> None:
        """Kill it and start it with another export.

        Args:
            read_only: Export for reading only.
            stale: Under another file system id, so that every handle given out before is stale.
        """
        if self.process is not None:
            self.kill()
        self.read_only = read_only
        self.generation += stale
        self.start()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "the NFS server does not run"
        return self.process

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self._running(), None
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_port(address: str, port: int, deadline_s: float = 30) -> None:
    """Wait until something accepts connections there (blocking)."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError as error:
            if time.monotonic() > end:
                raise TimeoutError(f"nobody listens on {address}:{port}") from error
            time.sleep(0.05)
        else:
            return


@contextmanager
def rpcbind() -> Iterator[None]:
    """Have a portmapper: the machine's, or one of our own while the context lasts."""
    try:
        socket.create_connection(("127.0.0.1", _RPCBIND_PORT), timeout=1).close()
    except OSError:
        process = subprocess.Popen(owned("rpcbind", "-f", "-w"), stdin=subprocess.DEVNULL)
        try:
            wait_for_port("127.0.0.1", _RPCBIND_PORT)
            yield
        finally:
            process.terminate()
            process.wait(10)
    else:
        yield


@contextmanager
def nfs_server(directory: Path, address: str, export_id: int, home: Path) -> Iterator[NfsServer]:
    """Export a directory for as long as the context lasts."""
    server = NfsServer(directory, address, export_id, home)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None:
            server.stop()


@contextmanager
def small_file_system(directory: Path, size_mib: int) -> Iterator[Path]:
    """A file system of its own, of limited size, at a directory.

    Args:
        directory: The mount point.
        size_mib: Its size.
    """
    image = directory.with_name(directory.name + ".ext4")
    directory.mkdir(parents=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image, f"{size_mib}M"], check=True)
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)
    shutil.rmtree(directory / "lost+found")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)
        image.unlink()
