# SPDX-License-Identifier: Apache-2.0
"""The texts of Apache's access files (storage-commands.md 3.2, 3.3)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from ssvm_agent.appliance import access
from ssvm_agent.appliance.errors import BadRequestError
from ssvm_agent.masking import Secret

_CLOSED = "Options -Indexes\norder deny,allow\ndeny from all\n"


def test_replacing_begins_with_nobody() -> None:
    present = _CLOSED + "allow from 203.0.113.9\n"
    assert access.allow_list(present, (), replace=True) == _CLOSED
    one = access.allow_list(present, ("203.0.113.21",), replace=True)
    assert one == _CLOSED + "allow from 203.0.113.21\n"


def test_extending_keeps_the_others_and_repeats_nobody() -> None:
    present = _CLOSED + "allow from 203.0.113.9\n"
    text = access.allow_list(present, ("203.0.113.21", "203.0.113.9"), replace=False)
    assert text == _CLOSED + "allow from 203.0.113.9\nallow from 203.0.113.21\n"
    assert access.allow_list(text, ("203.0.113.21",), replace=False) == text


def test_extending_nothing_lets_in_the_named_only() -> None:
    assert access.allow_list("", ("2001:db8::1",), replace=False).startswith(_CLOSED)


@pytest.mark.parametrize("bad", ["all", "10.0.0.0/8", "", "10.0.0.1 10.0.0.2", "1\nallow from all"])
def test_what_is_no_address_gets_into_no_file(bad: str) -> None:
    with pytest.raises(BadRequestError, match="Not an address"):
        access.check_addresses([bad])


def test_addresses_are_canonical_and_unique() -> None:
    found = access.check_addresses([" 10.0.0.1", "2001:DB8:0::1", "10.0.0.1"])
    assert found == ("10.0.0.1", "2001:db8::1")


@pytest.mark.parametrize("user", ["", "a:b", "a b", "a\nb", "ü", "x" * 65])
def test_a_user_that_would_break_the_file_is_refused(user: str) -> None:
    with pytest.raises(BadRequestError):
        access.check_user(user)


@pytest.mark.parametrize("password", ["", "x" * 73, "a\0b"])
def test_a_password_the_hash_cannot_hold_is_refused(password: str) -> None:
    with pytest.raises(BadRequestError, match="1 to 72 bytes"):
        access.password_line("cloud", Secret(password))


def test_a_fitting_line_is_kept_and_others_are_made_anew() -> None:
    line = access.password_line("cloud", Secret("one"))
    assert line.startswith("cloud:$2y$10$")
    assert access.password_line("cloud", Secret("one"), line) == line
    assert access.password_line("cloud", Secret("two"), line) != line
    assert access.password_line("other", Secret("one"), line).startswith("other:")
    assert access.password_line("cloud", Secret("one"), "cloud:$apr1$x$y") != "cloud:$apr1$x$y"


@pytest.mark.needs("htpasswd")
async def test_apache_accepts_the_password(tmp_path: Path) -> None:
    file = tmp_path / ".htpasswd"
    file.write_text(access.password_line("cloud", Secret("geheim")))
    program = shutil.which("htpasswd")
    assert program is not None
    for password, status in (("geheim", 0), ("anders", 3)):
        process = await asyncio.create_subprocess_exec(
            program, "-vb", str(file), "cloud", password, stderr=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == status


def test_the_copy_area_asks_for_the_user(tmp_path: Path) -> None:
    text = access.copy_auth(tmp_path / ".htpasswd")
    assert f'AuthUserFile "{tmp_path}/.htpasswd"' in text
    assert "Require valid-user" in text
