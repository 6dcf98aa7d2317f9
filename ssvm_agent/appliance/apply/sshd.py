# SPDX-License-Identifier: Apache-2.0
"""What the installed sshd understands."""

from __future__ import annotations

from typing import Final

from ssvm_agent.host.errors import HostError
from ssvm_agent.host.run import Runner

_DEADLINE_S: Final = 10.0
_QUESTION: Final = ("sshd", "-t", "-f", "/dev/null", "-o", "PubkeyAcceptedAlgorithms=+ssh-rsa")


async def knows_old_keys(runner: Runner) -> bool:
    """Whether it has ``PubkeyAcceptedAlgorithms`` (OpenSSH 8.5); an unknown word stops sshd."""
    try:
        result = await runner.run(_QUESTION, deadline_s=_DEADLINE_S, check=False)
    except HostError:
        return False
    said = (result.stdout + result.stderr).lower()
    return b"bad configuration option" not in said and b"unsupported option" not in said
