# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.host.errors import ProgramMissingError, ProgramTimedOutError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import ProgramResult
from ssvm_agent.storage import mounts
from ssvm_agent.storage.errors import MountFailedError, UnsupportedStoreError
from ssvm_agent.storage.layout import parse_store_url
from tests.fakes.machine import FakeRunner, beside_the_loop

MOUNTINFO = r"""25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 25 0:44 / /mnt/SecStorage/665d rw shared:9 - nfs4 10.1.1.5:/export/secondary rw,vers=4.2
91 25 0:45 / /mnt/with\040blank ro,relatime - nfs 10.1.1.6:/a\134b rw,vers=3
92 25 0:46 / /mnt/SecStorage/665d rw - tmpfs tmpfs ro,size=1024k
garbage
93 25 0:47 / /mnt/short - nfs
"""


def mounter(runner: FakeRunner) -> mounts.Mounter:
    return mounts.Mounter(runner, WorkPool("local", threads=1))


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("3", "3"),
        ("4", "4"),
        ("4.0", "4.0"),
        ("4.1", "4.1"),
        ("4.2", "4.2"),
        (" 4.2 ", "4.2"),
        ("", None),
        ("null", None),
        ("NULL", None),
        (None, None),
    ],
)
def test_nfs_versions(given: str | None, used: str | None) -> None:
    """requirements R11."""
    assert mounts.check_nfs_version(given) == used


@pytest.mark.parametrize("version", ["2", "5", "4.3", "4,suid", "v4", "four"])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(UnsupportedStoreError):
        mounts.check_nfs_version(version)


def test_the_options_are_exactly_these() -> None:
    """storage-commands.md 8."""
    base = "soft,timeo=133,retrans=2147483647,tcp,acdirmax=0,acdirmin=0"
    assert mounts.nfs_options(None) == base
    assert mounts.nfs_options("4.1") == f"{base},vers=4.1"


def test_the_mount_table_is_understood() -> None:
    entries = mounts.parse_mountinfo(MOUNTINFO)
    assert [entry.file_system for entry in entries] == ["ext4", "nfs4", "nfs", "tmpfs"]
    nfs4, nfs3 = entries[1], entries[2]
    assert (nfs4.source, nfs4.version) == ("10.1.1.5:/export/secondary", "4.2")
    assert (str(nfs3.mount_point), nfs3.source) == ("/mnt/with blank", "10.1.1.6:/a\\b")
    assert (nfs3.version, nfs3.read_only) == ("3", True)
    assert entries[3].read_only
    assert entries[0].version is None
    assert not entries[0].read_only


def test_the_last_mount_at_a_place_is_the_one_seen(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTINFO)
    found = mounts.find_mount(Path("/mnt/SecStorage/665d"), mountinfo=table)
    assert found is not None
    assert found.file_system == "tmpfs"
    assert mounts.find_mount(Path("/mnt/SecStorage/665"), mountinfo=table) is None


async def test_nfs_is_mounted_with_plain_arguments() -> None:
    runner = FakeRunner()
    url = parse_store_url("nfs://storage.example/export/a%20b")
    await mounter(runner).mount(url, "10.1.1.5", Path("/mnt/x"), "4.2")
    assert runner.calls == [
        [
            "mount",
            "-t",
            "nfs",
            "-o",
            "soft,timeo=133,retrans=2147483647,tcp,acdirmax=0,acdirmin=0,vers=4.2",
            "10.1.1.5:/export/a b",
            "/mnt/x",
        ]
    ]


async def test_an_ipv6_server_is_bracketed() -> None:
    runner = FakeRunner()
    url = parse_store_url("nfs://[2001:db8::1]/e")
    await mounter(runner).mount(url, "2001:db8::1", Path("/mnt/x"), None)
    assert runner.calls[0][-2] == "[2001:db8::1]:/e"


async def test_a_cifs_password_is_in_a_private_file_for_as_long_as_the_mount_runs() -> None:
    """requirements R25, storage-commands.md 10."""
    seen: dict[str, object] = {}

    def mount(call: list[str]) -> None:
        options = dict(option.partition("=")[::2] for option in call[4].split(","))
        credentials = Path(options["credentials"])
        seen["content"] = credentials.read_text()
        seen["mode"] = credentials.stat().st_mode & 0o777
        seen["path"] = credentials
        seen["rest"] = call[4].partition(",")[2]

    runner = FakeRunner(mount)
    url = parse_store_url("cifs://10.1.1.9/share?user=cloud&password=hu,sh&domain=d&vers=3.0")
    await mounter(runner).mount(url, "10.1.1.9", Path("/mnt/x"), None)
    assert "hu,sh" not in " ".join(runner.calls[0])
    assert seen["content"] == "username=cloud\npassword=hu,sh\ndomain=d\n"
    assert seen["mode"] == 0o600
    assert seen["rest"] == "vers=3.0,soft,actimeo=0"
    assert runner.calls[0][-2] == "//10.1.1.9/share"
    assert not beside_the_loop(Path(str(seen["path"])).exists)


async def test_a_failed_mount_says_what_the_program_said() -> None:
    """storage-commands.md 8."""

    def fail(call: list[str]) -> ProgramResult:
        return ProgramResult(returncode=32, stdout=b"", stderr=b"access denied by server")

    with pytest.raises(MountFailedError) as caught:
        await mounter(FakeRunner(fail)).mount(
            parse_store_url("nfs://10.1.1.5/e"), "10.1.1.5", Path("/mnt/x"), None
        )
    assert (
        str(caught.value) == "Unable to mount 10.1.1.5:/e at /mnt/x due to access denied by server"
    )


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ProgramTimedOutError("mount", 90), "did not finish within 90 seconds"),
        (ProgramMissingError("mount"), "is not installed"),
    ],
)
async def test_other_failures_are_mount_failures_too(error: Exception, text: str) -> None:
    def fail(call: list[str]) -> ProgramResult:
        raise error

    with pytest.raises(MountFailedError, match=text):
        await mounter(FakeRunner(fail)).mount(
            parse_store_url("nfs://10.1.1.5/e"), "10.1.1.5", Path("/mnt/x"), None
        )


async def test_a_stale_mount_is_detached_without_asking_its_server() -> None:
    runner = FakeRunner()
    await mounter(runner).unmount(Path("/mnt/x"))
    call = runner.calls[0]
    assert call[0] == "umount"
    assert {"--force", "--lazy", "--internal-only", "--no-canonicalize"} < set(call)
    assert call[-1] == "/mnt/x"
