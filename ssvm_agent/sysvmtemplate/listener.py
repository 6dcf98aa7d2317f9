# SPDX-License-Identifier: Apache-2.0
"""What an installation tells while it runs, as it sees those who listen."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from ssvm_agent.ingest.progress import Progress


class Listener(Protocol):
    """Somebody who follows an installation."""

    def say(self, text: str) -> None:
        """A step."""

    def warn(self, text: str) -> None:
        """Something the operator should look at; the installation goes on."""

    def watch(self, progress: Progress) -> AbstractAsyncContextManager[None]:
        """Show the numbers of a transfer while the context is open."""

    def uninterrupted(self) -> AbstractContextManager[None]:
        """Keep requests to stop away while the context is open: it takes moments only."""
