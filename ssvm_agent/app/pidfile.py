# SPDX-License-Identifier: Apache-2.0
"""The pid file: one agent at a time, and scripts of the system VM know where it is.

Rules of agent-lifecycle.md 2.1: made exclusively, a dead owner's file is replaced, anything
else in the way is a refusal. Blocking; used before and after the event loop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ssvm_agent.errors import AgentError, ConfigError


class AlreadyRunningError(AgentError):
    """The pid file is held by somebody else, or cannot be understood."""

    code = "already-running"


@contextlib.contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Hold the pid file for as long as the block runs; ``None`` holds nothing.

    Raises:
        AlreadyRunningError: A living process holds it, or it is empty or not a number.
        ConfigError: It cannot be written.
    """
    if path is None:
        yield
        return
    try:
        _take(path)
    except OSError as error:
        raise ConfigError(f"pid_file {path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.read_text("ascii") == f"{os.getpid()}\n":
                path.unlink()


def _take(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and linked into place: whoever finds the file finds a whole number in it.
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(f"{os.getpid()}\n", "ascii")
    try:
        for _ in range(2):
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(aside)
                return
            _refuse_unless_dead(path)
            path.unlink(missing_ok=True)
        raise AlreadyRunningError(f"Another agent is starting with the pid file {path}")
    finally:
        aside.unlink()


def _refuse_unless_dead(path: Path) -> None:
    try:
        text = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return
    if not text.isdigit():
        raise AlreadyRunningError(
            f"The pid file {path} does not hold a process id; remove it if no agent runs"
        )
    pid = int(text)
    if pid != os.getpid() and _is_alive(pid):
        raise AlreadyRunningError(f"An agent is running already: process {pid} holds {path}")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
