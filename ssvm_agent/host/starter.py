# SPDX-License-Identifier: Apache-2.0
"""Starts programs from threads that have none of the agent's files open.

A program is started by a copy of the process, which lets go of every open file it got. Letting go
of a file on a network file system writes out what is still to be written, and waits for a dead
server together with whoever started the program: one outage would stop the whole agent, and not
even ``umount`` could be started to end it. So all programs are started from threads with a table of
open files of their own (``CLONE_FILES``): the first of them is made before any store is opened, and
makes the others.

A result goes back through a thread that has the agent's files, because waking the event loop is
writing to one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import logging
import os
import queue
import selectors
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_logger = logging.getLogger(__name__)

_CLONE_FILES: Final = 0x400  # linux/sched.h; os.unshare comes with Python 3.12
_FIRST_FILE: Final = 3
_READ_SIZE: Final = 64 * 1024


@dataclass(slots=True, kw_only=True, eq=False)
class Output:
    """What a program wrote to one stream, up to a limit."""

    limit: int
    data: bytearray = field(default_factory=bytearray)
    truncated: bool = False

    def take(self, piece: bytes) -> None:
        """Keep what there is room for."""
        room = self.limit - len(self.data)
        self.data += piece[:room]
        self.truncated = self.truncated or len(piece) > room


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One program on its way through the threads.

    Attributes:
        argv: The program and its arguments.
        env: All of its variables.
        input: For its standard input; None: nothing.
        stdout: What it wrote.
        stderr: Likewise.
        returncode: Set at its end.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    input: bytes | None
    stdout: Output
    stderr: Output
    returncode: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pid: int = 0
    _unwanted: int = 0

    def signal(self, number: int) -> None:
        """Send a signal to its process group; at once, or when there is one."""
        with self._lock:
            self._unwanted = number
            if self._pid:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._pid, number)

    def run(self) -> None:
        """Start it, and read it to its end (blocking).

        Raises:
            OSError: It cannot be started.
        """
        process = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE if self.input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            process_group=0,
        )
        with process:
            with self._lock:
                self._pid = process.pid
            if self._unwanted:
                self.signal(self._unwanted)
            self._exchange(process)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            with self._lock:
                # From here on the number may be another's.
                self._pid = 0
            self.returncode = process.wait()

    def _exchange(self, process: subprocess.Popen[bytes]) -> None:
        """Write its input and read its output until it closes both streams."""
        rest = memoryview(self.input or b"")
        with selectors.DefaultSelector() as selector:
            for stream, output in ((process.stdout, self.stdout), (process.stderr, self.stderr)):
                assert stream is not None
                selector.register(stream, selectors.EVENT_READ, output)
            if process.stdin is not None:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            while selector.get_map():
                for key, _ in selector.select():
                    if isinstance(key.data, Output):
                        piece = os.read(key.fd, _READ_SIZE)
                        key.data.take(piece)
                        ended = not piece
                    else:
                        rest = _write(key.fd, rest)
                        ended = not rest
                    if ended:
                        selector.unregister(key.fileobj)
                        if key.data is None:
                            assert process.stdin is not None
                            process.stdin.close()


def _write(descriptor: int, data: memoryview) -> memoryview:
    """What is left to be written; nothing when nobody will read it.

    A program may end without reading its input; its exit status tells whether that was right.
    """
    try:
        return data[os.write(descriptor, data) :] if data else data
    except BrokenPipeError:
        return data[:0]


class Starter:
    """Two threads for all programs, and one for each that runs; they end with the process.

    Made before the first store is opened.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Job, asyncio.Future[None]]] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[asyncio.Future[None], Exception | None]]
        self._ended = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._start_all, name="programs", daemon=True)
        self.thread.start()
        threading.Thread(target=self._tell_all, name="programs ended", daemon=True).start()

    def start(self, job: Job) -> asyncio.Future[None]:
        """Run a job; the future ends with it, or with the error of its start."""
        future = asyncio.get_running_loop().create_future()
        self._jobs.put((job, future))
        return future

    def _start_all(self) -> None:
        _leave_the_agents_files()
        while True:
            thread = threading.Thread(
                target=self._run, args=self._jobs.get(), name="program", daemon=True
            )
            thread.start()

    def _run(self, job: Job, future: asyncio.Future[None]) -> None:
        error: Exception | None = None
        try:
            job.run()
        except Exception as caught:  # noqa: BLE001 - the edge of the thread: all goes to the caller
            error = caught
        self._ended.put((future, error))

    def _tell_all(self) -> None:
        while True:
            future, error = self._ended.get()
            # The loop may have been closed before its program ended.
            with contextlib.suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(_settle, future, error)


def _leave_the_agents_files() -> None:
    """Give this thread a table of open files of its own, and empty it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_FILES):
        # Better than no programs at all.
        reason = os.strerror(ctypes.get_errno())
        _logger.warning(
            "programs are started with the agent's files open: a dead store may hold the agent up "
            "reason='unshare: %s'",
            reason,
        )
        return
    os.closerange(_FIRST_FILE, os.sysconf("SC_OPEN_MAX"))


@functools.cache
def starter_of_process() -> Starter:
    """The one that all runners of this process share."""
    return Starter()


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
