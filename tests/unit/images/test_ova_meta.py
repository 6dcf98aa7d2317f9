# SPDX-License-Identifier: Apache-2.0
"""The file that says from what an OVA is packed (storage-commands.md 3.18, 3.20)."""

from __future__ import annotations

import pytest

from ssvm_agent.images import ova_meta
from ssvm_agent.images.errors import ArchiveRefusedError, CorruptImageError


def test_what_is_written_is_read_again() -> None:
    text = ova_meta.render("unique name.ova", "vm.ovf", "disk=1.vmdk", 12345)
    meta = ova_meta.parse(text)
    assert meta.file_name == "unique name.ova"
    assert meta.members == ("vm.ovf", "disk=1.vmdk")
    assert "version=1.0" in text
    assert "disk1.size=12345" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ova.filename=a.ova\novf=a.ovf\n",
        "ova.filename=a.ova\novf=a.ovf\nnumDisks=1\n",
        "ova.filename=a.ova\novf=a.ovf\nnumDisks=9999999999\n",
        "ova.filename=a.ova\novf=a.ovf\nnumDisks=-1\n",
        "ovf=a.ovf\nnumDisks=1\ndisk1.name=d\n",
    ],
)
def test_an_incomplete_file_is_refused(text: str) -> None:
    with pytest.raises(CorruptImageError):
        ova_meta.parse(text)


def test_paths_are_refused() -> None:
    with pytest.raises(ArchiveRefusedError):
        ova_meta.parse("ova.filename=a.ova\novf=../a.ovf\nnumDisks=1\ndisk1.name=d\n")
