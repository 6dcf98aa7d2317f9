# SPDX-License-Identifier: Apache-2.0
"""A stock system VM under a real service manager: a container with this machine's programs.

It has sshd on port 3922, and a management server may run beside it, in its network.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.fakes.ssh_machines import make_key
from tests.fakes.stock_payload import IN_AGENT, IN_SCRIPTS

_HOST = "127.0.0.1"
_PORT = 3922
TEXT = (
    f"template=domP type=secstorage host={_HOST} port=8250 name=s-1-VM zone=1 pod=1 guid=s-1-VM "
    "eth0ip=169.254.102.7 eth0mask=255.255.0.0 eth1ip=10.1.34.20 eth1mask=255.255.255.0 "
    "eth2ip=203.0.113.21 eth2mask=255.255.255.0 gateway=203.0.113.1 mgmtcidr=10.1.32.0/24 "
    "localgw=10.1.34.1 dns1=8.8.8.8 instance=SecStorage role=templateProcessor "
    "resource=com.cloud.storage.resource.PremiumSecondaryStorageResource"
)
_SSHD = (
    "/usr/sbin/sshd -D -e -f /dev/null -o LogLevel=ERROR -o Port={port} "
    "-o ListenAddress={host} "
    "-o HostKey=/etc/vm_host_key -o PidFile=none -o UsePAM=no "
    "-o AuthorizedKeysFile=/etc/vm_authorized_keys -o PermitRootLogin=prohibit-password "
    "-o 'Subsystem=sftp internal-sftp'"
)
_UNIT = "etc/systemd/system"


class BootedVM:
    """One of them, below a directory that is a mount of its own (an overlay wants that)."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.root = work / "root"
        self.key = work / "key"
        self._space = f"ssvm-p-{secrets.token_hex(3)}"
        self._machine: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """For ``ssvm-deliver``."""
        return f"{_HOST}:{_PORT}"

    def make(self) -> None:
        """Its disk and its network."""
        for name in ("upper", "work", "root"):
            (self.work / name).mkdir()
        options = f"lowerdir=/,upperdir={self.work}/upper,workdir={self.work}/work"
        _run("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))
        _run("ip", "netns", "add", self._space)
        _run("ip", "-n", self._space, "link", "set", "lo", "up")
        for number in range(3):
            device = f"eth{number}"
            _run("ip", "-n", self._space, "link", "add", device, "type", "bridge")
        make_key(self.key, "-t", "ecdsa", "-m", "PEM")
        make_key(self.root / "etc/vm_host_key", "-t", "ecdsa")
        self.write("etc/vm_authorized_keys", self.key.with_suffix(".pub").read_text(), 0o600)
        for path, text in IN_SCRIPTS.items():
            self.write(path, text, 0o755 if "/bin/" in path else 0o644)
        for path, text in IN_AGENT.items():
            self.write(f"usr/local/cloud/systemvm/{path}", text, 0o555)
        self.write("usr/local/cloud/systemvm/conf/agent.properties", "host=127.0.0.1\n")
        self.write("var/cache/cloud/cmdline", TEXT)
        self.write("var/cache/cloud/enabled_svcs", "cloud\n")
        self.write("run/sshd/.keep", "")
        self.write("etc/tmpfiles.d/vm-sshd.conf", "d /run/sshd 0755\n")
        sshd = _SSHD.format(host=_HOST, port=_PORT)
        self.write(f"{_UNIT}/vm-sshd.service", f"[Service]\nExecStart={sshd}\n")
        # As the last step of a stock boot does.
        self.write(
            f"{_UNIT}/vm-postinit.service",
            "[Unit]\nAfter=basic.target\n[Service]\nType=oneshot\n"
            "ExecStart=systemctl --no-block start cloud\n",
        )
        self.write(
            f"{_UNIT}/vm.target",
            "[Unit]\nRequires=multi-user.target\nWants=vm-sshd.service vm-postinit.service\n",
        )
        # This machine's own services have no place in it.
        wants = self.root / _UNIT / "multi-user.target.wants"
        _run("rm", "-rf", str(wants))
        wants.mkdir()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file on its disk."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def boot(self) -> None:
        """Start it; returns when it can be logged in to."""
        words = [
            "systemd-nspawn", "--quiet", "--directory", str(self.root), "--register=no",
            "--keep-unit", f"--network-namespace-path=/run/netns/{self._space}",
            "--capability=CAP_NET_ADMIN", "--console=pipe", "--boot", "systemd.unit=vm.target",
        ]  # fmt: skip
        with (self.work / "console").open("ab") as console:
            self._machine = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        self.wait_for("true")

    def cut_power(self) -> None:
        """Nothing in it gets to do anything any more."""
        if self._machine is not None:
            pid = self._machine.pid
            # Its first process; with that all others are gone.
            for first in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                os.kill(int(first), signal.SIGKILL)
            self._machine.wait()
            self._machine = None

    def sh(self, script: str, *, check: bool = True) -> str:
        """Run a script in it, over SSH; what it printed."""
        words = [
            "ssh", "-F", "none", "-i", str(self.key), "-p", str(_PORT), "-o", "BatchMode=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", f"root@{_HOST}", script,
        ]  # fmt: skip
        done = self.beside(*words)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout if done.returncode == 0 else ""

    def wait_for(self, condition: str, within_s: float = 60.0) -> None:
        """Until a command in it succeeds."""
        end = time.monotonic() + within_s
        while not self.sh(f"{condition} >&2 && echo yes", check=False):
            assert time.monotonic() < end, f"{condition}\n{self.log()}"
            time.sleep(0.2)

    def log(self) -> str:
        """The end of its journal, or of what it said on its console."""
        said = self.sh("journalctl --no-pager -n 60 -o cat", check=False)
        return said or (self.work / "console").read_text("utf-8", "replace")[-3000:]

    def beside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in its network."""
        return subprocess.run(
            ["ip", "netns", "exec", self._space, *words],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start_server(self) -> None:
        """A management server comes up."""
        main = "import sys; from ssvm_agent.simulator.cli import main; sys.exit(main())"
        words = (sys.executable, "-c", main, "serve", "--port", "8250")
        self._server = subprocess.Popen(
            ["ip", "netns", "exec", self._space, *words],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop_server(self) -> None:
        """It is gone."""
        if self._server is not None:
            self._server.kill()
            self._server.communicate()
            self._server = None

    def remove(self) -> None:
        """Leave nothing behind."""
        self.stop_server()
        self.cut_power()
        for words in (["umount", "--lazy", str(self.root)], ["ip", "netns", "delete", self._space]):
            subprocess.run(words, check=False, capture_output=True)


def _run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
