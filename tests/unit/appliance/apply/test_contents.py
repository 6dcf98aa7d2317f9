# SPDX-License-Identifier: Apache-2.0
"""Contents made of the boot text, and edits of files that belong to other programs."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from ssvm_agent.appliance.apply import contents
from ssvm_agent.bootargs import parse

KEY = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBE= cloud@mgt01\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("padding", ["kept", "lost"])
def test_a_key_is_taken_with_and_without_padding(padding: str) -> None:
    """boot-and-system.md 0 fact 4."""
    text = f"{KEY[:-1]}!\n"
    value = encoded(text)
    assert value.endswith("=")
    value = value if padding == "kept" else value.rstrip("=")
    assert contents.authorized_keys(value) == text.encode()


def test_several_keys_are_lines() -> None:
    value = encoded(f'from="10.0.0.0/8" {KEY}\r\n\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA')
    lines = contents.authorized_keys(value).decode().splitlines()
    assert [line.split()[-2 if "@" in line else 0] for line in lines][1] == "ssh-ed25519"
    assert len(lines) == 2


@pytest.mark.parametrize(
    "value", [encoded("hello"), encoded(""), "!!!", encoded(KEY + "rm -rf /\n"), "A", encoded("\0")]
)
def test_what_is_no_key_is_refused(value: str) -> None:
    with pytest.raises(contents.ContentError):
        contents.authorized_keys(value)


SSHD = """\
Port 3922
#ListenAddress 0.0.0.0
ListenAddress 10.1.1.1
ListenAddress ::
PubkeyAuthentication yes
Match User x
ListenAddress 1.2.3.4
"""


def test_sshd_listens_on_one_address_and_takes_old_keys() -> None:
    """boot-and-system.md 3.1."""
    assert contents.sshd_text(SSHD, "169.254.1.2").splitlines() == [
        "Port 3922", "#ListenAddress 0.0.0.0", "ListenAddress 169.254.1.2",
        "PubkeyAuthentication yes", "PubkeyAcceptedAlgorithms +ssh-rsa", "Match User x",
        "ListenAddress 1.2.3.4",
    ]  # fmt: skip


def test_an_edit_of_an_edited_file_changes_nothing() -> None:
    once = contents.sshd_text(SSHD, "169.254.1.2")
    assert contents.sshd_text(once, "169.254.1.2") == once
    assert contents.sshd_text("", "10.1.1.1") == (
        "ListenAddress 10.1.1.1\nPubkeyAcceptedAlgorithms +ssh-rsa\n"
    )


def test_an_old_sshd_is_not_given_a_word_it_does_not_know() -> None:
    once = contents.sshd_text(SSHD, "169.254.1.2")
    assert "PubkeyAccepted" not in contents.sshd_text(once, "169.254.1.2", old_keys=False)


def test_somebodys_own_choice_of_algorithms_stays() -> None:
    own = f"pubkeyacceptedalgorithms ssh-ed25519\n{SSHD}"
    assert "+ssh-rsa" not in contents.sshd_text(own, "169.254.1.2")


NTP = "driftfile /x\n# server ntp.example.net\nserver old1\npool a\nserver old2 iburst\nrestrict\n"


def test_time_servers_replace_those_of_the_file_in_order() -> None:
    """boot-and-system.md 2.7."""
    assert contents.ntp_text(NTP, ("n1", "n2")).splitlines() == [
        "driftfile /x", "# server ntp.example.net", "server n1", "server n2", "pool a", "restrict",
    ]  # fmt: skip
    assert (
        contents.ntp_text("restrict\n# server x\n", ("n1",)) == "restrict\nserver n1\n# server x\n"
    )
    assert contents.ntp_text("", ("n1",)) == "server n1\n"


def test_time_servers_stay_without_a_list() -> None:
    assert contents.ntp_text(NTP, ()) == NTP


def test_the_settings_for_scripts_have_no_secrets() -> None:
    boot = parse('type=secstorage name=a"b vmpassword=x keystore_password=y authorized_key=z')
    record = json.loads(contents.cmd_line_json(boot))
    assert record == {"type": "cmdline", "cmd_line": {"type": "secstorage", "name": 'a"b'}}


def test_user_data_is_unpacked() -> None:
    packed = base64.b64encode(gzip.compress(b"#!/bin/sh\n")).decode()
    assert contents.user_data(packed) == b"#!/bin/sh\n"
    assert contents.user_data(packed.rstrip("=")) == b"#!/bin/sh\n"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"plain", "no gzip"),
        (gzip.compress(b"x" * 100)[:-9], "too early"),
        (gzip.compress(bytes(2 << 20)), "larger"),
    ],
)
def test_user_data_that_cannot_be_unpacked_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(contents.ContentError, match=sentence):
        contents.user_data(base64.b64encode(data).decode())
