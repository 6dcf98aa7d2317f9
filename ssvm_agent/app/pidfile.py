# SPDX-License-Identifier: Apache-2.0
"""The pid file: one agent at a time, and scripts of the system VM know where it is.

Rules of agent-lifecycle.md 2.1: made exclusively, a dead owner's file is replaced, anything
else in the way is a refusal. Blocking; used before and after the event loop.

Theory of operation: the file stays behind when the power is cut, and in the next boot its number
may be any program's. So the agent that lives holds a lock on its file, which no crash leaves
behind, and a number counts only when its process is an agent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ssvm_agent.errors import AgentError, ConfigError
from ssvm_agent.host.agents import is_agent

# Each turn ends with our file in place, a refusal, or a stale file out of the way.
_TURNS: Final = 3


class AlreadyRunningError(AgentError):
    """The pid file is held by somebody else, or cannot be understood."""

    code = "already-running"


@contextlib.contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Hold the pid file for as long as the block runs; ``None`` holds nothing.

    Raises:
        AlreadyRunningError: A living agent holds it, or what it holds is not a number.
        ConfigError: It cannot be written.
    """
    if path is None:
        yield
        return
    try:
        descriptor = _take(path)
    except OSError as error:
        raise ConfigError(f"pid_file {path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.read_text("ascii") == f"{os.getpid()}\n":
                path.unlink()
        os.close(descriptor)


def _take(path: Path) -> int:
    """Put our file in place; the descriptor that keeps it locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and linked into place: whoever finds the file finds it locked, and a whole
    # number in it.
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        os.fsync(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _link(aside, path)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        aside.unlink()
    return descriptor


def _link(aside: Path, path: Path) -> None:
    for _ in range(_TURNS):
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(aside)
            return
        _clear(path)
    raise AlreadyRunningError(f"Another agent is starting with the pid file {path}")


def _clear(path: Path) -> None:
    """Remove a file nobody holds; the lock keeps others from removing it at the same time."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _number_in(path) or "one that is starting"
            raise AlreadyRunningError(
                f"An agent is running already: process {pid} holds {path}"
            ) from None
        _refuse_unless_stale(path)
        if _is_still(path, descriptor):
            path.unlink()
    finally:
        os.close(descriptor)


def _refuse_unless_stale(path: Path) -> None:
    pid = _number_in(path)
    if pid is not None and pid != os.getpid() and _runs_agent(pid):
        raise AlreadyRunningError(f"An agent is running already: process {pid} holds {path}")


def _number_in(path: Path) -> int | None:
    """The process id in the file; ``None`` in an empty one, as a power cut leaves it behind."""
    try:
        text = path.read_text("ascii", "replace").strip("\0 \r\n")
    except FileNotFoundError:
        return None
    if text and not text.isdigit():
        raise AlreadyRunningError(
            f"The pid file {path} does not hold a process id; remove it if no agent runs"
        )
    return int(text) if text else None


def _is_still(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _runs_agent(pid: int) -> bool:
    # Differs: agent-lifecycle.md 2.1, another program under the number does not keep us from
    # starting. A process that cannot be seen is one of another confinement, not an agent's.
    process = Path(f"/proc/{pid}")
    try:
        # /proc has an entry for each thread too, with the arguments of its process. A number left
        # from an earlier boot is often that of a thread of ours.
        if f"\nTgid:\t{pid}\n" not in (process / "status").read_text("ascii", "replace"):
            return False
        words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return False
    return is_agent(words) is not None
