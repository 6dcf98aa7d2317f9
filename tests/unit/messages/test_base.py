# SPDX-License-Identifier: Apache-2.0
"""Structs: order of fields, names, secrets, immutability."""

from __future__ import annotations

import pytest

from ssvm_agent.messages.agent import (
    CheckHealthCommand,
    PingStorageCommand,
    ReadyCommand,
    StartupSecondaryStorageCommand,
)
from ssvm_agent.messages.base import (
    Answer,
    UnsupportedAnswer,
    class_name_of,
    fields_of,
    find_class,
    wire_class_of,
)
from ssvm_agent.messages.certificates import SetupCertificateCommand, SetupKeyStoreCommand
from ssvm_agent.messages.configdrive import HandleConfigDriveIsoCommand
from ssvm_agent.messages.download import DownloadCommand, PasswordAuth, Proxy
from ssvm_agent.messages.objects import TemplateProp, VolumeObjectTO
from ssvm_agent.messages.setup import (
    Certificates,
    SecStorageSetupCommand,
    SecStorageVMSetupCommand,
)
from ssvm_agent.messages.stores import S3TO, NfsTO, StorageFilerTO, SwiftTO


def test_own_fields_come_before_the_parents() -> None:
    """wire-protocol.md 4."""
    order = [field.wire for field in fields_of(PingStorageCommand)]
    assert order == [
        "changes", "hostType", "hostId", "outOfBand", "commandInfos",
        "contextMap", "wait", "bypassHostMaintenance", "externalDetails",
    ]  # fmt: skip


def test_field_declared_again_keeps_its_place() -> None:
    names = [field.name for field in fields_of(CheckHealthCommand)]
    assert names == ["context_map", "wait", "bypass_host_maintenance", "external_details"]
    assert CheckHealthCommand().wait == 50


def test_class_name_of_an_instance_and_of_a_class() -> None:
    assert class_name_of(ReadyCommand) == "com.cloud.agent.api.ReadyCommand"
    assert class_name_of(Answer()) == "com.cloud.agent.api.Answer"
    assert find_class("com.cloud.agent.api.Answer") is wire_class_of(Answer)


def test_class_that_never_travels_alone_has_no_name() -> None:
    assert wire_class_of(TemplateProp) is None
    with pytest.raises(KeyError):
        class_name_of(TemplateProp)


def test_message_cannot_be_changed() -> None:
    command = ReadyCommand(host_id=5)
    with pytest.raises(AttributeError):
        command.host_id = 6  # type: ignore[misc]  # the point of the test


def test_instances_do_not_share_their_maps() -> None:
    assert ReadyCommand().context_map is not ReadyCommand().context_map


def test_unsupported_answer_has_two_blanks() -> None:
    """storage-commands.md 1.1."""
    answer = UnsupportedAnswer.to("com.cloud.agent.api.FutureCommand")
    assert answer.result is False
    assert answer.details == (
        "Unsupported command issued: com.cloud.agent.api.FutureCommand.  "
        "Are you sure you got the right type of server?"
    )


HUSH = "hush-hush"
SECRETIVE = [
    PasswordAuth(user_name="u", password=HUSH),
    Proxy(host="p", user_name="u", password=HUSH),
    DownloadCommand(url=f"https://u:{HUSH}@host/x", auth=PasswordAuth(password=HUSH)),
    NfsTO(url=f"cifs://host/share?user=a&password={HUSH}"),
    S3TO(access_key=HUSH, secret_key=HUSH),
    SwiftTO(key=HUSH),
    StorageFilerTO(user_info=HUSH),
    Certificates(priv_key=HUSH),
    SecStorageSetupCommand(post_upload_key=HUSH, certs=Certificates(priv_key=HUSH)),
    SecStorageVMSetupCommand(copy_user_name="cloud", copy_password=HUSH),
    SetupKeyStoreCommand(keystore_password=HUSH, access_details={"router.ip": HUSH}),
    SetupCertificateCommand(private_key=HUSH, access_details={"x": HUSH}),
    HandleConfigDriveIsoCommand(iso_data=HUSH),
    VolumeObjectTO(passphrase=HUSH.encode()),
]


@pytest.mark.parametrize("message", SECRETIVE, ids=lambda message: type(message).__name__)
def test_secrets_are_not_shown(message: object) -> None:
    """Requirements R25."""
    assert HUSH not in repr(message)
    assert HUSH not in f"{message}"
    assert repr(message).startswith(type(message).__name__ + "(")


def test_repr_shows_what_is_set() -> None:
    shown = repr(StartupSecondaryStorageCommand(name="s-1-VM", version="4.22"))
    assert "name='s-1-VM'" in shown
    assert "pod=" not in shown
