# SPDX-License-Identifier: Apache-2.0
"""The command ``ssvm-agent``: parses and prints; the work is done below.

Each subcommand has a module with ``add(subparsers)``. What a subcommand needs is imported when it
runs, so that ``run`` starts fast.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    from ssvm_agent.cli.parser import execute

    return execute(arguments)
