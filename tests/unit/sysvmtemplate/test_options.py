# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.masking import Secret
from ssvm_agent.sysvmtemplate.errors import DatabaseAccessError
from ssvm_agent.sysvmtemplate.options import UsageError, build_parser, parse
from ssvm_agent.sysvmtemplate.request import DatabaseRequest

BASE = ["-m", "/mnt/secondary", "-f", "/tmp/t.bz2", "-h", "kvm"]


def database_of(*words: str, **environment: str) -> DatabaseRequest:
    database = parse([*BASE, *words], environment=environment).request.database
    assert database is not None
    return database


def test_every_letter_of_the_stock_script_is_understood() -> None:
    """boot-and-system.md 6.1, the table of options."""
    request = parse(
        ["-m", "/mnt/a", "-u", "https://example.com/t.bz2", "-h", "xenserver", "-t", "1",
         "-e", "vhd", "-F", "-s", "key", "-o", "db", "-p", "3307", "-r", "cloud", "-d", "secret",
         "-M"],
        environment={},
    ).request  # fmt: skip
    assert request.mounts == (Path("/mnt/a"),)
    assert request.url == "https://example.com/t.bz2"
    assert request.hypervisor.database_word == "XenServer"
    assert (request.template_id, request.force) == (1, True)
    assert request.database == DatabaseRequest(
        properties=Path("/etc/cloudstack/management/db.properties"),
        host="db", port=3307, user="cloud", password=Secret("secret"), key=Secret("key"),
    )  # fmt: skip


def test_the_long_forms_say_the_same() -> None:
    long = parse(
        ["--mount", "/mnt/secondary", "--file", "/tmp/t.bz2", "--hypervisor", "KVM",
         "--template-id", "3", "--force", "--db-password", "x", "--key", "y"],
        environment={},
    )  # fmt: skip
    assert long == parse([*BASE, "-t3", "-F", "-d", "x", "-s", "y"], environment={})


@pytest.mark.parametrize(
    ("words", "image_format"),
    [
        (["-h", "kvm"], ImageFormat.QCOW2),
        (["-h", "kvm", "-e", "vhd"], ImageFormat.QCOW2),
        (["-h", "kvm", "-e", "vhd", "-t", "3"], ImageFormat.VHD),
        (["-h", "kvm", "-t", "3"], ImageFormat.QCOW2),
        (["-h", "vmware"], ImageFormat.OVA),
        (["-h", "ovm3"], ImageFormat.RAW),
        (["-h", "hyperv"], ImageFormat.VHD),
    ],
)
def test_the_hypervisor_decides_the_format(words: list[str], image_format: ImageFormat) -> None:
    """boot-and-system.md 6.1: -e counts with -t only."""
    assert parse([*BASE[:4], *words], environment={}).request.image_format is image_format


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["install"],
        ["-m", "/mnt", "-h", "kvm"],
        [*BASE, "-u", "http://example.com/x"],
        [*BASE, "-h", "vbox"],
        [*BASE, "-t", "NULL"],
        [*BASE, "-t", "0"],
        [*BASE, "-t", "3/../4"],
        [*BASE, "-p", "70000"],
        [*BASE, "--no-database"],
        [*BASE, "--checksum", "crc32:00"],
        [*BASE, "--checksum", "sha256:00"],
        [*BASE, "--unknown"],
        ["-f", "x", "-h", "kvm"],
        ["-m", "/mnt", "-u", "ftp://example.com/x", "-h", "kvm"],
        ["-m", "/mnt", "-u", "file:///etc/passwd", "-h", "kvm"],
    ],
)
def test_a_line_that_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(words, environment={})


@pytest.mark.parametrize("text", ["sha-256:" + "ab" * 32, "{SHA-256}" + "AB" * 32, "ab" * 32])
def test_a_checksum_may_be_written_in_three_ways(text: str) -> None:
    checksum = parse([*BASE, "--checksum", text], environment={}).request.checksum
    assert str(checksum) == "{SHA-256}" + "ab" * 32


def test_a_secret_may_begin_with_a_dash() -> None:
    """The stock script reads its options by getopt."""
    assert database_of("-d", "-x", "-s", "--y").password == Secret("-x")
    assert database_of("-d", "").password == Secret("")


def test_passwords_come_from_the_first_that_has_one(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from file\nmore\n")
    environment = {"CLOUD_DB_PASSWORD": "from environment"}
    words = ["--db-password-file", str(file)]
    assert database_of("-d", "given", *words, **environment).password == Secret("given")
    assert database_of(*words, **environment).password == Secret("from file")
    assert database_of(**environment).password == Secret("from environment")
    assert database_of().password is None


def test_a_secret_file_must_have_a_secret(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in ("empty", "none"):
        with pytest.raises(DatabaseAccessError):
            parse([*BASE, "--key-file", str(tmp_path / name)], environment={})


def test_mounts_given_twice_are_taken_once() -> None:
    assert parse([*BASE, "-m", "/mnt/secondary/"], environment={}).request.mounts == (
        Path("/mnt/secondary"),
    )


def test_secrets_do_not_print() -> None:
    assert "hidden" not in repr(parse([*BASE, "-d", "hidden", "-s", "hidden"], environment={}))


def test_every_option_has_its_place_in_the_page() -> None:
    page = Path(__file__).parents[3].joinpath("docs/cloud-install-sys-tmplt.md").read_text()
    for action in build_parser()._actions:
        for option in action.option_strings:
            assert f"`{option}" in page, option
