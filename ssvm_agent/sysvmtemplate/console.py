# SPDX-License-Identifier: Apache-2.0
"""What the operator sees: steps, warnings, and the progress of the transfer.

A terminal gets a progress bar, anything else a plain line now and then. With ``--json`` standard
output belongs to the result alone. Everything passes the masking of secrets.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from ssvm_agent.host.clock import Clock
from ssvm_agent.host.tasks import BackgroundTasks
from ssvm_agent.ingest.progress import Phase, Progress
from ssvm_agent.masking import mask_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_BAR_INTERVAL_S: Final = 0.2
_LINE_INTERVAL_S: Final = 1.0
_LINE_EVERY_PERCENT: Final = 10
_LINE_AT_LEAST_EVERY_S: Final = 15.0
_MIB: Final = 1 << 20


class Interruption:
    """Requests to stop: they cancel the installation, but not while it must not be cut.

    Attributes:
        signal: The one that stopped it.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], object] | None = None
        self._held = False
        self.signal: int | None = None

    def attach(self, stop: Callable[[], object]) -> None:
        """Say what stops the installation."""
        self._stop = stop

    def arrived(self, number: int) -> None:
        """A signal came."""
        if self._stop is None or self._held or self.signal is not None:
            return
        self.signal = number
        self._stop()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Pay no attention to signals inside."""
        self._held = True
        try:
            yield
        finally:
            self._held = False


class Console:
    """The listener at a terminal or in a log file.

    Args:
        clock: Paces the progress.
        interruption: Held back where the installation asks for it.
        quiet_stdout: Standard output is for the result alone.
        output: For steps; standard output when None.
        errors: For warnings, errors and progress; standard error when None.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        interruption: Interruption,
        quiet_stdout: bool = False,
        output: TextIO | None = None,
        errors: TextIO | None = None,
    ) -> None:
        self._clock = clock
        self._interruption = interruption
        self._errors = errors or sys.stderr
        self._output = self._errors if quiet_stdout else output or sys.stdout
        self.warnings: list[str] = []
        # Imported here and not on the event loop, which it would hold up.
        self._bar = _make_bar(self._errors) if self._errors.isatty() else None

    def say(self, text: str) -> None:
        """A step."""
        _write(self._output, text)

    def warn(self, text: str) -> None:
        """Something to look at."""
        self.warnings.append(mask_text(text))
        _write(self._errors, f"Warning: {text}")

    def fail(self, text: str) -> None:
        """Why it ended."""
        _write(self._errors, text)

    def uninterrupted(self) -> contextlib.AbstractContextManager[None]:
        """Keep requests to stop away."""
        return self._interruption.held()

    @asynccontextmanager
    async def watch(self, progress: Progress) -> AsyncIterator[None]:
        """Show the numbers of a transfer while it runs."""
        bar = self._bar
        with bar or contextlib.nullcontext():
            show = self._show_lines(progress) if bar is None else self._feed(bar, progress)
            async with BackgroundTasks() as tasks:
                tasks.start(show, name="progress")
                yield

    async def _feed(self, bar: Bar, progress: Progress) -> None:
        task = bar.add_task("starting", total=None, note="")
        while True:
            bar.update(
                task,
                description=_step(progress),
                completed=progress.bytes_received,
                total=progress.bytes_expected,
                note=mask_text(progress.note),
            )
            await self._clock.sleep(_BAR_INTERVAL_S)

    async def _show_lines(self, progress: Progress) -> None:
        shown_percent = 0
        shown_note, shown_s = "", self._clock.monotonic()
        while True:
            await self._clock.sleep(_LINE_INTERVAL_S)
            if progress.note != shown_note:
                shown_note = progress.note
                if shown_note:
                    _write(self._errors, f"  {shown_note}")
            now_s = self._clock.monotonic()
            if (
                progress.percent >= shown_percent + _LINE_EVERY_PERCENT
                or now_s - shown_s >= _LINE_AT_LEAST_EVERY_S
            ):
                shown_percent, shown_s = progress.percent, now_s
                _write(self._errors, f"  {_numbers(progress)}")


def _make_bar(stream: TextIO) -> Bar:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as RichBar

    return RichBar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.fields[note]}"),
        console=RichConsole(file=stream),
        transient=True,
    )


def _step(progress: Progress) -> str:
    return {
        Phase.RESERVE: "preparing",
        Phase.FETCH: "fetching",
        Phase.VERIFY: "verifying",
        Phase.INSTALL: "writing to disk",
        Phase.PUBLISH: "finishing",
    }[progress.phase]


def _numbers(progress: Progress) -> str:
    received = f"{progress.bytes_received // _MIB} MiB"
    if progress.bytes_expected:
        received += f" of {progress.bytes_expected // _MIB} MiB ({progress.percent} %)"
    return f"{_step(progress)}: {received}, {progress.bytes_written // _MIB} MiB unpacked"


def _write(stream: TextIO, text: str) -> None:
    # Nobody may be reading any more; the installation goes on.
    with contextlib.suppress(BrokenPipeError):
        print(mask_text(text), file=stream, flush=True)
