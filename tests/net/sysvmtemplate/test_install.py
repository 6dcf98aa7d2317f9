# SPDX-License-Identifier: Apache-2.0
"""The whole command without a database: real templates, files and a real web server."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from ssvm_agent.storage import properties
from tests.fixtures.nginx import ServeDirectory
from tests.fixtures.system_templates import DISK_BYTES, MIB, SystemTemplates
from tests.net.sysvmtemplate.conftest import Install, properties_of, tree

pytestmark = pytest.mark.needs("qemu-img")

NO_DATABASE = ("--no-database", "-t", 3)


def old_template(store: Path) -> dict[str, bytes]:
    place = store / "template/tmpl/1/3"
    place.mkdir(parents=True)
    (place / "old.qcow2").write_bytes(b"old image")
    (place / "template.properties").write_text("filename=old.qcow2\n")
    return tree(store)


@pytest.mark.parametrize(
    ("hypervisor", "extension", "virtual_bytes"),
    [
        ("kvm", "qcow2", DISK_BYTES),
        ("lxc", "qcow2", DISK_BYTES),
        ("xenserver", "vhd", DISK_BYTES),
        ("hyperv", "vhd", DISK_BYTES),
        ("vmware", "ova", DISK_BYTES),
        ("ovm3", "raw", 64 * MIB),
    ],
)
def test_every_hypervisor_gets_its_template(
    install: Install, store: Path, system_templates: SystemTemplates,
    hypervisor: str, extension: str, virtual_bytes: int,
) -> None:  # fmt: skip
    """boot-and-system.md 6.1: tree, names, properties in their order."""
    template = system_templates.of(hypervisor)
    ended = install("-f", template, "-h", hypervisor, *NO_DATABASE)
    assert ended.code == 0, ended.err
    place = store / "template/tmpl/1/3"
    found = properties_of(store, 3)
    image = place / found["filename"]
    size = str(image.stat().st_size)
    assert found == {
        "filename": image.name,
        "description": "SystemVM Template",
        "hvm": "false",
        "size": size,
        extension: "true",
        "id": "3",
        "public": "true",
        f"{extension}.filename": image.name,
        "uniquename": "routing-3",
        f"{extension}.virtualsize": str(virtual_bytes),
        "virtualsize": str(virtual_bytes),
        f"{extension}.size": size,
    }
    assert list(found)[:5] == ["filename", "description", "hvm", "size", extension]
    assert image.suffix == f".{extension}"
    plain = template if extension == "ova" else system_templates.disk(extension)
    assert image.read_bytes() == plain.read_bytes()
    assert not properties.load((place / "template.properties").read_text()).is_corrupted
    assert {p.stat().st_mode & 0o777 for p in place.iterdir()} == {0o644}
    assert place.stat().st_mode & 0o777 == 0o755
    assert [p.name for p in store.iterdir()] == ["template"]
    assert f"Successfully installed system VM template {template} to {place}/" in ended.out


def test_an_ova_is_laid_out_beside_itself(
    install: Install, store: Path, system_templates: SystemTemplates
) -> None:
    """boot-and-system.md 6.1: untar inside the destination, the archive is kept."""
    assert install("-f", system_templates.ova(), "-h", "vmware", *NO_DATABASE).code == 0
    place = store / "template/tmpl/1/3"
    names = {path.name for path in place.iterdir()}
    image = properties_of(store, 3)["filename"]
    assert names == {image, "template.properties", "systemvm.ovf", "systemvm.mf", "systemvm.vmdk"}
    assert (place / "systemvm.vmdk").read_bytes() == system_templates.disk("vmdk").read_bytes()
    # And once more over itself: members of the same names are replaced.
    assert install("-f", system_templates.ova(), "-h", "vmware", *NO_DATABASE, "-F").code == 0
    assert len(list(place.iterdir())) == 5
    assert not (place / image).exists()


@pytest.mark.needs("nginx")
def test_a_url_is_downloaded_in_one_pass(
    install: Install, store: Path, system_templates: SystemTemplates,
    serve_directory: ServeDirectory,
) -> None:  # fmt: skip
    template = system_templates.of("kvm")
    site = serve_directory(system_templates.root)
    digest = hashlib.sha256(template.read_bytes()).hexdigest()
    ended = install(
        "-u", site.url(template), "-h", "kvm", *NO_DATABASE, "--json",
        "--checksum", f"sha256:{digest}",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.result["result"] == "installed"
    assert ended.result["template"]["checksum"] == f"{{SHA-256}}{digest}"
    assert ended.result["template"]["virtual_size"] == DISK_BYTES
    assert ended.result["stores"][0]["directory"] == str(store / "template/tmpl/1/3")
    assert sum("GET" in line for line in site.requests()) == 1


def test_several_stores_get_the_same_template(
    install: Install, store: Path, tmp_path: Path, system_templates: SystemTemplates
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    ended = install("-m", other, "-f", system_templates.of("vmware"), "-h", "vmware", *NO_DATABASE)
    assert ended.code == 0, ended.err
    assert tree(store) == tree(other)
    assert len(tree(store)) == 5


def test_the_same_store_is_not_taken_twice(
    install: Install, store: Path, tmp_path: Path, system_templates: SystemTemplates
) -> None:
    (tmp_path / "again").symlink_to(store)
    template = system_templates.of("kvm")
    # The link leads to the same path, so it is the same mount given twice.
    assert install("-m", tmp_path / "again", "-f", template, "-h", "kvm", *NO_DATABASE).code == 0


def test_a_template_that_is_there_is_refused_without_force(
    install: Install, store: Path, system_templates: SystemTemplates
) -> None:
    before = old_template(store)
    ended = install("-f", system_templates.of("kvm"), "-h", "kvm", *NO_DATABASE)
    assert ended.code == 5
    assert "Use -F" in ended.err
    assert ended.err.endswith("Installation failed\n")
    assert tree(store) == before


def test_force_replaces_it(
    install: Install, store: Path, system_templates: SystemTemplates
) -> None:
    old_template(store)
    assert install("-f", system_templates.of("kvm"), "-h", "kvm", *NO_DATABASE, "-F").code == 0
    assert set(tree(store)) == {
        f"template/tmpl/1/3/{properties_of(store, 3)['filename']}",
        "template/tmpl/1/3/template.properties",
    }


def test_a_dry_run_changes_nothing(
    install: Install, store: Path, system_templates: SystemTemplates
) -> None:
    before = old_template(store)
    ended = install("-f", system_templates.of("kvm"), "-h", "kvm", *NO_DATABASE, "-F", "--dry-run")
    assert ended.code == 0
    assert "Would replace the template in" in ended.out
    assert tree(store) == before
    assert [p.name for p in store.iterdir()] == ["template"]


BAD: list[tuple[str, int, str]] = [
    ("truncated", 8, "Get the template again"),
    ("truncated ova", 8, "Get the template again"),
    ("junk behind", 8, "Get the template again"),
    ("for another hypervisor", 8, "this hypervisor"),
    ("compressed for another hypervisor", 8, "this hypervisor"),
    ("wrong checksum", 8, "checksum"),
    ("missing", 3, "cannot be read"),
    ("empty", 3, "is empty"),
    ("a directory", 3, "Is a directory"),
    ("a pipe", 3, "not a regular file"),
]


@pytest.mark.parametrize(("what", "code", "says"), BAD)
def test_a_bad_template_leaves_the_old_one_alone(
    install: Install, store: Path, tmp_path: Path, system_templates: SystemTemplates,
    what: str, code: int, says: str,
) -> None:  # fmt: skip
    before = old_template(store)
    good = system_templates.of("kvm").read_bytes()
    path, hypervisor, more = tmp_path / "template", "kvm", []
    match what:
        case "truncated":
            path.write_bytes(good[: len(good) * 2 // 3])
        case "truncated ova":
            path.write_bytes(system_templates.ova().read_bytes()[:-200_000])
            hypervisor = "vmware"
        case "junk behind":
            path.write_bytes(good + b"junk")
        case "for another hypervisor":
            path = system_templates.ova()
        case "compressed for another hypervisor":
            path = system_templates.bz2("vhd")
        case "wrong checksum":
            path, more = system_templates.of("kvm"), ["--checksum", "0" * 128]
        case "empty":
            path.touch()
        case "a directory":
            path.mkdir()
        case "a pipe":
            os.mkfifo(path)
        case _:
            assert not path.exists()
    ended = install("-f", path, "-h", hypervisor, *NO_DATABASE, "-F", *more)
    assert (ended.code, says in ended.err) == (code, True), ended.err
    assert ended.err.endswith("Installation failed\n")
    assert tree(store) == before
    assert [p.name for p in store.iterdir()] == ["template"]


@pytest.mark.needs("nginx")
def test_a_url_that_is_not_there_is_named(
    install: Install, store: Path, tmp_path: Path, serve_directory: ServeDirectory
) -> None:
    site = serve_directory(tmp_path)
    ended = install("-u", site.url("none.qcow2"), "-h", "kvm", *NO_DATABASE, "--json")
    assert ended.code == 3
    assert ended.result["result"] == "failed"
    assert ended.result["error"]["exit_code"] == 3
    assert "404" in ended.result["error"]["message"] + (ended.result["error"]["detail"] or "")
    assert list(store.iterdir()) == []


def test_a_store_that_is_not_there_is_refused(
    install: Install, tmp_path: Path, system_templates: SystemTemplates
) -> None:
    ended = install("-m", tmp_path / "none", "-f", system_templates.of("kvm"), "-h", "kvm",
                    *NO_DATABASE)  # fmt: skip
    assert ended.code == 10
    assert "Mount the secondary storage" in ended.err


def test_a_link_in_the_way_is_not_followed(
    install: Install, store: Path, tmp_path: Path, system_templates: SystemTemplates
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (store / "template").symlink_to(elsewhere)
    ended = install("-f", system_templates.of("kvm"), "-h", "kvm", *NO_DATABASE)
    assert ended.code == 10
    assert "symbolic link" in ended.err
    assert list(elsewhere.iterdir()) == []


def test_stock_exit_codes_are_given_on_request(
    install: Install, system_templates: SystemTemplates, tmp_path: Path
) -> None:
    """boot-and-system.md 6.1: 2 for nearly everything, 0 for usage."""
    words = ("-f", tmp_path / "none", "-h", "kvm", *NO_DATABASE)
    assert install(*words).code == 3
    assert install(*words, "--compat-exit-codes").code == 2
    assert install("--compat-exit-codes").code == 0
    assert install().code == 2


def test_the_script_runs_from_anywhere(tmp_path: Path, system_templates: SystemTemplates) -> None:
    script = Path(__file__).parents[3] / "scripts/cloud-install-sys-tmplt"
    link = tmp_path / "cloud-install-sys-tmplt"
    link.symlink_to(script)
    ended = subprocess.run([link, "--help"], capture_output=True, text=True, check=True)
    assert "exit codes:" in ended.stdout
