# SPDX-License-Identifier: Apache-2.0
"""Exchange of keys on real sshd processes (boot-and-system.md 3.2)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.ssh_machines import SshMachine, make_key
from tests.net.delivery.conftest import Rig, logs_in

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("sshd", "ssh", "ssh-keygen", "unshare")]
TRUST = "--trust-new-host-key"
FOREIGN = (
    "# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9ChYQp5YfbZQ3gh5uPDqT6YmXzRbrSCMVtVH5Z1rH4 bob\n"
)


def test_the_key_is_exchanged_and_the_rest_of_the_file_stays(
    rig: Rig, system_vm: SshMachine
) -> None:
    old, new = (key.with_suffix(".pub").read_text() for key in (rig.old, rig.new))
    system_vm.allow(f'{FOREIGN}from="127.0.0.1,::1",no-pty {old}{FOREIGN}')
    system_vm.authorized_keys.chmod(0o640)
    result = rig.rotate(TRUST, system_vm.host)
    assert result["targets"][0]["ok"], result
    assert system_vm.allowed() == f'{FOREIGN}from="127.0.0.1,::1",no-pty {new}{FOREIGN}'
    assert system_vm.authorized_keys.stat().st_mode & 0o777 == 0o640
    assert [file.name for file in system_vm.authorized_keys.parent.iterdir()] == ["authorized_keys"]
    assert logs_in(system_vm, rig.new)
    assert not logs_in(system_vm, rig.old)
    again = rig.rotate(system_vm.host)
    assert again["targets"][0]["ok"], again


def test_one_that_is_down_fails_alone_and_resume_ends_the_run(
    rig: Rig, machine: Callable[..., SshMachine]
) -> None:
    machines = [machine(name) for name in ("one", "two", "three")]
    for one in machines:
        one.allow(rig.old.with_suffix(".pub").read_text())
    for one in machines[:2]:
        one.start()
    targets = rig.folder / "targets"
    targets.write_text("# all\n" + "".join(f"root@{one.host}\n" for one in machines))
    state = rig.folder / "state"
    first = rig.rotate(TRUST, "--targets", str(targets), "--state", str(state))
    assert [one["result"] for one in first["targets"]] == ["done", "done", "unreachable"]
    assert first["exit_code"] == 1
    assert "--resume" in first["stderr"]
    machines[2].start()
    assert logs_in(machines[2], rig.old)
    second = rig.rotate(TRUST, "--resume", str(state))
    assert second["exit_code"] == 0, second
    assert [one["message"] for one in second["targets"]][:2] == ["done in an earlier run"] * 2
    assert [logs_in(one, rig.new) for one in machines] == [True] * 3
    assert [logs_in(one, rig.old) for one in machines] == [False] * 3


def test_a_dry_run_changes_nothing(rig: Rig, system_vm: SshMachine) -> None:
    before = system_vm.allowed()
    result = rig.rotate("--dry-run", "--host-key", system_vm.fingerprint, system_vm.host)
    assert result["exit_code"] == 0, result
    assert "would add the new key" in result["targets"][0]["message"]
    assert system_vm.allowed() == before
    assert not rig.known_hosts.exists()


def test_the_table_is_for_people(rig: Rig, system_vm: SshMachine) -> None:
    words = ("--old-key", str(rig.old), "--new-key", str(rig.new), system_vm.host, TRUST)
    state = ("--state", str(rig.folder / "state"))
    done = rig.run("keys", "rotate", *words, *state)
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[0].split() == ["SYSTEM", "VM", "RESULT"]
    assert lines[1].startswith(f"{system_vm.host}  done")
    assert lines[-1] == "1 of 1 as wanted"
    assert "PRIVATE" not in done.stdout + done.stderr


def test_a_wrong_key_changes_nothing(rig: Rig, system_vm: SshMachine) -> None:
    before = system_vm.allowed()
    rig.old = make_key(rig.folder / "other", "-t", "rsa", "-b", "2048")
    result = rig.rotate(TRUST, system_vm.host)
    assert result["targets"][0]["result"] == "login_refused"
    assert "neither the old nor the new" in result["targets"][0]["message"]
    assert system_vm.allowed() == before


def test_an_old_key_that_comes_from_elsewhere_is_not_half_removed(
    rig: Rig, system_vm: SshMachine
) -> None:
    shutil.copy(system_vm.authorized_keys, system_vm.authorized_keys.with_name("authorized_keys2"))
    result = rig.rotate(TRUST, system_vm.host)
    assert "accepted from elsewhere" in result["targets"][0]["message"]
    assert logs_in(system_vm, rig.old)
    assert logs_in(system_vm, rig.new)
    assert rig.old.with_suffix(".pub").read_text() in system_vm.allowed()


def test_a_full_disk_leaves_the_file_alone(rig: Rig, machine: Callable[..., SshMachine]) -> None:
    full = machine("full", small_ssh=True)
    full.allow(rig.old.with_suffix(".pub").read_text())
    full.start()
    full.inside("head -c 20000 /dev/zero >/root/.ssh/ballast 2>/dev/null")
    before = full.allowed()
    result = rig.rotate(TRUST, full.host)
    assert "No space left" in result["targets"][0]["message"], result
    assert full.allowed() == before != ""
    assert full.inside("ls /root/.ssh").split() == ["authorized_keys", "ballast"]
    full.inside("rm /root/.ssh/ballast")
    assert rig.rotate("--resume", result["state"])["exit_code"] == 0


@pytest.mark.parametrize(
    ("kind", "form"),
    [("rsa", "PEM"), ("rsa", "RFC4716"), ("ed25519", "RFC4716"), ("ecdsa", "PKCS8")],
)
def test_every_kind_and_format_of_key_is_read(
    rig: Rig, system_vm: SshMachine, kind: str, form: str
) -> None:
    rig.new = make_key(rig.folder / "another", "-t", kind, "-m", form)
    assert rig.rotate(TRUST, system_vm.host)["exit_code"] == 0
    assert logs_in(system_vm, rig.new)


def test_the_state_of_another_run_is_refused(rig: Rig, system_vm: SshMachine) -> None:
    state = rig.folder / "state"
    other = {"format": 1, "old": "SHA256:a", "new": "SHA256:b", "targets": []}
    state.write_text(json.dumps(other))
    result = rig.rotate("--resume", str(state))
    assert result["exit_code"] == 2
    assert "about other keys" in result["error"]["message"]


def test_injecting_adds_a_key_and_tries_it(rig: Rig, system_vm: SshMachine) -> None:
    words = ("keys", "inject", "--key", str(rig.old), "--add-key")
    planned = rig.json(*words, str(rig.new), system_vm.host, TRUST, "--dry-run")
    assert planned["targets"][0]["message"] == "would be added"
    result = rig.json(*words, str(rig.new), system_vm.host, TRUST)
    assert result["targets"][0]["message"] == "added, and logs in"
    assert logs_in(system_vm, rig.old)
    again = rig.json(*words, f"{rig.new}.pub", system_vm.host)
    assert again["targets"][0]["message"] == "was there already"


def test_a_key_that_others_can_read_is_refused(rig: Rig, tmp_path: Path) -> None:
    rig.old.chmod(0o644)
    result = rig.rotate("127.0.0.1:1")
    assert "chmod 600" in result["error"]["detail"]
