# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ssvm_agent.host.errors import PoolDeadlineError, PoolStuckError, ProgramFailedError


def test_messages_read_as_sentences() -> None:
    assert str(ProgramFailedError("mount", 32, "")) == "mount failed with exit status 32"
    assert str(PoolDeadlineError("store a", 1.5)) == "store a did not respond within 1.5 seconds"
    assert "all its threads" in str(PoolStuckError("store a"))
