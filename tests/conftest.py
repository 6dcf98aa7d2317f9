# SPDX-License-Identifier: Apache-2.0
"""What every test can rely on; the fixtures themselves live in tests/fixtures, one file a topic."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.requirements",
    "tests.fixtures.blocking",
    "tests.fixtures.certificates",
    "tests.fixtures.nginx",
    "tests.fixtures.agents",
    "tests.fixtures.images",
    "tests.fixtures.mariadb",
    "tests.fixtures.system_templates",
]

# A busy machine must not decide what fails: examples have no deadline of their own, and whole tests
# have the one of pyproject.toml.
settings.register_profile("ssvm-agent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ssvm-agent")

# Servers and administration tools live there, and a user's PATH often leaves it out.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave benchmarks out unless they are asked for with ``-m``."""
    if config.option.markexpr:
        return
    benchmarks = [item for item in items if item.get_closest_marker("bench")]
    if benchmarks:
        config.hook.pytest_deselected(items=benchmarks)
        items[:] = [item for item in items if not item.get_closest_marker("bench")]
