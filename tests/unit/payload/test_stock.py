# SPDX-License-Identifier: Apache-2.0
"""The cloud's payload with the agent in it (boot-and-system.md 4.1-4.3)."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from ssvm_agent.payload import stock
from ssvm_agent.payload.cli import main
from ssvm_agent.payload.errors import BuildError
from tests.fakes.stock_payload import IN_AGENT, PATCH, stock_payload

ROOT = Path(__file__).parents[3]
BUNDLES = ("ssvm-agent-1.0-x86_64.tar.gz", "ssvm-agent-1.0-aarch64.tar.gz")
OURS = {
    "etc/systemd/system/cloud.service.d/40-ssvm-agent-payload.conf": 0o644,
    "etc/systemd/system/ssvm-agent-payload.service": 0o644,
    "opt/cloud/ssvm-agent/activate": 0o755,
    "opt/cloud/ssvm-agent/bundles.sha256": 0o644,
}


def add(folder: Path, *, content: str = "bundle") -> Path:
    """Stock payload and bundles in, everything out; returns the directory."""
    output = folder / "dist"
    output.mkdir(exist_ok=True)
    bundles = [output / name for name in BUNDLES]
    for bundle in bundles:
        bundle.write_text(f"{content} {bundle.name}")
    stock.add(folder / "stock", bundles, ROOT, output)
    return output


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    stock_payload(tmp_path / "stock")
    return tmp_path


@pytest.mark.needs("xorriso")
def test_the_agents_archive_holds_the_stock_files_and_the_bundles(folder: Path) -> None:
    with zipfile.ZipFile(add(folder) / "agent.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*IN_AGENT, *(f"ssvm-agent/{name}" for name in BUNDLES)]
        for name, text in IN_AGENT.items():
            assert archive.read(name).decode() == text
            assert archive.getinfo(name).external_attr >> 16 == 0o100555
        assert archive.read(f"ssvm-agent/{BUNDLES[0]}").decode() == f"bundle {BUNDLES[0]}"


@pytest.mark.needs("xorriso")
def test_the_scripts_archive_holds_the_stock_files_and_what_installs(folder: Path) -> None:
    output = add(folder)
    with (
        tarfile.open(folder / "stock/cloud-scripts.tgz") as before,
        tarfile.open(output / "cloud-scripts.tgz") as after,
    ):
        own = before.getmembers()
        members = after.getmembers()
        assert [one.get_info() for one in members[: len(own)]] == [one.get_info() for one in own]
        assert {one.name: one.mode for one in members[len(own) :]} == OURS
        sums = after.extractfile("opt/cloud/ssvm-agent/bundles.sha256")
        assert sums is not None
        assert sums.read().decode().splitlines() == [
            f"{hashlib.sha256((output / name).read_bytes()).hexdigest()}  {name}"
            for name in BUNDLES
        ]
    sha512 = hashlib.sha512((output / "cloud-scripts.tgz").read_bytes()).hexdigest()
    assert (output / "cloud-scripts-signature").read_text() == f"{sha512}\n"
    assert (output / "patch-sysvms.sh").read_text() == PATCH


@pytest.mark.needs("xorriso")
def test_the_signature_changes_with_the_bundles_only(folder: Path) -> None:
    """Otherwise the new agent is not unpacked (boot-and-system.md 4.3)."""
    first, again, other = (
        (add(folder, content=content) / "cloud-scripts-signature").read_text()
        for content in ("a", "a", "b")
    )
    assert first == again != other


@pytest.mark.needs("xorriso")
@pytest.mark.parametrize("has_keys", [True, False])
def test_the_iso_has_the_layout_system_vms_look_for(folder: Path, has_keys: bool) -> None:
    if has_keys:
        (folder / "stock/authorized_keys").write_text("ssh-rsa AAAA cloud\n")
    output, unpacked = add(folder), folder / "cdrom"
    subprocess.run(
        ["xorriso", "-osirrox", "on", "-indev", output / "systemvm.iso", "-extract", "/", unpacked],
        check=True, capture_output=True,
    )  # fmt: skip
    pairs = {
        "systemvm.zip": output / "agent.zip",
        "cloud-scripts.tgz": output / "cloud-scripts.tgz",
    }
    if has_keys:
        pairs["authorized_keys"] = folder / "stock/authorized_keys"
    assert {path.name for path in unpacked.iterdir()} == set(pairs)
    for name, path in pairs.items():
        assert (unpacked / name).read_bytes() == path.read_bytes()


@pytest.mark.needs_root
@pytest.mark.needs("xorriso", "mount", "unzip", "unshare")
def test_the_iso_is_mounted_and_unpacked_as_a_system_vm_does(folder: Path) -> None:
    iso, cdrom, root = add(folder) / "systemvm.iso", folder / "cdrom", folder / "root"
    cdrom.mkdir()
    root.mkdir()
    script = (
        f"mount -o loop,ro {iso} {cdrom} || exit 42; "
        f"tar -xzf {cdrom}/cloud-scripts.tgz -C {root} && "
        f"unzip -q {cdrom}/systemvm.zip -d {root}/usr"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if done.returncode == 42:
        pytest.skip("the kernel here mounts no ISO file system")
    assert done.returncode == 0, done.stderr
    for path, mode in OURS.items():
        assert (root / path).stat().st_mode & 0o777 == mode
    assert (root / "usr/ssvm-agent" / BUNDLES[1]).exists()


def test_a_payload_that_is_not_whole_is_refused(folder: Path) -> None:
    given, output = folder / "stock", folder / "dist"
    (given / "patch-sysvms.sh").unlink()
    with pytest.raises(BuildError, match=r"lacks patch-sysvms.sh; a management server has"):
        stock.check(given, output)
    (given / "patch-sysvms.sh").touch()
    with pytest.raises(BuildError, match="would be overwritten"):
        stock.check(given, given)
    with (given / "cloud-scripts.tgz").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(BuildError, match="damaged archive"):
        stock.check(given, output)
    shutil.copy(given / "agent.zip", given / "cloud-scripts.tgz")
    with pytest.raises(BuildError, match="damaged archive"):
        stock.check(given, output)


def test_the_command_says_what_is_missing_before_it_builds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "dist"
    words = ["build", "--stock", str(tmp_path), "--output", str(output)]
    assert main(words) == 1
    assert "lacks agent.zip and cloud-scripts.tgz and patch-sysvms.sh" in capsys.readouterr().err
    assert not output.exists()


def test_files_of_something_else_are_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / "stock/agent.zip", "w") as archive:
        archive.writestr("README", "x")
    with pytest.raises(BuildError, match="no payload of the cloud"):
        stock.check(folder / "stock", folder / "dist")


@pytest.mark.needs("xorriso")
def test_our_own_result_is_refused(folder: Path) -> None:
    with pytest.raises(BuildError, match="holds our agent already"):
        stock.check(add(folder), folder / "other")


@pytest.mark.parametrize(
    "text",
    ["template=domP type=consoleproxy", "type=router name=r-1-VM xtype=secstorage", "", None],
)
@pytest.mark.needs("unshare", "mount")
@pytest.mark.needs_root
def test_other_system_vms_are_left_alone(tmp_path: Path, text: str | None) -> None:
    """The same files go to console proxies and routers; nothing is read but the boot text."""
    if text is not None:
        (tmp_path / "cmdline").write_text(text)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "tr", "grep"):
        (tools / name).symlink_to(shutil.which(name) or name)
    activate = ROOT / "scripts/stock-payload/opt/cloud/ssvm-agent/activate"
    script = (
        "mount -t tmpfs cache /var/cache && mkdir /var/cache/cloud && "
        f"cp -r {tmp_path}/. /var/cache/cloud && "
        f"PATH={tools} exec {tools}/sh {activate}"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
