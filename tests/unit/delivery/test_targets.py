# SPDX-License-Identifier: Apache-2.0
"""Addresses of system VMs, as operators write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.delivery.errors import UsageError
from ssvm_agent.delivery.targets import (
    Address,
    parse_address,
    parse_target,
    read_targets,
    without_repeats,
)

PRINT = "SHA256:" + "a" * 43


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("169.254.3.93", "root", "169.254.3.93", 3922),
        ("cloud@vm-1.example:22", "cloud", "vm-1.example", 22),
        ("[fe80::1%cloud0]:2222", "root", "fe80::1%cloud0", 2222),
        ("fd00::5", "root", "fd00::5", 3922),
    ],
)
def test_forms_of_addresses(text: str, user: str, host: str, port: int) -> None:
    assert parse_address(text, port=3922) == Address(user=user, host=host, port=port)


@pytest.mark.parametrize(
    "text", ["", "a b", "host:0", "host:65536", "host:x", "-oProxyCommand=x", "a@b@c", "http://h"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text, port=3922)


def test_names_tell_the_same_address_behind_two_hosts_apart() -> None:
    one, two = (parse_target(f"169.254.0.2 jump=root@{host}") for host in ("kvm1", "kvm2:2222"))
    assert one.name == "169.254.0.2:3922@kvm1:22"
    assert one.pin_name == "[169.254.0.2]:3922@kvm1"
    assert two.pin_name == "[169.254.0.2]:3922@[kvm2]:2222"


@pytest.mark.parametrize(
    "line", ["vm", f"a@vm:1 jump=b@c:2 host-key={PRINT}", "root@[fd00::1]:3922 jump=root@[fd00::2]"]
)
def test_a_line_says_what_it_was_made_from(line: str) -> None:
    target = parse_target(line)
    assert parse_target(target.line()) == target


def test_a_targets_file(tmp_path: Path) -> None:
    file = tmp_path / "targets"
    file.write_text("# all\n\nvm1\nvm2 jump=kvm9\n  vm1:3922\n")
    jump = parse_address("kvm1", port=22)
    targets = without_repeats(read_targets(file, jump=jump))
    assert [target.name for target in targets] == ["vm1:3922@kvm1:22", "vm2:3922@kvm9:22"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("vm\nvm2 jmp=x\n", "line 2: 'jmp=x' is neither"),
        ("vm host-key=MD5:x\n", "line 1: 'MD5:x' is not a fingerprint"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "targets"
    file.write_text(text)
    with pytest.raises(UsageError, match=complaint):
        read_targets(file)


def test_no_targets_at_all() -> None:
    with pytest.raises(UsageError, match="No system VM"):
        without_repeats([])
