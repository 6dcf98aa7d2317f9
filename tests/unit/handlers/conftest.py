# SPDX-License-Identifier: Apache-2.0
"""The rig of the agent-level and set-up handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ssvm_agent.handlers.catalogue import load
from tests.fakes.services import Rig, handler_rig

load()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Services on a temporary machine."""
    async with handler_rig(tmp_path) as made:
        yield made
