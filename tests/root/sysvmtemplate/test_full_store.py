# SPDX-License-Identifier: Apache-2.0
"""A store that is really full, or really read-only (tmpfs)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssvm_agent.sysvmtemplate.cli import main
from tests.fixtures.system_templates import SystemTemplates

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("qemu-img", "mount")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A mounted store of 3 MiB with a template in it."""
    path = tmp_path / "secondary"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", path], check=True)
    place = path / "template/tmpl/1/3"
    place.mkdir(parents=True)
    (place / "old.qcow2").write_bytes(b"old image")
    (place / "template.properties").write_text("filename=old.qcow2\n")
    yield path
    subprocess.run(["umount", path], check=True)


def install(store: Path, template: Path, *more: str) -> int:
    return main(
        ["-m", str(store), "-f", str(template), "-h", "kvm", "-t", "3", "--no-database", "-F",
         *more]
    )  # fmt: skip


@pytest.mark.parametrize("compressed", [True, False])
def test_a_template_larger_than_the_store_leaves_the_old_one(
    store: Path, system_templates: SystemTemplates, capfd: pytest.CaptureFixture[str],
    compressed: bool,
) -> None:  # fmt: skip
    """The file alone is refused at once, what grows too large when the store is full."""
    template = system_templates.bz2("qcow2") if compressed else system_templates.disk("qcow2")
    assert install(store, template) == 4
    assert install(store, template, "--compat-exit-codes") == 4
    errors = capfd.readouterr().err
    assert ("no space is left" in errors) is compressed
    assert ("MiB left" in errors) is not compressed
    assert "is not a mount point" not in errors
    assert {p.name for p in store.rglob("*") if p.is_file()} == {"old.qcow2", "template.properties"}
    assert [p.name for p in store.iterdir()] == ["template"]


def test_a_read_only_store_is_told(
    store: Path, system_templates: SystemTemplates, capfd: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", store], check=True)
    assert install(store, system_templates.bz2("qcow2")) == 10
    assert "mount it read-write" in capfd.readouterr().err
