# SPDX-License-Identifier: Apache-2.0
"""A whole ingest room and a server that misbehaves on order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.hostile_origin import HostileOrigin, hostile_origin
from tests.fakes.ingest import Rig, ingest_rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """The room over an empty directory store."""
    async with ingest_rig(tmp_path) as built:
        yield built


@pytest.fixture
async def origin() -> AsyncIterator[HostileOrigin]:
    """A running server without files."""
    async with hostile_origin() as running:
        yield running
