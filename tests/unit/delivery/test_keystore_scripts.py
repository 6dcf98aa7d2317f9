# SPDX-License-Identifier: Apache-2.0
"""The certificate scripts: stock names, arguments and files (agent-lifecycle.md 4.1, 4.2)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec

import pytest
from cryptography import x509
from trustme import CA, LeafCert

from ssvm_agent.appliance.errors import BadRequestError
from ssvm_agent.delivery.errors import DeliveryError, UsageError
from ssvm_agent.delivery.keystore_cert_import import Machine, install
from ssvm_agent.delivery.keystore_setup import make_request
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.run import Argument, ProgramResult, ResourceLimits

P = ParamSpec("P")
PASSPHRASE = "abcDEF0123456789"


class Recorder:
    """Pretends to run programs."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    async def run(
        self, argv: Sequence[Argument], *, deadline_s: float, input: bytes | None = None,  # noqa: A002 - the protocol's name
        check: bool = True, env: Mapping[str, str] | None = None, max_output_bytes: int = 1 << 20,
        limits: ResourceLimits | None = None,
    ) -> ProgramResult:  # fmt: skip
        self.commands.append(" ".join(map(str, argv)))
        return ProgramResult(returncode=0, stdout=b"", stderr=b"")


def go(work: Callable[P, Coroutine[Any, Any, str]]) -> Callable[P, str]:
    """The work in a loop of its own, as the script runs it."""

    def run(*args: P.args, **kwargs: P.kwargs) -> str:
        return asyncio.run(work(*args, **kwargs))

    return run


@pytest.fixture(name="ca", scope="module")
def _ca() -> CA:
    return CA()


@pytest.fixture(name="leaf", scope="module")
def _leaf(ca: CA) -> LeafCert:
    return ca.issue_cert("s-1-VM", "10.1.34.20")


def words(
    conf: Path, leaf: LeafCert, ca: CA, mode: str = "ssh", key: str | None = None
) -> list[str]:
    def one(pem: bytes) -> str:
        return pem.decode().replace("\n", "^").replace(" ", "~")

    return [
        str(conf / "agent.properties"), PASSPHRASE, str(conf / "cloud.jks"), mode,
        str(conf / "cloud.crt"), one(leaf.cert_chain_pems[0].bytes()),
        str(conf / "cloud.ca.crt"), one(ca.cert_pem.bytes()),
        str(conf / "cloud.key"), one(leaf.private_key_pem.bytes()) if key is None else key,
    ]  # fmt: skip


def machine(root: Path, runner: Recorder, **changes: float) -> Machine:
    (root / "cmdline").write_text("type=secstorage")
    return Machine(
        runner=runner, clock=SystemClock(), boot_text=root / "cmdline",
        trusted_ca=root / "trust" / "ca.crt", **changes,
    )  # fmt: skip


@pytest.fixture(name="conf")
def _conf(tmp_path: Path) -> Path:
    conf = tmp_path / "conf"
    conf.mkdir()
    return conf


def test_ssh_mode_writes_everything_and_restarts_the_agent(
    tmp_path: Path, conf: Path, ca: CA, leaf: LeafCert
) -> None:
    runner = Recorder()
    go(install)(words(conf, leaf, ca), machine(tmp_path, runner))
    modes = {path.name: path.stat().st_mode & 0o777 for path in conf.iterdir()}
    assert modes == {
        "agent.properties": 0o600, "cloud.jks": 0o600, "cloud.key": 0o600,
        "cloud.crt": 0o644, "cloud.ca.crt": 0o644,
    }  # fmt: skip
    assert (tmp_path / "trust" / "ca.crt").read_text() == (conf / "cloud.ca.crt").read_text()
    assert runner.commands == [
        "update-ca-certificates", "systemctl stop cloud", "systemctl start cloud",
    ]  # fmt: skip


def test_agent_mode_takes_texts_from_the_files_and_leaves_the_service(
    tmp_path: Path, conf: Path, ca: CA, leaf: LeafCert
) -> None:
    go(install)(words(conf, leaf, ca), machine(tmp_path, Recorder()))
    runner = Recorder()
    again = words(conf, leaf, ca, mode="agent", key="")
    again[5] = again[7] = ""
    go(install)(again, machine(tmp_path, runner))
    assert runner.commands == ["update-ca-certificates"]


def test_a_stored_passphrase_wins(tmp_path: Path, conf: Path, ca: CA, leaf: LeafCert) -> None:
    (conf / "agent.properties").write_text("keystore.passphrase=first\nzone=1\n")
    go(install)(words(conf, leaf, ca), machine(tmp_path, Recorder()))
    assert (conf / "agent.properties").read_text() == "keystore.passphrase=first\nzone=1\n"


def test_parts_that_do_not_fit_change_nothing(
    tmp_path: Path, conf: Path, ca: CA, leaf: LeafCert
) -> None:
    runner = Recorder()
    with pytest.raises(BadRequestError):
        go(install)(words(conf, leaf, CA()), machine(tmp_path, runner))
    assert not (conf / "cloud.crt").exists()
    assert runner.commands == []


