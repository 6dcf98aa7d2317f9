# SPDX-License-Identifier: Apache-2.0
"""A real bundle in a booted stock system VM: delivered, undone, patched over, cut off (R29)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.payload import stock
from tests.fakes.booted_vm import TEXT, BootedVM
from tests.fakes.stock_payload import UNPACK, stock_payload
from tests.fixtures.bundles import other_than

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("systemd-nspawn", "ip", "sshd", "ssh", "iptables", "xorriso", "unzip"),
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        not Path("/usr/bin/python3.11").exists(), reason="the machine's own interpreter is no 3.11"
    ),
]

ROOT = Path(__file__).parents[3]
STOCK = "pgrep -f '[s]leep infinity'"
OURS = "systemctl is-active cloud && pgrep -f '/opt/ssvm-agent/current/bin/[s]svm-agent'"
JOURNAL = "/var/lib/ssvm-agent/payload.json"
DELIVERED = f"test -e /var/lib/ssvm-agent/delivered && grep -q confirmed {JOURNAL}"
LINKED = "grep -q '\"ready\"' /var/lib/ssvm-agent/status.json"
_DELIVER = "import sys; from ssvm_agent.delivery.cli import main; sys.exit(main())"


@pytest.fixture(name="vm")
def _vm(tmp_path: Path) -> Iterator[BootedVM]:
    work = tmp_path / "vm"
    work.mkdir()
    # An overlay cannot lie on another overlay's upper layer; memory is always fine.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "vm", work], check=True)
    vm = BootedVM(work)
    try:
        vm.make()
        vm.boot()
        yield vm
    finally:
        vm.remove()
        subprocess.run(["umount", "--lazy", work], check=False, capture_output=True)


def deliver(vm: BootedVM, job: str, *words: str) -> dict[str, Any]:
    known = ("--known-hosts", str(vm.work / "known_hosts"), "--trust-new-host-key")
    done = vm.beside(
        sys.executable, "-c", _DELIVER, job, "--host", vm.host, "--key", str(vm.key), *known,
        "--json", *words,
    )  # fmt: skip
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["exit_code"] == done.returncode
    return {**result, "said": done.stderr}


def test_a_bundle_is_delivered_to_a_booted_machine(vm: BootedVM, archive: Path) -> None:
    """Rolled back without a management server, installed with one, undone."""
    vm.wait_for(STOCK)
    enabled = vm.sh("systemctl is-enabled cloud || true")
    before = vm.sh("cat /opt/cloud/bin/patched.sh")

    result = deliver(vm, "install", str(archive), "--confirm-within", "5")
    assert result["exit_code"] == 3, result
    assert "no management server was reached within 5 s" in result["installer"]["reason"]
    vm.wait_for(STOCK)
    assert vm.sh("cat /opt/cloud/bin/patched.sh") == before
    assert vm.sh("systemctl is-enabled cloud || true") == enabled

    vm.start_server()
    result = deliver(vm, "install", str(archive), "--confirm-within", "60")
    assert result["exit_code"] == 0, result
    vm.wait_for(OURS)
    # By the service manager, so that a broken connection ends nothing.
    assert "ssvm-deliver-" in vm.sh("journalctl --no-pager -o short | grep systemd")
    report = deliver(vm, "status")
    assert report["installed"] == result["installer"]["release"]
    assert report["payload"]["last"]["stage"] == "confirmed"
    assert vm.sh("systemctl is-enabled cloud") == "enabled\n"

    assert deliver(vm, "undo")["exit_code"] == 0
    vm.wait_for(STOCK)
    assert vm.sh("systemctl is-enabled cloud || true") == enabled
    assert vm.sh("cat /opt/cloud/bin/patched.sh") == before
    assert deliver(vm, "status")["installed"] is None


def test_the_cloud_delivers_it_and_patches_live(
    vm: BootedVM, archive: Path, tmp_path: Path
) -> None:
    """boot-and-system.md 4.3 and 4.5. The same files do nothing in a console proxy."""
    vm.start_server()
    vm.write("var/cache/cloud/cmdline", TEXT.replace("=secstorage", "=consoleproxy"))
    upload(vm, archive, tmp_path / "first")
    vm.sh(f"systemctl stop cloud\n{UNPACK}\nsystemctl daemon-reload; systemctl start cloud")
    vm.wait_for("[ $(systemctl show -P InactiveEnterTimestampMonotonic ssvm-agent-payload) != 0 ]")
    assert vm.sh("systemctl show -P Result ssvm-agent-payload; ls /var/lib") != ""
    assert vm.sh("systemctl is-failed ssvm-agent-payload || true") == "inactive\n"
    assert not (vm.root / "opt/ssvm-agent").exists()
    assert not (vm.root / "var/lib/ssvm-agent").exists()
    vm.wait_for(STOCK)

    vm.write("var/cache/cloud/cmdline", TEXT)
    vm.sh("systemctl restart cloud")
    vm.wait_for(DELIVERED)
    vm.wait_for(OURS)
    first = vm.sh("readlink /opt/ssvm-agent/current")
    certificates = {"cloud.jks": "store", "cloud.key": "key"}
    for name, text in certificates.items():
        vm.write(f"usr/local/cloud/systemvm/conf/{name}", text, 0o600)
    persisted = "grep ^host=127.0.0.1 /usr/local/cloud/systemvm/conf/agent.properties"
    assert vm.sh(persisted)

    # The same once more: ours stays, and is put back where something was unpacked over it.
    patch(vm, archive, tmp_path / "second")
    for name, text in certificates.items():
        assert vm.sh(f"cat /usr/local/cloud/systemvm/conf/{name}") == text
    assert vm.sh(persisted)
    assert vm.sh("readlink /opt/ssvm-agent/current") == first
    vm.wait_for(LINKED)
    assert vm.sh("cmp /opt/cloud/bin/patched.sh /opt/ssvm-agent/current/share/system-vm/opt/cloud"
                 "/bin/patched.sh && echo same") == "same\n"  # fmt: skip

    # Another one: installed when the live patch is over. It kept no settings without a key store.
    (vm.root / "usr/local/cloud/systemvm/conf/cloud.jks").unlink()
    patch(vm, other_than(archive, tmp_path), tmp_path / "third")
    vm.wait_for(f"[ $(readlink /opt/ssvm-agent/current) != {first.strip()} ] && {DELIVERED}")
    vm.wait_for(f"{OURS} && {LINKED}")


def test_a_loss_of_power_is_mended_at_boot(vm: BootedVM, archive: Path) -> None:
    """After the switch, before the new agent reached a management server."""
    vm.wait_for(STOCK)
    subprocess.run(["tar", "-xzf", archive, "-C", vm.root / "opt"], check=True)
    install = f"/opt/{archive.name.removesuffix('.tar.gz')}/install"
    soon = "[Service]\nExecStart=\nExecStart=/opt/ssvm-agent/current/bin/ssvm-payload mend"
    for outcome, now in (("rolled-back", STOCK), ("confirmed", OURS)):
        vm.sh(f"systemd-run --quiet --unit=install-{outcome} {install}")
        vm.wait_for(f"grep -q switched {JOURNAL} && {OURS}")
        vm.cut_power()
        if outcome == "confirmed":
            vm.start_server()
        text = f"{soon} --confirm-within {5 if outcome == 'rolled-back' else 60}\n"
        vm.write("etc/systemd/system/ssvm-payload-mend.service.d/soon.conf", text)
        vm.boot()
        vm.wait_for(f"grep -q {outcome} {JOURNAL}")
        vm.wait_for(now)


def upload(vm: BootedVM, bundle: Path, folder: Path) -> None:
    """The three files of a management server (boot-and-system.md 4.2)."""
    output = folder / "dist"
    output.mkdir(parents=True)
    stock.add(stock_payload(folder / "stock"), [bundle], ROOT, output)
    for name in (stock.AGENT, stock.SCRIPTS, stock.PATCH):
        shutil.copy(output / name, vm.root / "var/cache/cloud")
        (vm.root / "var/cache/cloud" / name).chmod(0o755)


def patch(vm: BootedVM, bundle: Path, folder: Path) -> None:
    """A live patch; the management server wants two parts and the signature."""
    upload(vm, bundle, folder)
    signature = (folder / "dist" / stock.SIGNATURE).read_text().strip()
    said = vm.sh("/var/cache/cloud/patch-sysvms.sh")
    assert said == f"version:{signature} \n", vm.log()
    vm.sh("touch /var/cache/cloud/boot_up_done")
    version = vm.sh("/opt/cloud/bin/get_template_version.sh")
    assert version.strip().split("&")[1] == signature
