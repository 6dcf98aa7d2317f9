# SPDX-License-Identifier: Apache-2.0
"""A bundle is delivered and installed over real sshd processes (boot-and-system.md 4)."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.bundles import make_bundle, state_sum
from tests.fakes.ssh_machines import SshMachine, cutting_proxy
from tests.net.delivery.conftest import Rig

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("sshd", "ssh-keygen", "unshare", "flock", "setsid"),
]
TRUST = "--trust-new-host-key"
MIB = 1024 * 1024


def words(rig: Rig, host: str, job: str, *more: str) -> tuple[str, ...]:
    return (job, "--host", host, "--key", str(rig.old), TRUST, *more)


def deliver(rig: Rig, host: str, bundle: Path, *more: str) -> dict[str, Any]:
    return rig.json(*words(rig, host, "install", str(bundle), *more))


def staging(system_vm: SshMachine) -> list[str]:
    home = system_vm.root / "varlib" / "ssvm-agent" / "delivery"
    return sorted(path.name for path in home.iterdir() if path.is_dir()) if home.exists() else []


def test_a_bundle_is_installed_looked_at_and_undone(rig: Rig, system_vm: SshMachine) -> None:
    bundle = make_bundle(rig.folder, ballast_bytes=3 * MIB)
    host = system_vm.host
    assert rig.json(*words(rig, host, "status"))["installed"] is None
    result = deliver(rig, host, bundle, "--confirm-within", "7")
    assert result["exit_code"] == 0, result
    assert result["installer"]["result"] == "installed"
    assert (system_vm.root / "opt" / "installs").read_text() == "--json --confirm-within 7\n"
    assert staging(system_vm) == []
    status = rig.json(*words(rig, host, "status"))
    assert status["installed"] == "1.2.3-0123456789ab"
    assert status["payload"]["current"] == "releases/1.2.3-0123456789ab"
    assert not status["installing"]
    assert "1.2.3-0123456789ab" in rig.json(*words(rig, host, "undo", "--dry-run"))["message"]
    assert rig.json(*words(rig, host, "undo"))["installer"]["result"] == "undone"
    assert rig.json(*words(rig, host, "status"))["installed"] is None
    assert "nothing of ours" in rig.json(*words(rig, host, "undo"))["error"]["message"]


def test_people_read_sentences(rig: Rig, system_vm: SshMachine) -> None:
    done = rig.run(*words(rig, system_vm.host, "install", str(make_bundle(rig.folder))))
    assert done.returncode == 0, done
    assert f"{system_vm.host}: done" in done.stdout
    assert "result: installed" in done.stdout


def test_a_dry_run_sends_nothing(rig: Rig, system_vm: SshMachine) -> None:
    result = deliver(rig, system_vm.host, make_bundle(rig.folder), "--dry-run")
    assert "install 1.2.3 in place of the stock agent" in result["message"]
    assert list((system_vm.root / "varlib").iterdir()) == []


def test_the_verdict_of_the_installer_is_handed_on(rig: Rig, system_vm: SshMachine) -> None:
    (system_vm.root / "opt" / "code").write_text("3")
    result = deliver(rig, system_vm.host, make_bundle(rig.folder))
    assert result["exit_code"] == 3
    assert "rolled back" in result["message"]
    assert result["installer"]["reason"] == "no management server"
    assert "s3cret" not in result["stderr"]
    assert staging(system_vm) == []


OTHER = "aarch64" if platform.machine() == "x86_64" else "x86_64"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [({"architecture": OTHER}, f"the bundle is for {OTHER}"), ({"python": "3.2"}, "needs 3.2")],
)
def test_a_bundle_for_another_machine_is_not_sent(
    rig: Rig, system_vm: SshMachine, facts: dict[str, str], reason: str
) -> None:
    result = deliver(rig, system_vm.host, make_bundle(rig.folder, **facts))  # type: ignore[arg-type]
    assert reason in result["error"]["message"]
    assert staging(system_vm) == []


def test_a_damaged_bundle_stays_at_home(rig: Rig) -> None:
    bundle = make_bundle(rig.folder)
    bundle.write_bytes(bundle.read_bytes() + b"x")
    assert "fetch both again" in deliver(rig, "127.0.0.1:1", bundle)["error"]["message"]
    bundle.write_bytes(bundle.read_bytes()[:300])
    state_sum(bundle)
    assert "not a bundle" in deliver(rig, "127.0.0.1:1", bundle)["error"]["message"]


def test_only_a_bundle_signed_with_the_trusted_key_is_sent(rig: Rig, system_vm: SshMachine) -> None:
    ours, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    trusted = rig.folder / "trusted.pem"
    pem = ours.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    trusted.write_bytes(pem)
    for key in (theirs, None):
        bundle = make_bundle(rig.folder, key=key)
        result = deliver(rig, system_vm.host, bundle, "--trusted-key", str(trusted))
        assert "signed" in result["error"]["message"]
    bundle = make_bundle(rig.folder, key=ours)
    assert deliver(rig, system_vm.host, bundle, "--trusted-key", str(trusted))["exit_code"] == 0


def test_a_cut_upload_goes_on_where_it_was(rig: Rig, system_vm: SshMachine) -> None:
    bundle = make_bundle(rig.folder, ballast_bytes=8 * MIB)
    with cutting_proxy(system_vm.port) as proxy:
        proxy.cut_after, proxy.once = 5 * MIB, True
        result = deliver(rig, proxy.host, bundle)
        assert result["exit_code"] == 0, result
        assert proxy.cuts == 1
        assert proxy.seen < 11 * MIB, "sent from the start again"


def test_a_full_disk_is_named(rig: Rig, system_vm: SshMachine) -> None:
    bundle = make_bundle(rig.folder, ballast_bytes=4 * MIB)
    system_vm.inside("mount -t tmpfs -o size=2m tmpfs /var/lib")
    result = deliver(rig, system_vm.host, bundle)
    assert "not enough room" in result["error"]["message"]


def test_the_installer_outlives_the_connection(rig: Rig, system_vm: SshMachine) -> None:
    (system_vm.root / "opt" / "wait").touch()
    with cutting_proxy(system_vm.port) as proxy:
        process = subprocess.Popen(
            rig.words(*words(rig, proxy.host, "install", str(make_bundle(rig.folder)))),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("installing"):
                break
        wait_for(system_vm.root / "opt" / "installs")
        proxy.is_cut = True
        proxy.sever()
        assert "trying again" in process.stderr.readline()
        (system_vm.root / "opt" / "go").touch()
        proxy.heal()
        output, rest = process.communicate()
    assert process.returncode == 0, rest
    assert "result: installed" in output
    assert "connected again" in rest
    assert (system_vm.root / "opt" / "installs").read_text().count("--json") == 1


def test_a_killed_delivery_is_followed_by_the_next(rig: Rig, system_vm: SshMachine) -> None:
    (system_vm.root / "opt" / "wait").touch()
    bundle = make_bundle(rig.folder)
    command = rig.words(*words(rig, system_vm.host, "install", str(bundle)))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(system_vm.root / "opt" / "installs")
    process.kill()
    process.wait()
    assert rig.json(*words(rig, system_vm.host, "status"))["installing"]
    other = make_bundle(rig.folder, version="1.2.4")
    assert "something else" in deliver(rig, system_vm.host, other)["error"]["message"]
    again = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert again.stderr is not None
    assert any("following it" in line for line in again.stderr)
    (system_vm.root / "opt" / "go").touch()
    assert again.communicate()[0].startswith(f"{system_vm.host}: done")
    assert (system_vm.root / "opt" / "installs").read_text().count("--json") == 1


@pytest.mark.parametrize("moment", range(700, 9000, 1300))
def test_a_delivery_killed_at_any_moment_can_be_repeated(
    rig: Rig, system_vm: SshMachine, moment: int
) -> None:
    bundle = make_bundle(rig.folder)
    with cutting_proxy(system_vm.port) as proxy:
        command = rig.words(*words(rig, proxy.host, "install", str(bundle)))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        proxy.on_cut, proxy.cut_after = process.kill, moment
        process.wait()
        proxy.heal()
        result = deliver(rig, proxy.host, bundle)
    assert result["exit_code"] == 0, result
    assert staging(system_vm) == []


def wait_for(path: Path) -> None:
    """Until a file is there; the test's own deadline ends it otherwise."""
    while not path.exists():
        subprocess.run(["sleep", "0.05"], check=True)
