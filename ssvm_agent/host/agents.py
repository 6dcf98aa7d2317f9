# SPDX-License-Identifier: Apache-2.0
"""Tells an agent among the processes of the machine, by its arguments. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

_OUR_NAMES: Final = frozenset({"ssvm-agent", "ssvm_agent"})
# The main class of the stock agent, the last word of its virtual machine's own.
_STOCK_NAME: Final = "AgentShell"


def is_agent(arguments: Sequence[str]) -> bool | None:
    """Whether these are the arguments of an agent: ours, another make's (False), none (None).

    Ours may be started by name, by module, or by a Python with options of its own.
    """
    if any(word.endswith(_STOCK_NAME) for word in arguments):
        return False
    if "run" not in arguments:
        return None
    program = arguments[: list(arguments).index("run")]
    return True if any(PurePath(word).name in _OUR_NAMES for word in program) else None
