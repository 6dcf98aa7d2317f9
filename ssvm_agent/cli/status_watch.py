# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent status --watch``: one report after the other, through every silence of the agent."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from ssvm_agent.cli.status_text import Line, Rates, Report, lines, wrapped
from ssvm_agent.errors import AgentError

if TYPE_CHECKING:
    from rich.live import Live

_PERIOD_S: Final = 2.0
_COLOURS: Final = {"good": "green", "warning": "yellow", "bad": "red"}


class Screen(Protocol):
    """Where reports are shown."""

    def show(self, rows: Sequence[Line]) -> None:
        """Show a new report."""
        ...

    def lose(self, text: str) -> None:
        """Say that there is no new one."""
        ...


class PlainScreen:
    """Output that is no terminal: one report below the other, an empty line after each."""

    def show(self, rows: Sequence[Line]) -> None:
        """Print all lines."""
        print("\n".join(row.text for row in rows), end="\n\n", flush=True)

    def lose(self, text: str) -> None:
        """Print the text."""
        print(text, end="\n\n", flush=True)


class LiveScreen:
    """A terminal, painted over and over; what is old is dimmed."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._last: Sequence[Line] = ()

    def show(self, rows: Sequence[Line]) -> None:
        """Paint a report."""
        self._last = rows
        self._paint("")

    def lose(self, text: str) -> None:
        """Paint the text above the last report."""
        self._paint(text)

    def _paint(self, notice: str) -> None:
        from rich.text import Text

        width = self._live.console.width
        rows = [(row.text, _COLOURS[row.health]) for row in wrapped(self._last, width)]
        if notice:
            rows = [(notice, "bold red"), *((text, "dim") for text, _ in rows)]
        self._live.update(Text("\n").join(Text(*row) for row in rows), refresh=True)


def watch(
    ask: Callable[[], Report],
    screen: Screen,
    *,
    pause: Callable[[], None] = lambda: time.sleep(_PERIOD_S),
    now: Callable[[], datetime] = lambda: datetime.now(UTC).astimezone(),
) -> None:
    """Show reports until Ctrl-C.

    Args:
        ask: Gets a report; its :class:`AgentError` means that there is none at present.
        screen: Where they go.
        pause: Between two questions.
        now: For the time since when there is no answer.
    """
    rates, silent = Rates(), False
    try:
        while True:
            try:
                report = ask()
            except AgentError:
                if not silent:
                    screen.lose(f"no answer since {now():%H:%M:%S}, trying again")
                silent = True
            else:
                silent = False
                rates.take(report)
                screen.show(tuple(lines(report, rates)))
            pause()
    except KeyboardInterrupt:
        return


@contextmanager
def open_screen() -> Iterator[Screen]:
    """The screen that suits standard output."""
    if not sys.stdout.isatty():
        yield PlainScreen()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), auto_refresh=False, screen=True) as live:
        yield LiveScreen(live)
