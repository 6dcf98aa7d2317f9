# SPDX-License-Identifier: Apache-2.0
"""Names of formats and their extensions (storage-commands.md 4.10.2)."""

from __future__ import annotations

import pytest

from ssvm_agent.images.errors import WrongFormatError
from ssvm_agent.images.formats import ImageFormat


def test_extensions_are_those_of_the_install_step() -> None:
    assert [image_format.extension for image_format in ImageFormat] == [
        "qcow2", "raw", "vhd", "vhdx", "vmdk", "vdi", "ova", "iso", "tar", "zip", "dir",
        "BAREMETAL", "EXTERNAL",
    ]  # fmt: skip


def test_names_are_read_in_any_case() -> None:
    assert ImageFormat.from_name(" qcow2 ") is ImageFormat.QCOW2


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(WrongFormatError, match="'FLOPPY'"):
        ImageFormat.from_name("FLOPPY")
