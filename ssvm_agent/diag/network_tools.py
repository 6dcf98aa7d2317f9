# SPDX-License-Identifier: Apache-2.0
"""``diagnostics.py TOOL ARGUMENT...``: a network tool run for a management server.

The answer has three parts with ``&&`` between them, whatever happens: what the tool printed, what
it complained, its exit status. The exit status of the script itself is 0, since the server reads
the parts of successful calls only (boot-and-system.md 5.2).
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Sequence
from typing import Final

from ssvm_agent.host.errors import HostError
from ssvm_agent.host.run import Runner, SystemRunner

# Compat: boot-and-system.md 5.2. Each tool with the option that bounds it, and what we give when
# the caller does not: without one, ping never ends.
_TOOLS: Final = {
    "ping": ("-c", "4"),
    "ping6": ("-c", "4"),
    "arping": ("-c", "4"),
    "arping6": ("-c", "4"),
    "traceroute": ("-m", "20"),
    "traceroute6": ("-m", "20"),
}
# Twenty silent hops, three requests each, five seconds for each request.
_DEADLINE_S: Final = 300.0
_NOT_RUN: Final = 1
_SEPARATOR: Final = "&&"


async def use_tool(words: Sequence[str], *, runner: Runner, deadline_s: float = _DEADLINE_S) -> str:
    """Run a tool and give the answer for the server.

    Args:
        words: The tool and its arguments; a word may hold several, blanks between them.
        runner: Starts the tool.
        deadline_s: For the tool.
    """
    argv = _split(" ".join(words))
    if not argv or argv[0] not in _TOOLS:
        known = ", ".join(_TOOLS)
        return _answer("", f"This is none of the tools that can be asked for: {known}", _NOT_RUN)
    option, value = _TOOLS[argv[0]]
    if not any(word.startswith(option) for word in argv[1:]):
        argv += [option, value]
    try:
        result = await runner.run(argv, deadline_s=deadline_s, check=False)
    except HostError as error:
        return _answer("", error.for_operators(), _NOT_RUN)
    return _answer(result.text, result.stderr.decode("utf-8", "replace"), result.returncode)


def _answer(stdout: str, stderr: str, status: int) -> str:
    texts = (text.strip().replace(_SEPARATOR, "& &") for text in (stdout, stderr))
    return "".join(f"{text}{_SEPARATOR}\n" for text in texts) + f"{status}\n"


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        # An odd quote: the words as they stand.
        return text.split()


def main() -> int:
    """The script."""
    sys.stdout.write(asyncio.run(use_tool(sys.argv[1:], runner=SystemRunner())))
    return 0
