# SPDX-License-Identifier: Apache-2.0
"""Errors of the machine side: programs that fail or hang, pools whose threads do not return."""

from __future__ import annotations

from typing import ClassVar

from ssvm_agent.errors import AgentError


class HostError(AgentError):
    """Something about this machine did not work."""

    code: ClassVar[str] = "host"


class ProgramMissingError(HostError):
    """A program we need is not installed."""

    code = "program-missing"

    def __init__(self, program: str) -> None:
        super().__init__(f"The program {program} is not installed")
        self.program = program


class ProgramNotStartedError(HostError):
    """A program is there, or may be, and the machine does not let it start."""

    code = "program-not-started"

    def __init__(self, program: str, reason: str) -> None:
        super().__init__(f"The program {program} cannot be started: {reason}")
        self.program = program


class ProgramFailedError(HostError):
    """A program ended with an exit status other than 0.

    Attributes:
        program: The name it was called by (``argv[0]``); arguments are not kept.
        returncode: Exit status; negative when a signal ended it.
        output: The tail of what it wrote to stderr, or to stdout when stderr was empty.
    """

    code = "program-failed"

    def __init__(self, program: str, returncode: int, output: str) -> None:
        ending = f"exit status {returncode}" if returncode >= 0 else f"signal {-returncode}"
        said = f": {output}" if output else ""
        super().__init__(f"{program} failed with {ending}{said}")
        self.program = program
        self.returncode = returncode
        self.output = output


class ProgramTimedOutError(HostError):
    """A program did not end within its deadline and was killed."""

    code = "program-timeout"

    def __init__(self, program: str, deadline_s: float) -> None:
        super().__init__(f"{program} did not finish within {deadline_s:g} seconds")
        self.program = program
        self.deadline_s = deadline_s


class PoolError(HostError):
    """A thread pool could not do a piece of work."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class PoolDeadlineError(PoolError):
    """Blocking work did not end within its deadline; its thread goes on unattended."""

    code = "pool-deadline"

    def __init__(self, name: str, deadline_s: float) -> None:
        super().__init__(name, f"{name} did not respond within {deadline_s:g} seconds")
        self.deadline_s = deadline_s


class PoolStuckError(PoolError):
    """Every thread of the pool hangs in work whose deadline is over: nothing new is started."""

    code = "pool-stuck"

    def __init__(self, name: str) -> None:
        super().__init__(name, f"{name} does not respond, and all its threads wait for it")


class PoolClosedError(PoolError):
    """The pool takes no more work: its owner is being shut down."""

    code = "pool-closed"

    def __init__(self, name: str) -> None:
        super().__init__(name, f"{name} is being let go; nothing new is started")
