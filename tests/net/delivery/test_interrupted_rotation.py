# SPDX-License-Identifier: Apache-2.0
"""A rotation cut, or killed, in the middle of every step leaves a way in, and can be ended."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.fakes.ssh_machines import SshMachine, cutting_proxy
from tests.net.delivery.conftest import Rig, logs_in

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("sshd", "ssh", "ssh-keygen", "unshare")]
TRUST = "--trust-new-host-key"
# A whole exchange sends some 9600 bytes in five logins of several steps each.
MOMENTS = range(600, 9800, 1150)


def phase(state: Path) -> str:
    return str(json.loads(state.read_text())["targets"][0]["phase"]) if state.exists() else ""


def must_have_a_way_in(rig: Rig, system_vm: SshMachine, reached: str) -> None:
    """Both keys before the removal is begun, the new one from then on."""
    if reached in ("", "waiting", "added", "verified"):
        assert logs_in(system_vm, rig.old)
    if reached in ("verified", "removing", "done"):
        assert logs_in(system_vm, rig.new)


def ends_well(rig: Rig, system_vm: SshMachine, *words: str) -> None:
    result = rig.rotate(*words)
    assert result["exit_code"] == 0, result
    assert logs_in(system_vm, rig.new)
    assert not logs_in(system_vm, rig.old)
    assert [file.name for file in system_vm.authorized_keys.parent.iterdir()] == ["authorized_keys"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_network_goes_away_for_good(rig: Rig, system_vm: SshMachine, moment: int) -> None:
    state = rig.folder / "state"
    with cutting_proxy(system_vm.port) as proxy:
        proxy.cut_after = moment
        result = rig.rotate(TRUST, "--state", str(state), proxy.host)
        if proxy.is_cut:
            # The last bytes say goodbye only.
            assert result["exit_code"] == (phase(state) != "done"), result
            must_have_a_way_in(rig, system_vm, phase(state))
        proxy.heal()
        ends_well(rig, system_vm, TRUST, "--resume", str(state))


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_command_is_killed(rig: Rig, system_vm: SshMachine, moment: int) -> None:
    state = rig.folder / "state"
    keys = ("--old-key", str(rig.old), "--new-key", str(rig.new))
    with cutting_proxy(system_vm.port) as proxy:
        words = rig.words("keys", "rotate", *keys, TRUST, "--state", str(state), proxy.host)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        proxy.on_cut = process.kill
        proxy.cut_after = moment
        assert process.wait() == (-9 if proxy.is_cut else 0)
        must_have_a_way_in(rig, system_vm, phase(state))
        proxy.heal()
        ends_well(rig, system_vm, TRUST, "--resume", str(state))


@pytest.mark.parametrize("moment", [3000, 6000, 8500])
def test_one_broken_connection_is_no_failure(rig: Rig, system_vm: SshMachine, moment: int) -> None:
    with cutting_proxy(system_vm.port) as proxy:
        proxy.cut_after, proxy.once = moment, True
        ends_well(rig, system_vm, TRUST, proxy.host)
        assert proxy.cuts == 1


def test_a_signal_lets_what_has_begun_end(rig: Rig, system_vm: SshMachine) -> None:
    keys = ("--old-key", str(rig.old), "--new-key", str(rig.new), "--json", "--parallel", "1")
    with cutting_proxy(system_vm.port) as proxy:
        words = rig.words("keys", "rotate", *keys, TRUST, proxy.host, "127.0.0.1:1")
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "XDG_STATE_HOME": str(rig.folder)},
        )
        proxy.once, proxy.on_cut, proxy.cut_after = True, process.terminate, 9000
        output, _ = process.communicate()
    result = json.loads(output)
    assert [one["result"] for one in result["targets"]] == ["done", "skipped"]
    assert logs_in(system_vm, rig.new)
