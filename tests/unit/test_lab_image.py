# SPDX-License-Identifier: Apache-2.0
"""The cache of system VM images: a run does not take away what another one boots."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.vm.lab.image import system_vm_image, throw_away_images


def test_an_image_in_use_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(argv: list[Path], *, check: bool) -> None:
        (argv[1] / "disk.raw").touch()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SSVM_VM_IMAGE", raising=False)
    monkeypatch.setattr(subprocess, "run", build)
    home = tmp_path / "ssvm-agent"
    (home / "image-old").mkdir(parents=True)
    with system_vm_image() as image:
        assert list(home.iterdir()) == [image.folder], "the one before gave way"
        throw_away_images(home)
        with system_vm_image() as again:
            assert again == image
        assert image.disk.exists()
    throw_away_images(home)
    assert list(home.iterdir()) == []