def test_the_wait_for_the_directory_ends(tmp_path: Path, ca: CA, leaf: LeafCert) -> None:
    with pytest.raises(DeliveryError, match="has not appeared"):
        go(install)(
            words(tmp_path / "none", leaf, ca), machine(tmp_path, Recorder(), conf_deadline_s=0)
        )


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        go(install)(["x"], machine(tmp_path, Recorder()))
    with pytest.raises(UsageError):
        go(make_request)(["x"])


def test_a_request_and_its_certificate_go_together(tmp_path: Path, conf: Path) -> None:
    request = go(make_request)(
        [str(conf / "agent.properties"), str(conf / "cloud.jks"), PASSPHRASE, "365",
         str(conf / "cloud.csr")]
    )  # fmt: skip
    assert x509.load_pem_x509_csr(request.encode()).is_signature_valid
    assert (conf / "cloud.csr").read_text() == request
    assert f"keystore.passphrase={PASSPHRASE}" in (conf / "agent.properties").read_text()


@pytest.mark.needs("keytool")
def test_java_reads_the_keystore(tmp_path: Path, conf: Path, ca: CA, leaf: LeafCert) -> None:
    go(install)(words(conf, leaf, ca), machine(tmp_path, Recorder()))
    listing = subprocess.run(
        ["keytool", "-list", "-keystore", conf / "cloud.jks", "-storepass", PASSPHRASE],
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    assert "PrivateKeyEntry" in listing
    assert "cloudca.1, " in listing


@pytest.mark.parametrize("module", ["keystore_setup", "keystore_cert_import"])
def test_the_script_says_how_it_is_used(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"ssvm_agent.delivery.{module}"],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "usage: keystore-" in done.stderr


def cut(pem: str) -> str:
    """The first half of a PEM text."""
    return pem[: len(pem) // 2]


def broken(what: str, given: list[str], conf: Path, stranger: LeafCert) -> list[str]:
    """Arguments, or files where an argument is empty, with one thing wrong."""
    other = words(conf, stranger, CA())
    match what:
        case "certificate cut off":
            given[5] = cut(given[5])
        case "authority cut off":
            given[7] = cut(given[7])
        case "key cut off":
            given[9] = cut(given[9])
        case "another authority":
            given[7] = other[7]
        case "another key":
            given[9] = other[9]
        case "expired":
            expired = CA().issue_cert("s-1-VM", not_after=datetime(2020, 1, 1, tzinfo=UTC))
            given[5], given[9] = (words(conf, expired, CA())[place] for place in (5, 9))
        case "key file cut off":
            given[9] = ""
            (conf / "cloud.key").write_text(cut((conf / "cloud.key").read_text()))
        case "key file that cannot be read":
            given[9] = ""
            (conf / "cloud.key").unlink()
            # Fails for root, too.
            (conf / "cloud.key").symlink_to("/proc/self/mem")
        case "certificate file cut off":
            given[5] = ""
            (conf / "cloud.crt").write_text(cut((conf / "cloud.crt").read_text()))
        case "no passphrase yet":
            (conf / "agent.properties").write_text("zone=1\n")
            given[9] = other[9]
        case "certificate file that is none":
            given[5] = ""
            (conf / "cloud.crt").unlink()
            (conf / "cloud.crt").mkdir()
        case _:
            given[5] = ""
            (conf / "cloud.crt").unlink()
    return given


def contents(conf: Path) -> dict[str, bytes | None]:
    """Every file; None for what is not a plain one."""
    return {
        path.name: path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in conf.iterdir()
    }


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("certificate cut off", "The certificate"),
        ("authority cut off", "The CA certificate"),
        ("key cut off", "The private key cannot be read"),
        ("another authority", "is not among the CAs given"),
        ("another key", "key does not belong to the certificate"),
        ("expired", "expired"),
        ("key file cut off", "The private key in cloud.key cannot be read"),
        ("key file that cannot be read", "cloud.key cannot be read: Input/output error"),
        ("certificate file cut off", "cloud.crt holds no certificate"),
        ("no passphrase yet", "key does not belong to the certificate"),
        ("certificate file that is none", "cloud.crt cannot be read: Is a directory"),
        ("no certificate file", "cloud.crt cannot be read: No such file"),
    ],
)
def test_what_is_broken_is_named_and_nothing_changes(
    tmp_path: Path, conf: Path, ca: CA, leaf: LeafCert, what: str, said: str
) -> None:
    go(install)(words(conf, leaf, ca), machine(tmp_path, Recorder()))
    given = broken(what, words(conf, leaf, ca, mode="agent"), conf, CA().issue_cert("other"))
    before = contents(conf)
    done = subprocess.run(
        [sys.executable, "-m", "ssvm_agent.delivery.keystore_cert_import", *given],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("keystore-cert-import: ")
    assert said in line
    assert "provisionCertificate" in line
    assert contents(conf) == before
    assert "PRIVATE KEY" not in line
