# SPDX-License-Identifier: Apache-2.0
"""Key files: every kind and format is read, and none is shown."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ssvm_agent.delivery.errors import KeyFileError
from ssvm_agent.delivery.keyfile import load_private, load_public

pytestmark = pytest.mark.needs("ssh-keygen")


def make(path: Path, *options: str, passphrase: str = "") -> Path:
    words = ["ssh-keygen", "-q", "-N", passphrase, "-C", "a comment", "-f", str(path), *options]
    subprocess.run(words, check=True, capture_output=True)
    return path


@pytest.mark.parametrize(
    "options",
    [
        ("-t", "ecdsa", "-m", "PEM"),
        ("-t", "ecdsa", "-b", "521"),
        ("-t", "ecdsa", "-m", "PKCS8"),
        ("-t", "rsa", "-m", "PEM"),
        ("-t", "rsa"),
        ("-t", "ed25519"),
    ],
)
def test_kinds_and_formats(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = make(tmp_path / "key", *options)
    key = load_private(path)
    said = subprocess.check_output(["ssh-keygen", "-lf", path], text=True).split()
    assert key.public.fingerprint == said[1]
    assert key.public == load_public(tmp_path / "key.pub")
    assert key.public.line() == (tmp_path / "key.pub").read_text().strip()
    body = path.read_text().splitlines()[2]
    assert body not in repr(key)


def test_a_passphrase_is_said_to_be_one(tmp_path: Path) -> None:
    for form in ("PEM", "RFC4716"):
        path = make(tmp_path / form, "-t", "ecdsa", "-m", form, passphrase="s3cret")
        with pytest.raises(KeyFileError, match="has a passphrase"):
            load_private(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "not a private key"),
        (b"\xff" * 100, "not a private key"),
    ],
)
def test_what_is_no_key(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=complaint):
        load_private(path)


def test_others_must_not_read_it(tmp_path: Path) -> None:
    path = make(tmp_path / "key", "-t", "ed25519")
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="read by others") as caught:
        load_private(path)
    assert "0640" in caught.value.detail


@pytest.mark.parametrize("text", ["", "ssh-rsa", "ssh-rsa AAAA", "a\nb", "ssh-ed25519 !!! x"])
def test_what_is_no_public_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.pub"
    path.write_text(text)
    with pytest.raises(KeyFileError):
        load_public(path)
