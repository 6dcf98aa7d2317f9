# SPDX-License-Identifier: Apache-2.0
"""Setting the appliance up at each connect (storage-commands.md 3.1-3.3)."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.ingest.errors import BlockedAddressError
from ssvm_agent.masking import Secret
from ssvm_agent.messages.base import Answer, DataStoreTO
from ssvm_agent.messages.setup import (
    Certificates,
    PortConfig,
    SecStorageFirewallCfgCommand,
    SecStorageSetupAnswer,
    SecStorageSetupCommand,
    SecStorageVMSetupCommand,
)
from ssvm_agent.messages.stores import S3TO, NfsTO
from tests.fakes.services import Rig


@pytest.fixture(name="url")
def _url(tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store"


def _setup(url: str, **more: object) -> SecStorageSetupCommand:
    return SecStorageSetupCommand(store=NfsTO(url=url, role="Image"), sec_url=url, **more)  # type: ignore[arg-type] # fields of the command


async def test_a_store_is_opened_and_its_directory_told(rig: Rig, url: str) -> None:
    answer = await rig.ask(_setup(url, post_upload_key="k3"))
    assert isinstance(answer, SecStorageSetupAnswer)
    assert (answer.result, answer.details) == (True, "success")
    assert answer.dir
    assert rig.appliance.upload_key == Secret("k3")
    assert rig.web.told == [("upload key", "k3"), ("certificate", None)]


async def test_setting_up_again_gives_the_same_answer(rig: Rig, url: str) -> None:
    assert await rig.ask(_setup(url)) == await rig.ask(_setup(url))


async def test_a_store_that_fails_is_a_plain_answer_and_the_rest_is_taken(
    rig: Rig, tmp_path: Path
) -> None:
    """storage-commands.md 3.1: key and certificate do not depend on the mount."""
    url = f"file://{tmp_path}/missing"
    certs = Certificates(priv_key="K", priv_cert="C", cert_chain="H", root_ca_cert="R")
    answer = await rig.ask(_setup(url, post_upload_key="k3", certs=certs))
    assert type(answer) is Answer
    assert not answer.result
    assert (answer.details or "").startswith(f"GetRootDir for {url} failed due to ")
    expected = WebCertificate(key=Secret("K"), certificate="C", chain="H", root="R")
    assert rig.web.told == [("upload key", "k3"), ("certificate", expected)]


async def test_a_certificate_without_its_key_is_none(rig: Rig, url: str) -> None:
    await rig.ask(_setup(url, certs=Certificates(priv_cert="C")))
    assert rig.web.told == [("certificate", None)]


async def test_a_key_the_web_side_refuses_does_not_fail_the_store(
    rig: Rig, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig.web.failing = ApplianceError("no")
    answer = await rig.ask(_setup(url, post_upload_key="k3"))
    assert isinstance(answer, SecStorageSetupAnswer)
    assert caplog.text.count("set-up step failed") == 2


@pytest.mark.parametrize("store", [S3TO(), None], ids=["object store", "none"])
async def test_other_stores_are_never_answered_true(rig: Rig, store: DataStoreTO | None) -> None:
    """agent-lifecycle.md 0 fact 11: another class with result true breaks the link."""
    answer = await rig.ask(SecStorageSetupCommand(store=store, sec_url="s3://x"))
    assert type(answer) is Answer
    assert not answer.result


async def test_passwords_in_a_store_url_are_not_repeated(rig: Rig) -> None:
    answer = await rig.ask(_setup("cifs://host/share?user=u&password=geheim&domain="))
    assert answer is not None
    assert "geheim" not in (answer.details or "")


async def test_internal_sites_and_the_copy_user_are_taken(rig: Rig) -> None:
    command = SecStorageVMSetupCommand(
        allowed_internal_sites=["10.20.0.0/16"], copy_user_name="cloud", copy_password="pw"
    )
    answer = await rig.ask(command)
    assert type(answer) is Answer
    assert (answer.result, answer.details) == (True, "")
    assert rig.appliance.actions == ["allow internal site 10.20.0.0/16"]
    assert rig.web.told == [("copy user", "cloud", "pw")]


async def test_a_bad_site_is_told_and_nothing_else_is_done(rig: Rig) -> None:
    command = SecStorageVMSetupCommand(
        allowed_internal_sites=["everywhere"], copy_user_name="cloud", copy_password="pw"
    )
    answer = await rig.ask(command)
    assert answer is not None
    assert not answer.result
    assert "'everywhere' is neither an address nor a network" in (answer.details or "")
    assert rig.web.told == []


async def test_a_bad_site_keeps_downloads_from_no_other(rig: Rig) -> None:
    """Requirement R10; one that would be everything allows nothing."""
    guard = rig.services.jobs.tools.guard
    sites = ["169.254.20.0/24", "everywhere", "0.0.0.0/0"]
    answer = await rig.ask(SecStorageVMSetupCommand(allowed_internal_sites=sites))
    assert answer is not None
    assert not answer.result
    guard.check("inside", [ip_address("169.254.20.1")])
    with pytest.raises(BlockedAddressError):
        guard.check("elsewhere", [ip_address("169.254.30.1")])


async def test_a_copy_user_that_fails_has_its_own_text(rig: Rig) -> None:
    """storage-commands.md 3.2."""
    rig.web.failing = ApplianceError("disk full")
    answer = await rig.ask(SecStorageVMSetupCommand(copy_user_name="cloud", copy_password="pw"))
    assert answer is not None
    assert (answer.result, answer.details) == (
        False,
        "Failed to configure auth for copy disk full",
    )


@pytest.mark.parametrize("credentials", [{}, {"copy_user_name": "cloud"}, {"copy_password": "x"}])
async def test_half_a_copy_user_is_none(rig: Rig, credentials: dict[str, str]) -> None:
    answer = await rig.ask(SecStorageVMSetupCommand(**credentials))  # type: ignore[arg-type] # fields of the command
    assert answer is not None
    assert answer.result
    assert rig.web.told == []


@pytest.mark.parametrize("append", [True, False])
async def test_other_machines_may_fetch(rig: Rig, *, append: bool) -> None:
    """storage-commands.md 3.3: only added entries count, ports and interfaces do not."""
    ports = [
        PortConfig(add=True, source_ip="203.0.113.9", port="80", intf="eth2"),
        PortConfig(add=False, source_ip="203.0.113.10"),
        PortConfig(add=True),
    ]
    answer = await rig.ask(SecStorageFirewallCfgCommand(port_configs=ports, is_append=append))
    assert type(answer) is Answer
    assert (answer.result, answer.details) == (True, None)
    assert rig.web.told == [("copy from", ["203.0.113.9"], not append)]


async def test_an_empty_list_that_replaces_closes_the_copy_area(rig: Rig) -> None:
    await rig.ask(SecStorageFirewallCfgCommand(is_append=False))
    assert rig.web.told == [("copy from", [], True)]
