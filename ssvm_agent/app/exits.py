# SPDX-License-Identifier: Apache-2.0
"""Exit codes of ``ssvm-agent run``: what a service manager may conclude from the end of the agent.

Differs: agent-lifecycle.md 3.6, a configuration error is a failure, and a refusal by the server
does not end the process.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Ends by a signal are 128 and the signal's number on top (143 for SIGTERM)."""

    DONE = 0
    """The server sent the agent away (ShutdownCommand), and the link has ended."""
    FAILED = 1
    """A command-line tool did its work and the result is bad."""
    USAGE = 2
    """Wrong arguments."""
    CRASHED = 70
    """A part of the agent failed in an unforeseen way; the log has the stack."""
    ALREADY_RUNNING = 75
    """The pid file belongs to a living agent."""
    CONFIGURATION = 78
    """A setting is missing or wrong; the message says which."""
