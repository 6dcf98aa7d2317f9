# SPDX-License-Identifier: Apache-2.0
"""Programs that do not outlive the tests, however these end."""

from __future__ import annotations

from pathlib import Path


def owned(*argv: str | Path) -> list[str]:
    """The words that start a program which the kernel ends with the one that started it.

    Start it from the main thread: what counts for the kernel is the thread.
    """
    return ["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)]
