# SPDX-License-Identifier: Apache-2.0
"""Run a program outside the service's own mount namespace, through the service manager.

A sandboxed service sees mounts of the machine, but the machine does not see those the service
makes. So what has to be mounted for everybody is mounted by a transient unit, which lives beside
the service; it costs the service no right it does not have already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ssvm_agent.host.errors import ProgramFailedError, ProgramTimedOutError
from ssvm_agent.host.run import Argument, ProgramResult, ResourceLimits, Runner

# The unit ends by itself when whoever waits for it is gone.
_GRACE_S = 5


class OutsideRunner:
    """A runner whose programs live in transient units."""

    def __init__(self, inside: Runner) -> None:
        self._inside = inside

    async def run(
        self,
        argv: Sequence[Argument],
        *,
        deadline_s: float,
        input: bytes | None = None,  # noqa: A002 - the name subprocess uses
        check: bool = True,
        env: Mapping[str, str] | None = None,
        max_output_bytes: int = 1 << 20,
        limits: ResourceLimits | None = None,
    ) -> ProgramResult:
        """Run a program to its end; see :meth:`ssvm_agent.host.run.SystemRunner.run`.

        Raises:
            ProgramMissingError: There is no service manager here.
            ProgramFailedError: The program, or starting it, failed and ``check`` is set.
            ProgramTimedOutError: It was ended at the deadline.
        """
        variables = {"LC_ALL": "C", **(env or {})}
        command = [
            "systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--service-type=exec",
            f"--property=RuntimeMaxSec={math.ceil(deadline_s) + _GRACE_S}",
            *(f"--setenv={name}={value}" for name, value in variables.items()),
            "--",
            *(limits.prefix() if limits else []),
            # The service manager replaces variables in arguments.
            *(str(argument).replace("$", "$$") for argument in argv),
        ]  # fmt: skip
        program = str(argv[0])
        try:
            return await self._inside.run(
                command, deadline_s=deadline_s, input=input, check=check,
                max_output_bytes=max_output_bytes,
            )  # fmt: skip
        except ProgramFailedError as error:
            raise ProgramFailedError(program, error.returncode, error.output) from error
        except ProgramTimedOutError as error:
            raise ProgramTimedOutError(program, deadline_s) from error
