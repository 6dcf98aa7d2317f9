# SPDX-License-Identifier: Apache-2.0
"""Which processes count as agents."""

from __future__ import annotations

import pytest

from ssvm_agent.host.agents import is_agent


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (["/opt/x/bin/python3", "/opt/x/bin/ssvm-agent", "run", "--set", "a=b"], True),
        (["/usr/bin/python3.11", "-m", "ssvm_agent", "run"], True),
        (["ssvm-agent", "run"], True),
        (["/opt/x/bin/python3", "-P", "/opt/x/bin/ssvm-agent", "run"], True),
        (["sh", "-c", "ssvm-agent run"], None),
        (["/opt/x/bin/python3", "/opt/x/bin/ssvm-agent", "status"], None),
        (["java", "-cp", "x", "com.cloud.agent.AgentShell", "guid=1"], False),
        (["java", "-jar", "other.jar"], None),
        ([""], None),
    ],
)
def test_what_counts_as_an_agent(arguments: list[str], verdict: bool | None) -> None:
    """boot-and-system.md 5.1: not any Java process."""
    assert is_agent(arguments) is verdict
