# SPDX-License-Identifier: Apache-2.0
"""The root of every error this package raises on purpose.

Each room keeps its own small exceptions in ``<room>/errors.py`` below :class:`AgentError`. A room
translates the errors of libraries and of the system where they arise; each entrance (link, HTTP,
command line) maps what is left to an answer, a status or an exit code, once.
"""

from __future__ import annotations

from typing import ClassVar


class AgentError(Exception):
    """Something went wrong in a way we foresaw.

    Attributes:
        code: A short stable word for metrics, logs and machine-readable reports.
        message: One sentence a CloudStack user can read; it may end up in ``errorString`` or
            ``details``. Never blank, never with a secret or a stack in it.
        detail: What an operator needs on top (errno, program output, addresses); may be empty.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        return self.message

    def for_operators(self) -> str:
        """The message followed by the operator detail, when there is any."""
        return f"{self.message} ({self.detail})" if self.detail else self.message


class ConfigError(AgentError):
    """A setting is missing or wrong; the message says which one and what to write instead."""

    code = "configuration"
