# SPDX-License-Identifier: Apache-2.0
"""A whole ingest room for each test that asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.ingest import Rig, ingest_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The room over an empty directory store."""
    async with ingest_rig(tmp_path) as built:
        yield built
