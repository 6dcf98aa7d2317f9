# SPDX-License-Identifier: Apache-2.0
"""A real bundle of this checkout, built once."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from ssvm_agent.payload.build import build
from ssvm_agent.payload.errors import BuildError

ROOT = Path(__file__).parents[3]


@pytest.fixture(name="archive", scope="session")
def _archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("dist")
    try:
        return build(ROOT, output, platform.machine())
    except BuildError as error:
        if "cannot be fetched" in error.message:
            pytest.skip(f"no libraries in build/wheels and no network: {error.message}")
        raise
