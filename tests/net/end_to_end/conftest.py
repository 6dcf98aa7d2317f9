# SPDX-License-Identifier: Apache-2.0
"""What these tests share: a directory that is the image store."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The image store's directory."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder
