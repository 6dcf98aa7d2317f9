# SPDX-License-Identifier: Apache-2.0
"""Host keys are pinned, and hypervisors gone through (boot-and-system.md 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.ssh_machines import SshMachine, make_key
from tests.net.delivery.conftest import Rig, logs_in

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("sshd", "ssh", "ssh-keygen", "unshare")]
TRUST = "--trust-new-host-key"


def test_an_unknown_host_is_not_believed(rig: Rig, system_vm: SshMachine) -> None:
    result = rig.rotate(system_vm.host)["targets"][0]
    assert result["result"] == "host_key"
    assert f"--host-key {system_vm.fingerprint}" in result["message"]
    assert "publickey" not in system_vm.log(), "a login was tried"
    assert not rig.known_hosts.exists()


def test_the_fingerprint_given_must_be_shown(rig: Rig, system_vm: SshMachine) -> None:
    other = "SHA256:" + "A" * 43
    result = rig.rotate("--host-key", other, system_vm.host)["targets"][0]
    assert system_vm.fingerprint in result["message"]
    assert other in result["message"]


def test_a_changed_key_is_refused_until_its_fingerprint_is_given(
    rig: Rig, system_vm: SshMachine
) -> None:
    words = ("keys", "inject", "--key", str(rig.old), "--add-key", str(rig.new), system_vm.host)
    assert rig.json(*words, "--host-key", system_vm.fingerprint)["exit_code"] == 0
    assert rig.json(*words)["exit_code"] == 0
    before = system_vm.fingerprint
    system_vm.stop()
    system_vm.new_host_key()
    system_vm.start()
    for more in ((), (TRUST,)):
        result = rig.json(*words, *more)["targets"][0]
        assert result["result"] == "host_key"
        assert before in result["message"]
        assert system_vm.fingerprint in result["message"]
        assert "made anew" in result["message"]
    assert rig.json(*words, "--host-key", system_vm.fingerprint)["exit_code"] == 0
    assert rig.json(*words)["exit_code"] == 0
    assert len(rig.known_hosts.read_text().splitlines()) == 1
    assert rig.known_hosts.stat().st_mode & 0o777 == 0o600


def test_openssh_reads_the_record(rig: Rig, system_vm: SshMachine) -> None:
    rig.rotate(TRUST, system_vm.host)
    name, kind, key = rig.known_hosts.read_text().split()
    assert name == f"[127.0.0.1]:{system_vm.port}"
    assert [kind, key] == Path(f"{system_vm.host_key}.pub").read_text().split()[:2]


@pytest.fixture
def hypervisor(rig: Rig, machine: Callable[..., SshMachine]) -> SshMachine:
    """A running host that another key opens."""
    made = machine("host", forwarding=True)
    key = make_key(rig.folder / "host_login", "-t", "ed25519")
    made.allow(key.with_suffix(".pub").read_text())
    made.start()
    return made


def jump(rig: Rig, hypervisor: SshMachine) -> tuple[str, ...]:
    return ("--jump", f"root@{hypervisor.host}", "--jump-key", str(rig.folder / "host_login"))


def test_the_way_through_the_hypervisor(
    rig: Rig, system_vm: SshMachine, hypervisor: SshMachine
) -> None:
    assert rig.rotate(TRUST, *jump(rig, hypervisor), system_vm.host)["exit_code"] == 0
    assert logs_in(system_vm, rig.new)
    assert not logs_in(system_vm, rig.old)
    assert "Accepted publickey" in hypervisor.log()
    names = {line.split()[0] for line in rig.known_hosts.read_text().splitlines()}
    host = f"[127.0.0.1]:{hypervisor.port}"
    assert names == {host, f"[127.0.0.1]:{system_vm.port}@{host}"}


def test_a_targets_file_names_ways_and_fingerprints(
    rig: Rig, system_vm: SshMachine, hypervisor: SshMachine
) -> None:
    targets = rig.folder / "targets"
    way = f"jump=root@{hypervisor.host} host-key={system_vm.fingerprint}"
    targets.write_text(f"{system_vm.host} {way}\n")
    key = ("--jump-key", str(rig.folder / "host_login"))
    print_ = ("--jump-host-key", hypervisor.fingerprint)
    assert rig.rotate("--targets", str(targets), *key, *print_)["exit_code"] == 0


def test_a_hypervisor_is_not_believed_at_first_sight_either(
    rig: Rig, system_vm: SshMachine, hypervisor: SshMachine
) -> None:
    result = rig.rotate(*jump(rig, hypervisor), system_vm.host)["targets"][0]
    assert result["result"] == "host_key"
    assert hypervisor.fingerprint in result["message"]


def test_a_system_vm_the_hypervisor_cannot_reach(rig: Rig, hypervisor: SshMachine) -> None:
    result = rig.rotate(TRUST, *jump(rig, hypervisor), "127.0.0.1:1")["targets"][0]
    assert result["result"] == "unreachable"
    assert f"from {hypervisor.host}" in result["message"]
