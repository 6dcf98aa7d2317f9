# SPDX-License-Identifier: Apache-2.0
"""What it takes to put files and certificates before the public, whoever serves the ports.

Two implementations: :class:`BuiltinPublisher` (the agent's own server reads the tables itself) and
:class:`~ssvm_agent.web.apache.ApachePublisher` (docs/adr/0050-two-ways-to-publish.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ssvm_agent.storage.stores import Store
from ssvm_agent.web.certificates import ServerCertificate
from ssvm_agent.web.copy_guard import CopyGuard
from ssvm_agent.web.links import Link


class Publisher(Protocol):
    """Everything is idempotent. Methods raise :class:`~ssvm_agent.web.errors.PublishError`."""

    async def start(self, links: Iterable[Link]) -> None:
        """Bring the public side into its basic state, with these links and no others."""
        ...

    async def publish(self, link: Link, store: Store) -> None:
        """Serve a file of this store under the link's key."""
        ...

    async def withdraw(self, key: str) -> None:
        """Serve nothing under this key any more; nothing there is fine."""
        ...

    async def guard(self, guard: CopyGuard) -> None:
        """The copy area has other guests, or another user."""
        ...

    async def serve_certificate(self, certificate: ServerCertificate) -> None:
        """Https has another certificate."""
        ...


class BuiltinPublisher:
    """The agent's own server looks at links, guard and certificate with each request."""

    async def start(self, links: Iterable[Link]) -> None:
        """Nothing to prepare."""

    async def publish(self, link: Link, store: Store) -> None:
        """The link table is all there is."""

    async def withdraw(self, key: str) -> None:
        """The link table is all there is."""

    async def guard(self, guard: CopyGuard) -> None:
        """The guard is asked directly."""

    async def serve_certificate(self, certificate: ServerCertificate) -> None:
        """The TLS contexts follow by themselves."""
