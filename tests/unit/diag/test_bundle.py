# SPDX-License-Identifier: Apache-2.0
"""The archive for support: everything that is there, and no secret."""

from __future__ import annotations

import asyncio
import base64
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ssvm_agent.config.settings import DownloadSettings
from ssvm_agent.diag.bundle import MAX_ITEM_BYTES, make_bundle
from ssvm_agent.diag.bundle_items import Item, items, read_tail
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.scrub import Scrubber
from ssvm_agent.host.errors import ProgramMissingError
from ssvm_agent.host.run import ProgramResult
from ssvm_agent.masking import Secret
from tests.fakes.checked_machine import TEXT, machine, put

PASSWORD = "kX7pQ2-root"
KEYSTORE = base64.b64encode(b"AbcDefGhiJklMnop").decode()
PASSPHRASE = "pass/phrase=of=keystore"
UPLOAD_KEY = "the-upload-key-of-this-cloud"
PROXY_PASSWORD = "proxy p@ss"
CIFS_PASSWORD = "cifsSecret1"
USER_DATA = "H4sIuserdatauserdata"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
SECRETS = [
    PASSWORD, KEYSTORE, "AbcDefGhiJklMnop", PASSPHRASE, UPLOAD_KEY, PROXY_PASSWORD,
    "proxy%20p%40ss", CIFS_PASSWORD, USER_DATA, "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
    "sig-1234567890", "bearer-token-77", base64.b64encode(UPLOAD_KEY.encode()).decode(),
]  # fmt: skip

LOG = (
    f"boot args vmpassword={PASSWORD} keystore_password={KEYSTORE}\n"
    f"plain words: {PASSWORD} and {UPLOAD_KEY}\n"
    f"encoded: {base64.b64encode(UPLOAD_KEY.encode()).decode()}\n"
    f"passphrase is {PASSPHRASE}\n"
    f"fetching through http://user:{quote(PROXY_PASSWORD)}@p:3128/\n"
    "X-Signature: sig-1234567890\nAuthorization: Bearer bearer-token-77\n"
    f"{KEY}"
    "an ordinary line\n"
)


def planted(tmp_path: Path) -> Facts:
    """A machine with a secret wherever one can be."""
    text = f"{TEXT} vmpassword={PASSWORD} keystore_password={KEYSTORE} userdata={USER_DATA}"
    put(
        tmp_path,
        {
            "var/cache/cloud/cmdline": text,
            "usr/local/cloud/systemvm/conf/agent.properties": (
                f"guid=s-1-VM\nkeystore.passphrase={PASSPHRASE}\nvmpassword={PASSWORD}\n"
            ),
            "usr/local/cloud/systemvm/conf/cloud.key": KEY,
            "etc/cloudstack/agent/ms-psk": f"{UPLOAD_KEY}\n",
            "etc/resolv.conf": "nameserver 10.1.32.2\n",
            "var/log/cloud.log": LOG,
            "var/log/patchsystemvm.log": f"unpacked with {PASSPHRASE}\n",
            "proc/self/mountinfo": (
                "31 1 0:51 / /mnt/x rw - cifs //10.1.40.3/share"
                f" rw,username=u,password={CIFS_PASSWORD}\n"
            ),
        },
    )

    def react(call: list[str]) -> ProgramResult:
        if call[0] == "ss":
            raise ProgramMissingError("ss")
        return ProgramResult(returncode=0, stdout=LOG.encode(), stderr=KEY.encode())

    facts = machine(tmp_path, text=text, react=react)
    proxy = Secret(f"http://user:{PROXY_PASSWORD.replace(' ', '%20').replace('@', '%40')}@p:3128")
    return replace(
        facts,
        settings=replace(facts.settings, download=DownloadSettings(proxy=proxy)),
    )


