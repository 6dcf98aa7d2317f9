# SPDX-License-Identifier: Apache-2.0
"""``boot show``, ``boot plan`` and ``boot apply`` as people and programs use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.appliance.apply.request import Phase
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.cli import boot as boot_cli
from ssvm_agent.cli import main

TEXT = (
    "template=domP type=secstorage host=10.1.32.5 zone=1 name=s-1-VM eth0ip=169.254.1.2 "
    "eth0mask=255.255.0.0 eth1ip=10.1.34.20 eth1mask=255.255.255.0 eth2ip=203.0.113.21 "
    "eth2mask=255.255.255.0 gateway=203.0.113.1 localgw=10.1.34.1 dns1=8.8.8.8 "
    "vmpassword=geheim authorized_key=Z2VoZWltZ2VoZWlt futurekey=1 dns2=nonsense"
)


@pytest.fixture(name="text")
def _text(tmp_path: Path) -> str:
    path = tmp_path / "cmdline"
    path.write_text(TEXT)
    return str(path)


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(words)
    return code, json.loads(capsys.readouterr().out)


def test_the_choices_are_those_of_the_machine_room() -> None:
    assert set(boot_cli.HYPERVISORS) == {one.value for one in Hypervisor}
    assert set(boot_cli.PHASES) == {one.value for one in Phase}


def test_show_masks_and_tells_what_is_missing_and_odd(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    code, shown = as_json(capsys, "boot", "show", text, "--hypervisor", "kvm", "--json")
    assert code == 0
    assert shown["settings"]["host"] == "10.1.32.5"
    assert shown["settings"]["vmpassword"] == shown["settings"]["authorized_key"] == "******"
    assert set(shown["missing"]) == {"guid"}
    assert shown["odd"] == ["dns2 is no IP address; it is not used as a name server"]
    assert shown["unknown"] == ["futurekey"]
    assert shown["source"]["hypervisor_reason"] == "as told"


def test_show_for_people(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert main(["boot", "show", text]) == 0
    said = capsys.readouterr().out
    assert "missing: guid: the agent cannot register" in said
    assert "geheim" not in said


def test_plan_prints_the_declared_machine(capsys: pytest.CaptureFixture[str], text: str) -> None:
    code, plan = as_json(capsys, "boot", "plan", text, "--hypervisor", "vmware", "--json")
    assert code == 0
    assert plan["sshd_listen"] == "10.1.34.20"
    assert plan["routes"][0] == {"destination": "default", "via": "203.0.113.1", "dev": "eth2"}
    assert plan["interfaces"].startswith("auto lo eth0 eth1 eth2\n")
    assert "geheim" not in json.dumps(plan)


def test_plan_for_people(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert main(["boot", "plan", text]) == 0
    said = capsys.readouterr().out
    assert "[routes]\ndefault via 203.0.113.1 dev eth2\n" in said
    assert "enabled: cloud apache2 nfs-common portmap" in said


def test_apply_below_a_root(capsys: pytest.CaptureFixture[str], text: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    words = ("boot", "apply", text, "--root", str(root), "--json")
    code, report = as_json(capsys, *words, "--dry-run")
    assert (code, report["dry_run"], list(root.iterdir())) == (1, True, [])
    code, report = as_json(capsys, *words)
    # Its key is no key: one item failed, and the rest is there.
    assert code == 1
    failed = [item["name"] for item in report["items"] if item["status"] == "failed"]
    assert failed == ["file /root/.ssh/authorized_keys"]
    assert (root / "etc/hostname").read_text() == "s-1-VM\n"
    _, report = as_json(capsys, *words)
    assert report["changed"] == 0


def test_apply_for_people(capsys: pytest.CaptureFixture[str], text: str, tmp_path: Path) -> None:
    main(["boot", "apply", text, "--root", str(tmp_path / "root"), "--phase", "early"])
    said = capsys.readouterr().out
    assert "changed       file /etc/hosts: it was not there" in said
    assert "failed        file /root/.ssh/authorized_keys: authorized_key is no SSH" in said
    assert "phase early" in said


def test_a_text_of_another_machine_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "cmdline"
    path.write_text("type=router name=r-1-VM")
    assert main(["boot", "apply", str(path), "--root", str(tmp_path / "root")]) == 1
    assert "not for secondary storage" in capsys.readouterr().out
    assert not (tmp_path / "root/etc").exists()


@pytest.mark.parametrize("action", ["show", "plan", "apply"])
def test_a_missing_file_is_said(capsys: pytest.CaptureFixture[str], action: str) -> None:
    assert main(["boot", action, "/nowhere/cmdline"]) == 1
    assert "/nowhere/cmdline cannot be read: No such file" in capsys.readouterr().err


def test_without_a_file_what_was_tried_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    if Path("/var/cache/cloud/cmdline").exists():
        pytest.skip("this kernel's machine has a boot text")
    assert main(["boot", "show", "--wait", "0"]) == 1
    assert "kernel command line: nothing has come" in capsys.readouterr().err
