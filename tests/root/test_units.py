# SPDX-License-Identifier: Apache-2.0
"""The units under a real service manager: they are sound, confined, boot in order, and work so."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
UNITS = REPOSITORY / "systemd"
AGENT = "opt/ssvm-agent/current/bin/ssvm-agent"
_MOST_EXPOSED = 3.0

# Where the machine under test sees this project and its environment, wherever they are outside: a
# container has a /tmp of its own.
PROJECT = "/opt/project"
ENVIRONMENT = "/opt/environment"
PYTHON = f"{ENVIRONMENT}/bin/python"

pytestmark = [pytest.mark.needs("systemd-analyze")]


def run(*argv: str | Path, timeout: float = 60) -> str:
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def service_files() -> list[Path]:
    return sorted(UNITS.glob("*.service"))


def test_the_units_of_a_boot_are_all_there() -> None:
    """boot-and-system.md 7: the names are kept."""
    assert {unit.stem for unit in service_files()} == {
        "cloud-preinit", "cloud-early-config", "cloud-postinit", "cloud", "ssvm-payload-mend",
    }  # fmt: skip


def test_the_units_are_sound(tmp_path: Path) -> None:
    """As the service manager reads them, with the program where the payload puts it."""
    directory = tmp_path / "units"
    directory.mkdir()
    program = tmp_path / "ssvm-agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in service_files():
        text = re.sub(r"/opt/ssvm-agent/current/bin/[a-z-]+", str(program), unit.read_text())
        (directory / unit.name).write_text(text)
    said = run("systemd-analyze", "verify", "--man=no", *sorted(directory.iterdir()))
    assert [line for line in said.splitlines() if "cloud" in line or "ssvm" in line] == []


def test_the_agent_is_confined() -> None:
    """S7. What remains is justified in the unit."""
    said = run("systemd-analyze", "security", "--offline=true", UNITS / "cloud.service")
    found = re.search(r"Overall exposure level for cloud.service: ([\d.]+)", said)
    assert found is not None
    assert float(found[1]) <= _MOST_EXPOSED
    justified = (UNITS / "cloud.service").read_text()
    for line in said.splitlines():
        if line.startswith("✗"):
            option = re.split(r"[=~ ]", line[2:].strip())[0]
            assert option in justified, f"{line} is not justified"


@pytest.mark.needs("systemd-tmpfiles")
def test_the_directories_are_made(tmp_path: Path) -> None:
    stale = tmp_path / "var/cache/cloud/boot_up_done"
    stale.parent.mkdir(parents=True)
    stale.write_text("last boot")
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", tmp_path / "etc" / name)
    run("systemd-tmpfiles", "--create", "--remove", "--boot", f"--root={tmp_path}",
        UNITS / "tmpfiles.d/ssvm-agent.conf")  # fmt: skip
    assert (tmp_path / "mnt/SecStorage").is_dir()
    assert not stale.exists()


@pytest.mark.needs("logrotate")
def test_the_rotation_is_sound() -> None:
    said = run("logrotate", "--debug", UNITS / "logrotate.d/ssvm-agent")
    assert "error:" not in said


# --- a boot ---------------------------------------------------------------------------------------

TEXT = (
    "template=domP type=secstorage host=10.1.32.5 port=8250 name=s-1-VM zone=1 pod=1 guid=s-1-VM "
    "eth0ip=169.254.102.7 eth0mask=255.255.0.0 eth1ip=10.1.34.20 eth1mask=255.255.255.0 "
    "eth2ip=203.0.113.21 eth2mask=255.255.255.0 gateway=203.0.113.1 mgmtcidr=10.1.32.0/24 "
    "localgw=10.1.34.1 dns1=8.8.8.8 vmpassword=kX7pQ2 instance=SecStorage role=templateProcessor "
    "resource=com.cloud.storage.resource.PremiumSecondaryStorageResource"
)

# Runs inside, when the boot is over, and writes down what it finds.
_OBSERVER = r"""
import json, pathlib, subprocess, sys, time
def out(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr
def show(unit):
    words = "ActiveState,SubState,Result,ExecMainStatus,InactiveExitTimestampMonotonic,NRestarts"
    lines = out("systemctl", "show", f"--property={words}", unit).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
end = time.monotonic() + 40
while show("cloud.service").get("ActiveState") in ("inactive", "activating"):
    if time.monotonic() > end:
        break
    time.sleep(0.2)
# The agent makes Apache ready in the background, and may restart it for that.
def settled():
    said = out("journalctl", "--no-pager", "-o", "cat", "-u", "cloud.service")
    apache = show("apache2.service").get("ActiveState")
    return "apache restarted" in said and apache in ("active", "failed")
while not settled() and time.monotonic() < end:
    time.sleep(0.2)
names = ("cloud-preinit", "cloud-early-config", "cloud-postinit", "cloud")
report = {"units": {name: show(f"{name}.service") for name in names}}
report["listener"] = show("listener.service")
def journal(unit):
    return out("journalctl", "--no-pager", "-o", "cat", "-u", unit)
report["journal"] = {name: journal(name) for name in names}
report["addresses"] = out("ip", "-br", "address")
report["filter"] = out("iptables", "-S")
report["host_name"] = out("hostname").strip()
report["files"] = {
    path: pathlib.Path(path).read_text() if pathlib.Path(path).exists() else None
    for path in ("/etc/hosts", "/var/cache/cloud/boot_up_done", "/var/cache/cloud/enabled_svcs")
}
report["boot_text_mode"] = oct(pathlib.Path("/var/cache/cloud/cmdline").stat().st_mode & 0o777)
report["again"] = out("/opt/ssvm-agent/current/bin/ssvm-agent", "boot", "apply", "--json")
out("systemctl", "stop", "cloud.service")
report["stopped"] = show("cloud.service")
report["probe"] = out("systemctl", "start", "--wait", "probe.service")
report["probe_journal"] = journal("probe")
report["mounts_outside"] = pathlib.Path("/proc/self/mountinfo").read_text()
pathlib.Path("/result/report.json").write_text(json.dumps(report))
out("systemctl", "--no-block", "exit", "0")
"""

# Runs in place of the agent, under the same restrictions.
_PROBE = r"""
import asyncio, json, os, pathlib, socket, sys
from ssvm_agent.host.outside import OutsideRunner
from ssvm_agent.host.run import ResourceLimits, SystemRunner
findings = {}
def note(name, call):
    try:
        call()
        findings[name] = "works"
    except OSError as error:
        findings[name] = error.strerror
async def programs():
    inside, outside = SystemRunner(), OutsideRunner(SystemRunner())
    async def tell(name, runner, *argv, **more):
        result = await runner.run(argv, deadline_s=20, check=False, **more)
        findings[name] = result.stderr.decode()[-300:] if result.returncode else "works"
        return result
    await tell("mount inside", inside, "mount", "-t", "tmpfs", "t", "/mnt/SecStorage/inside")
    await tell("mount outside", outside, "mount", "-t", "tmpfs", "t$HOME x", "/mnt/SecStorage/a b")
    await tell("mount fails outside", outside, "mount", "-t", "tmpfs", "t", "/nowhere")
    limits = ResourceLimits(address_space_bytes=1 << 30, cpu_s=10, no_network=True)
    await tell("limited", inside, "true", limits=limits)
    await tell("filter", inside, "iptables", "-S")
    await tell("manager", inside, "systemctl", "show", "--property=Version")
for name in ("inside", "a b"):
    pathlib.Path("/mnt/SecStorage", name).mkdir(exist_ok=True)
asyncio.run(programs())
note("stored", lambda: pathlib.Path("/mnt/SecStorage/a b/file").write_text("x"))
note("chown", lambda: os.chown("/mnt/SecStorage/a b/file", 33, 33))
note("etc", lambda: pathlib.Path("/etc/passwd").open("a"))
note("usr", lambda: pathlib.Path("/usr/bin/new").write_text("x"))
note("agent.properties", lambda: pathlib.Path("/usr/local/cloud/systemvm/conf/x").write_text("x"))
note("certificates", lambda: pathlib.Path("/etc/ssl/certs/x").write_text("x"))
note("state", lambda: pathlib.Path("/var/lib/ssvm-agent/x").write_text("x"))
note("credentials", lambda: pathlib.Path("/run/ssvm-agent/x").write_text("x"))
note("port 443", lambda: socket.create_server(("127.0.0.1", 443)))
note("raw socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
for module in ("aiohttp", "cryptography.x509", "paramiko", "isal.isal_zlib", "zstandard"):
    __import__(module)
from cryptography.hazmat.primitives.asymmetric import ec, rsa
rsa.generate_private_key(65537, 2048)
findings["mountinfo"] = pathlib.Path("/proc/self/mountinfo").read_text()
pathlib.Path("/mnt/SecStorage/findings.json").write_text(json.dumps(findings))
"""


class Machine:
    """A container with this machine's programs, our units, and three interfaces."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.root = work / "root"
        self.space = f"ssvm-u-{secrets.token_hex(3)}"

    def prepare(self) -> None:
        for name in ("upper", "work", "root", "result"):
            (self.work / name).mkdir()
        options = f"lowerdir=/,upperdir={self.work}/upper,workdir={self.work}/work"
        run("mount", "-t", "overlay", "overlay", "-o", options, self.root)
        run("ip", "netns", "add", self.space)
        for number in range(3):
            run("ip", "-n", self.space, "link", "add", f"eth{number}", "type", "bridge")
        units = self.root / "etc/systemd/system"
        for unit in service_files():
            shutil.copy(unit, units)
        shutil.copytree(UNITS / "tmpfiles.d", self.root / "etc/tmpfiles.d", dirs_exist_ok=True)
        self.write(
            AGENT, f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {PYTHON} -m ssvm_agent "$@"\n', 0o755
        )
        self.write("usr/local/cloud/systemvm/conf/agent.properties", "")
        self.write("var/cache/cloud/cmdline", TEXT)
        self.write("opt/observer.py", _OBSERVER)
        self.write("opt/probe.py", _PROBE)
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        # The environment's own interpreter may live in somebody's home.
        see = f"[Service]\nWorkingDirectory={PROJECT}\nProtectHome=read-only\n"
        self.write("etc/systemd/system/cloud.service.d/here.conf", see)
        for name in ("cloud-preinit", "cloud-early-config", "cloud-postinit"):
            place = f"etc/systemd/system/{name}.service.d/here.conf"
            self.write(place, f"[Service]\nWorkingDirectory={PROJECT}\n")
        probe = (UNITS / "cloud.service").read_text().replace("Type=notify", "Type=oneshot")
        probe = re.sub(r"ExecStart=.*", f"ExecStart={PYTHON} /opt/probe.py", probe)
        probe = re.sub(r"(?m)^(WatchdogSec|Restart|NotifyAccess)=.*\n", "", probe)
        self.write("etc/systemd/system/probe.service", probe)
        self.write("etc/systemd/system/probe.service.d/here.conf",
                   f"{see}Environment=PYTHONPATH={PROJECT}\n")  # fmt: skip
        self.write(
            "etc/systemd/system/observer.service",
            "[Unit]\nAfter=cloud-postinit.service\n[Service]\nType=oneshot\n"
            f"ExecStart={PYTHON} /opt/observer.py\n",
        )
        # As sshd: it names no unit of ours, and listens on an address the boot makes.
        listen = "import socket; socket.create_server(('10.1.34.20', 0))"
        self.write(
            "etc/systemd/system/listener.service",
            "[Unit]\nAfter=network.target\n[Service]\nType=oneshot\n"
            f'ExecStart={PYTHON} -c "{listen}"\n',
        )
        self.write(
            "etc/systemd/system/observed.target",
            "[Unit]\nRequires=basic.target\nWants=listener.service cloud-preinit.service "
            "cloud-early-config.service cloud-postinit.service observer.service\n",
        )

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def boot(self) -> dict[str, Any]:
        said = run(
            "systemd-nspawn", "--quiet", "--directory", self.root, "--register=no", "--keep-unit",
            f"--network-namespace-path=/run/netns/{self.space}", "--capability=CAP_NET_ADMIN",
            f"--bind={self.work}/result:/result", f"--bind-ro={REPOSITORY}:{PROJECT}",
            f"--bind-ro={sys.prefix}:{ENVIRONMENT}", "--boot", "systemd.unit=observed.target",
            timeout=110,
        )  # fmt: skip
        file = self.work / "result/report.json"
        assert file.exists(), said[-3000:]
        report: dict[str, Any] = json.loads(file.read_text())
        return report

    def remove(self) -> None:
        for argv in (f"umount {self.root}", f"ip netns delete {self.space}"):
            subprocess.run(argv.split(), check=False, capture_output=True)


@pytest.fixture(name="machine", scope="module")
def _machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    work = tmp_path_factory.mktemp("machine")
    # An overlay cannot lie on another overlay's upper layer; memory is always fine.
    run("mount", "-t", "tmpfs", "-o", "mode=755", "machine", work)
    machine = Machine(work)
    try:
        machine.prepare()
        yield machine
    finally:
        machine.remove()
        subprocess.run(["umount", "--lazy", work], check=False, capture_output=True)


@pytest.fixture(name="report", scope="module")
def _report(machine: Machine) -> dict[str, Any]:
    return machine.boot()


boots = [
    pytest.mark.needs_root,
    pytest.mark.needs("systemd-nspawn", "ip", "iptables"),
    pytest.mark.slow,
    pytest.mark.timeout(150),
]


def marked(test: Any) -> Any:
    """The marks of tests that boot a machine."""
    for mark in boots:
        test = mark(test)
    return test


@marked
def test_a_boot_ends_with_a_running_agent(report: dict[str, Any]) -> None:
    """From the boot text to ready, in the order of boot-and-system.md 7."""
    states = {name: unit["ActiveState"] for name, unit in report["units"].items()}
    assert states == dict.fromkeys(states, "active"), report["journal"]
    begun = [
        int(report["units"][name]["InactiveExitTimestampMonotonic"])
        for name in ("cloud-preinit", "cloud-early-config", "cloud-postinit", "cloud")
    ]
    assert begun == sorted(begun)
    assert report["units"]["cloud"]["NRestarts"] == "0"


@marked
def test_what_starts_behind_the_network_finds_its_addresses(report: dict[str, Any]) -> None:
    """Also where no other unit wants network.target (boot-and-system.md 3.1)."""
    assert report["listener"]["Result"] == "success"
    assert report["listener"]["ExecMainStatus"] == "0"


@marked
def test_the_booted_machine_is_the_declared_one(report: dict[str, Any]) -> None:
    assert report["host_name"] == "s-1-VM"
    assert "203.0.113.21 s-1-VM" in report["files"]["/etc/hosts"]
    assert "10.1.34.20/24" in report["addresses"]
    assert "-P INPUT DROP" in report["filter"]
    assert report["files"]["/var/cache/cloud/enabled_svcs"] == "cloud apache2 nfs-common portmap\n"
    assert report["files"]["/var/cache/cloud/boot_up_done"]
    assert report["boot_text_mode"] == "0o600"
    assert "kX7pQ2" not in json.dumps(report["journal"])


@marked
def test_applying_again_on_the_booted_machine_changes_nothing(report: dict[str, Any]) -> None:
    """R27, passwords and services included."""
    again = json.loads(report["again"])
    changed = [item for item in again["items"] if item["status"] not in {"unchanged", "skipped"}]
    assert changed == []


@marked
def test_a_stop_is_a_clean_end(report: dict[str, Any]) -> None:
    assert report["stopped"]["Result"] == "success"
    assert report["stopped"]["ActiveState"] == "inactive"


@marked
def test_the_confined_agent_can_do_its_work_and_no_more(
    machine: Machine, report: dict[str, Any]
) -> None:
    file = machine.root / "mnt/SecStorage/findings.json"
    assert file.exists(), report["probe_journal"]
    findings = json.loads(file.read_text())
    mounts = findings.pop("mountinfo")
    refused = {
        name: findings.pop(name)
        for name in ("mount inside", "mount fails outside", "etc", "usr", "raw socket")
    }
    assert findings == dict.fromkeys(findings, "works")
    assert all(text != "works" for text in refused.values()), refused
    assert "/nowhere" in refused["mount fails outside"]
    # The same store is there for the agent and for everybody else.
    assert "/mnt/SecStorage/a\\040b" in mounts
    assert "/mnt/SecStorage/a\\040b" in report["mounts_outside"]
    assert "t$HOME\\040x" in report["mounts_outside"]