def unpacked(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return {name: file.read() for name, file in members.items() if file is not None}


async def no_checks(facts: Facts) -> str:
    return "{}\n"


def quick_items() -> list[Item]:
    """All items but the checks, which would look at the network."""
    return [item for item in items() if item.name != "checks.json"]


async def bundle(facts: Facts, tmp_path: Path, wanted: list[Item]) -> dict[str, bytes]:
    output = tmp_path / "out" / "diag.tar.gz"
    await make_bundle(facts, output, wanted=wanted)
    assert output.stat().st_mode & 0o777 == 0o600
    return await asyncio.to_thread(unpacked, output)


async def test_no_secret_is_in_the_archive(tmp_path: Path) -> None:
    files = await bundle(planted(tmp_path), tmp_path, quick_items())
    everything = b"\0".join(files.values())
    assert [secret for secret in SECRETS if secret.encode() in everything] == []


async def test_what_is_no_secret_is_in_it(tmp_path: Path) -> None:
    files = await bundle(planted(tmp_path), tmp_path, quick_items())
    assert "an ordinary line" in files["diag/logs/cloud.log"].decode()
    boot = files["diag/agent/boot-text.txt"].decode()
    assert "host=10.1.32.5,10.1.32.6\n" in boot
    assert "vmpassword=******\n" in boot
    properties = files["diag/agent/agent.properties"].decode()
    assert properties == "guid=s-1-VM\nkeystore.passphrase=******\nvmpassword=******\n"
    assert b"$ ip route show table all\n" in files["diag/network/routes.txt"]
    settings = json.loads(files["diag/agent/settings.json"])
    assert {"key": "port", "value": "8250", "source": "default"} in settings["settings"]
    assert b"ssvm-agent" in files["diag/agent/versions.txt"]


async def test_the_manifest_names_what_could_not_be_had(tmp_path: Path) -> None:
    files = await bundle(planted(tmp_path), tmp_path, quick_items())
    manifest = json.loads(files["diag/manifest.json"])
    assert (manifest["schema"], manifest["machine"]) == (1, "s-1-VM")
    by_name = {item["name"]: item for item in manifest["items"]}
    assert by_name["network/listening.txt"]["problem"] == "The program ss is not installed"
    assert by_name["logs/livepatchsystemvm.log"]["problem"].endswith("is not there, or empty")
    assert by_name["logs/cloud.log"]["problem"] == ""
    assert "diag/network/listening.txt" not in files


async def test_items_that_hang_fail_or_are_too_long(tmp_path: Path) -> None:
    async def hangs(facts: Facts) -> str:
        await asyncio.Event().wait()
        return ""

    async def fails(facts: Facts) -> str:
        raise OSError(5, f"password={PASSWORD}")

    async def long(facts: Facts) -> str:
        return "x" * (MAX_ITEM_BYTES - 5) + PASSWORD + "y" * 100

    wanted = [
        Item(name="a", collect=hangs, deadline_s=0.05),
        Item(name="b", collect=fails),
        Item(name="c", collect=long),
        Item(name="d", collect=no_checks),
    ]
    files = await bundle(planted(tmp_path), tmp_path, wanted)
    listed = json.loads(files["diag/manifest.json"])["items"]
    assert listed[0]["problem"] == "not had within 0.05 s"
    assert PASSWORD not in str(listed)
    assert (listed[2]["size_bytes"], listed[2]["cut"]) == (MAX_ITEM_BYTES, True)
    assert PASSWORD[:5].encode() not in files["diag/c"]
    assert files["diag/d"] == b"{}\n"


async def test_the_checks_are_part_of_it(tmp_path: Path) -> None:
    (item,) = [item for item in items() if item.name == "checks.json"]
    facts = planted(tmp_path)
    # Nothing is asked that is not this machine.
    networks = replace(facts.settings.networks, public_address="127.0.0.1")
    settings = replace(facts.settings, management_servers=("127.0.0.1",), networks=networks)
    facts = replace(facts, settings=settings)
    files = await bundle(facts, tmp_path, [item])
    document: dict[str, Any] = json.loads(files["diag/checks.json"])
    assert document["schema"] == 1
    assert len(document["checks"]) > 15
    assert [one for one in SECRETS if one.encode() in files["diag/checks.json"]] == []


async def test_an_archive_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        await make_bundle(planted(tmp_path), tmp_path / "file" / "x.tar.gz", wanted=[])


def test_a_value_that_is_part_of_a_longer_secret_leaves_no_rest() -> None:
    scrubber = Scrubber(["abcd", "abcdefgh"])
    assert scrubber.clean("x abcdefgh y abcd") == "x ****** y ******"


def test_words_that_are_no_secrets_stay() -> None:
    scrubber = Scrubber(["null", "abc", "", "true"])
    assert scrubber.clean("null abc true") == "null abc true"


def test_a_tail_begins_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first line\nsecond line\nthird line\n")
    assert read_tail(path, 20) == "third line\n"
    assert read_tail(path, 100).startswith("first")
    assert read_tail(tmp_path / "none", 100) == ""
