# SPDX-License-Identifier: Apache-2.0
"""The one place that starts programs.

Argument vectors only, never a shell (requirements S4). Each program gets its own process group, a
fixed environment and a deadline; when the deadline ends, or the caller is cancelled, the whole
group is terminated and then killed. Output is bounded. Arguments never appear in errors or logs,
because some callers have to pass what should not be read there.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ssvm_agent.host.errors import (
    ProgramFailedError,
    ProgramMissingError,
    ProgramNotStartedError,
    ProgramTimedOutError,
)
from ssvm_agent.host.starter import Job, Output, starter_of_process

Argument = str | Path

_BASE_ENVIRONMENT: Final = {
    "LC_ALL": "C",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
# A program that ignores SIGTERM this long is killed; one that survives SIGKILL this long hangs in
# the kernel and is left behind.
_TERMINATE_GRACE_S: Final = 2.0
_KILL_GRACE_S: Final = 2.0
_ERROR_TAIL_BYTES: Final = 2000
# How the programs that apply limits end and speak when they cannot become the one behind them.
_NOT_EXECUTED: Final = (126, 127)
_NOT_BECOME: Final = re.compile(
    rb"(?:prlimit|unshare): failed to execute (?P<program>.+): (?P<reason>[^:\n]+)\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """What a finished program left.

    Attributes:
        returncode: Exit status; negative when a signal ended it.
        stdout: The first ``max_output_bytes`` it wrote.
        stderr: Likewise.
        truncated: Whether one of them was longer.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    truncated: bool = False

    @property
    def text(self) -> str:
        """Standard output as text, undecodable bytes replaced."""
        return self.stdout.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Kernel limits for a program that handles data we do not trust (requirements S3).

    Attributes:
        address_space_bytes: The most memory it may map.
        cpu_s: The most processor time it may use.
        file_size_bytes: The longest file it may write.
        open_files: The most descriptors it may hold.
        no_network: Whether it runs in an empty network namespace (needs root).
    """

    address_space_bytes: int | None = None
    cpu_s: int | None = None
    file_size_bytes: int | None = None
    open_files: int | None = None
    no_network: bool = False

    def prefix(self) -> list[str]:
        """The argument vector that applies the limits and then becomes the program behind it."""
        pairs = (
            ("as", self.address_space_bytes),
            ("cpu", self.cpu_s),
            ("fsize", self.file_size_bytes),
            ("nofile", self.open_files),
        )
        limits = [f"--{name}={value}" for name, value in pairs if value is not None]
        network = ["unshare", "--net", "--"] if self.no_network else []
        return [*network, "prlimit", "--core=0", *limits, "--"]


class Runner(Protocol):
    """Starts programs; tests have one that only pretends."""

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
        """Run a program to its end; see :meth:`SystemRunner.run`."""
        ...


class SystemRunner:
    """Starts real programs; made before the first store is opened (:mod:`.starter`)."""

    def __init__(self) -> None:
        self._starter = starter_of_process()

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
        """Run a program to its end.

        Args:
            argv: The program and its arguments; found on a fixed PATH.
            deadline_s: For starting, running and reading its output together.
            input: Its standard input; None connects it to nothing.
            check: Whether an exit status other than 0 raises.
            env: Variables on top of a minimal environment; ours is not inherited.
            max_output_bytes: Kept of each output stream; the rest is read and dropped.
            limits: Kernel limits to run under.

        Raises:
            ProgramMissingError: There is no such program.
            ProgramNotStartedError: It may not be executed, or the machine cannot start programs.
            ProgramFailedError: It failed and ``check`` is set.
            ProgramTimedOutError: It was killed at the deadline.
        """
        program = Path(argv[0]).name
        command = [*(limits.prefix() if limits else []), *map(str, argv)]
        job = Job(
            argv=command,
            env={**_BASE_ENVIRONMENT, **(env or {})},
            input=input,
            stdout=Output(limit=max_output_bytes),
            stderr=Output(limit=max_output_bytes),
        )
        ended = self._starter.start(job)
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.shield(ended)
        except TimeoutError as error:
            raise ProgramTimedOutError(program, deadline_s) from error
        except FileNotFoundError as error:
            # Its input comes from there, so that a machine without it could start nothing.
            if error.filename == os.devnull:
                reason = f"{os.devnull} is missing; mknod -m 666 {os.devnull} c 1 3 makes it"
                raise ProgramNotStartedError(program, reason) from error
            # With limits it is the program that applies them.
            raise ProgramMissingError(Path(command[0]).name) from error
        except OSError as error:
            raise ProgramNotStartedError(program, os.strerror(error.errno or 0)) from error
        finally:
            if not ended.done():
                await _end_group(job, ended)
        stdout, stderr, returncode = bytes(job.stdout.data), bytes(job.stderr.data), job.returncode
        if limits and returncode in _NOT_EXECUTED:
            _raise_unless_executed(stderr)
        if check and returncode:
            raise ProgramFailedError(program, returncode, _tail(stderr or stdout))
        return ProgramResult(
            returncode=returncode,
            stdout=stdout,
            stderr=stderr,
            truncated=job.stdout.truncated or job.stderr.truncated,
        )


def _raise_unless_executed(stderr: bytes) -> None:
    """Tell the program that ended so from one that applied limits and could not become it."""
    found = _NOT_BECOME.match(stderr)
    if found is None:
        return
    program = Path(os.fsdecode(found["program"])).name
    reason = found["reason"].decode("utf-8", "replace")
    if reason == os.strerror(errno.ENOENT):
        raise ProgramMissingError(program)
    raise ProgramNotStartedError(program, reason)


async def _end_group(job: Job, ended: asyncio.Future[None]) -> None:
    """Terminate the process group, then kill it; give up on one that hangs in the kernel."""
    for number, grace_s in ((signal.SIGTERM, _TERMINATE_GRACE_S), (signal.SIGKILL, _KILL_GRACE_S)):
        job.signal(number)
        await asyncio.wait([ended], timeout=grace_s)
        if ended.done():
            return


def _tail(output: bytes) -> str:
    """The end of a program's output in one line."""
    return " ".join(output[-_ERROR_TAIL_BYTES:].decode("utf-8", "replace").split())
