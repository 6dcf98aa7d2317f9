# SPDX-License-Identifier: Apache-2.0
"""What the two certificate scripts have in common: their files, and how they end.

The scripts are started over SSH by management servers and hypervisors; names, order of arguments
and resulting files are theirs (boot-and-system.md 0, fact 7; agent-lifecycle.md 4.1).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.keystore import AgentKeystore
from ssvm_agent.config.state import AgentState
from ssvm_agent.delivery.errors import DeliveryError, UsageError
from ssvm_agent.errors import AgentError
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool

_RESOURCE: Final = "NfsSecondaryStorageResource"
_POLL_S: Final = 1.0
_USAGE: Final = 2
_FAILED: Final = 1


def conf_dir_of(files: Sequence[tuple[str, str]]) -> Path:
    """The one directory all files given to a script lie in.

    Args:
        files: Path as given, and the name the file must have.

    Raises:
        UsageError: A file has another name, or lies elsewhere.
    """
    directories = {Path(path).parent for path, _ in files}
    for path, name in files:
        if Path(path).name != name:
            raise UsageError(f"{path!r} is given where a file named {name} is expected")
    if len(directories) != 1:
        raise UsageError("The files given do not lie in one directory")
    return directories.pop()


async def wait_for(directory: Path, *, pool: WorkPool, clock: Clock, deadline_s: float) -> None:
    """Wait until the payload has made the directory.

    Differs: agent-lifecycle.md 4.2 waits for ever; the caller's own limit is 15 minutes.

    Raises:
        DeliveryError: It did not come in time.
    """
    until = clock.monotonic() + deadline_s
    while not await pool.call(directory.is_dir):
        if clock.monotonic() >= until:
            raise DeliveryError(f"{directory} has not appeared within {deadline_s:g} s")
        await clock.sleep(_POLL_S)


def keystore_in(directory: Path) -> AgentKeystore:
    """The agent's key and certificate in a directory."""
    return AgentKeystore(directory, AgentState(directory / "agent.properties", _RESOURCE))


def script(name: str, work: Callable[[Sequence[str]], Awaitable[str]]) -> int:
    """Run a script's work on its arguments: print its result, or its error, as an exit code."""

    async def run() -> str:
        return await work(sys.argv[1:])

    try:
        sys.stdout.write(asyncio.run(run()))
    except UsageError as error:
        print(f"{name}: {error.for_operators()}", file=sys.stderr)  # noqa: T201 - a script
        return _USAGE
    except AgentError as error:
        print(f"{name}: {error.for_operators()}", file=sys.stderr)  # noqa: T201 - a script
        return _FAILED
    return 0
