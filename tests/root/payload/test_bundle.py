# SPDX-License-Identifier: Apache-2.0
"""A real bundle in the tree of a real Debian: built, installed in a chroot, started, taken back."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from ssvm_agent.host.agents import is_agent
from ssvm_agent.payload.manifest import read_and_verify
from ssvm_agent.simulator.agent_process import write_agent_settings
from tests.fakes.payload_machine import stock_machine, visible

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("unshare", "mount", "chroot", "systemctl"),
    pytest.mark.skipif(
        not Path("/usr/bin/python3.11").exists(), reason="the machine's own interpreter is no 3.11"
    ),
]

# What a chroot needs of the machine to run programs.
_BORROWED = ("usr", "bin", "lib", "lib64", "sbin", "dev")


@pytest.fixture(name="machine")
def _machine(tmp_path: Path, archive: Path) -> Path:
    """A stock machine with the unpacked bundle in /tmp."""
    root = stock_machine(tmp_path / "root")
    for name in (*_BORROWED, "proc", "tmp"):
        (root / name).mkdir(exist_ok=True)
    # Its own /usr/local, for what is placed there.
    shutil.copy("/etc/os-release", root / "etc/os-release")
    with tarfile.open(archive) as tar:
        tar.extractall(root / "tmp", filter="tar")
    return root


def inside(root: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line in the machine's tree."""
    steps = [f"mount --rbind /{name} {root / name}" for name in _BORROWED]
    steps += [
        f"mkdir -p {root}/../local",
        f"mount --bind {root}/../local {root}/usr/local",
        f"mount -t proc proc {root}/proc",
        f"exec chroot {root} /bin/sh -c '{line}'",
    ]
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(steps)],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


def test_the_archive_is_what_its_checksum_and_manifest_say(archive: Path, tmp_path: Path) -> None:
    beside = archive.with_name(f"{archive.name}.sha256")
    subprocess.run(["sha256sum", "--check", "--quiet", beside], check=True, cwd=archive.parent)
    with tarfile.open(archive) as tar:
        tops = {name.partition("/")[0] for name in tar.getnames()}
        tar.extractall(tmp_path, filter="tar")
    assert tops == {archive.name.removesuffix(".tar.gz")}
    manifest = read_and_verify(tmp_path / tops.pop())
    assert (manifest.architecture, manifest.python) == (platform.machine(), "3.11")


def test_a_bundle_installs_itself_without_a_network_and_runs(machine: Path) -> None:
    before = visible(machine / "opt") | visible(machine / "etc")
    bundle = next((machine / "tmp").iterdir())
    done = inside(machine, f"unshare --net /tmp/{bundle.name}/install --offline --json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["result"] == "installed"
    assert inside(machine, "/opt/ssvm-agent/current/bin/ssvm-agent --version").returncode == 0
    status = inside(machine, "/opt/ssvm-agent/current/bin/ssvm-payload status --json")
    assert json.loads(status.stdout)["current"] == result["release"]
    again = inside(machine, f"/tmp/{bundle.name}/install --offline")
    assert "already" in again.stdout
    wants = machine / "etc/systemd/system/multi-user.target.wants"
    assert (wants / "cloud-early-config.service").is_symlink()
    imported = "import aiohttp, cryptography.x509, isal, msgspec, paramiko, zstandard, pyroute2"
    assert inside(machine, f'/opt/ssvm-agent/current/bin/python3 -I -c "{imported}"').stderr == ""
    undone = inside(machine, "/opt/ssvm-agent/current/bin/ssvm-payload undo --offline")
    assert undone.returncode == 0, undone.stderr
    left = {
        name for name in visible(machine / "opt") | visible(machine / "etc") if "wants/" not in name
    }
    assert {name for name in left if not name.startswith("ssvm-agent/")} == set(before)


def test_a_program_of_the_bundle_is_known_by_its_process(archive: Path, tmp_path: Path) -> None:
    """The pid file and ssvm-check look for it there."""
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="tar")
    program = next(tmp_path.iterdir()) / "bin/ssvm-agent"
    link = tmp_path / "ssvm-agent"
    link.symlink_to(program)
    agent_words = ["run", "--config", str(write_agent_settings(tmp_path / "agent", 9))]
    for called in (program, link):
        with subprocess.Popen([called, *agent_words], stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            process.stderr.readline()  # by then it is the agent, and no shell any more
            words = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
            process.terminate()
            process.communicate(timeout=20)
        assert is_agent(words) is True, words


def test_an_installation_that_is_refused_says_why(machine: Path) -> None:
    bundle = next((machine / "tmp").iterdir())
    (bundle / "share/systemd/cloud.service").write_text("")
    done = inside(machine, f"/tmp/{bundle.name}/install --offline")
    assert done.returncode == 1
    assert "share/systemd/cloud.service is missing or damaged" in done.stderr
    assert inside(machine, f"/tmp/{bundle.name}/install --no-such").returncode == 2
