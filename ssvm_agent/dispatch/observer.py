# SPDX-License-Identifier: Apache-2.0
"""Who is told what became of commands, for the metrics; knows neither metrics nor commands.

Names are those of registered commands, codes those of our errors and the ones below: both are
bounded, whatever a management server sends.
"""

from __future__ import annotations

from typing import Final, Protocol

UNKNOWN_COMMAND: Final = "unknown"
"""In place of the name of a command that is none of ours."""
ANSWERED_FALSE: Final = "answered-false"
"""The command was carried out, and its answer says no."""
UNSUPPORTED: Final = "unsupported"
"""Nobody carries out this command."""


class Observer(Protocol):
    """Told by the executor, in the event loop; must not block or fail."""

    def command_ran(self, command: str, seconds: float) -> None:
        """A handler ended after so long, waiting for its lane not included."""
        ...

    def command_failed(self, command: str, code: str) -> None:
        """A command failed, or was not even started."""
        ...


class Unobserved:
    """The observer of those who want none."""

    def command_ran(self, command: str, seconds: float) -> None:
        """Nobody wants to know."""

    def command_failed(self, command: str, code: str) -> None:
        """Nobody wants to know."""
