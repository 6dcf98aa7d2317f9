# SPDX-License-Identifier: Apache-2.0
"""The record of host keys."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from paramiko import ECDSAKey, PKey

from ssvm_agent.delivery.errors import HostKeyError
from ssvm_agent.delivery.keyfile import fingerprint_of
from ssvm_agent.delivery.knownhosts import KnownHosts

NAME = "[169.254.0.2]:3922@kvm1"


def a_key() -> PKey:
    return ECDSAKey.generate()


def test_first_use_needs_a_word(tmp_path: Path) -> None:
    path, key = tmp_path / "made" / "known_hosts", a_key()
    with pytest.raises(HostKeyError, match="not known yet") as caught:
        KnownHosts(path).verify(NAME, key, expected=None)
    shown = fingerprint_of(key.asbytes())
    assert shown in caught.value.message
    KnownHosts(path).verify(NAME, key, expected=shown)
    KnownHosts(path).verify(NAME, key, expected=None)
    assert KnownHosts(path).kinds(NAME) == {"ecdsa-sha2-nistp256"}


def test_trust_is_for_new_hosts_only(tmp_path: Path) -> None:
    known, key, other = KnownHosts(tmp_path / "file", trust_new=True), a_key(), a_key()
    known.verify(NAME, key, expected=None)
    with pytest.raises(HostKeyError, match="has changed") as caught:
        known.verify(NAME, other, expected=None)
    for one in (key, other):
        assert fingerprint_of(one.asbytes()) in caught.value.message
    known.verify("another", other, expected=None)


def test_a_word_that_does_not_fit_is_no_word(tmp_path: Path) -> None:
    known = KnownHosts(tmp_path / "file", trust_new=True)
    with pytest.raises(HostKeyError, match="does not show"):
        known.verify(NAME, a_key(), expected="SHA256:" + "A" * 43)
    assert known.kinds(NAME) == set()


def test_other_lines_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("# mine\n\nhost ssh-rsa !!!\nhost ssh-rsa AAAA")
    key = a_key()
    KnownHosts(path, trust_new=True).verify(NAME, key, expected=None)
    line = f"{NAME} {key.get_name()} {key.get_base64()}\n"
    assert path.read_text() == f"# mine\n\nhost ssh-rsa !!!\nhost ssh-rsa AAAA\n{line}"


def test_a_dry_run_records_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    KnownHosts(path, trust_new=True, record=False).verify(NAME, a_key(), expected=None)
    assert list(tmp_path.iterdir()) == []


def test_many_at_a_time_lose_no_line(tmp_path: Path) -> None:
    path, key = tmp_path / "file", a_key()

    def work(name: str) -> None:
        KnownHosts(path, trust_new=True).verify(name, key, expected=None)

    threads = [threading.Thread(target=work, args=(f"host{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(path.read_text().splitlines()) == 20
