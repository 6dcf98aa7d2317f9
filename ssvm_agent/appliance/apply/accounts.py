# SPDX-License-Identifier: Apache-2.0
"""Passwords of the machine's accounts: root's from the boot text, nobody's for ``cloud``.

A password travels to ``chpasswd`` on its standard input and is kept nowhere. What is remembered is
a digest of the shadow entry that came of it, so that the same text does not set it twice.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.apply.report import Item, Status
from ssvm_agent.errors import AgentError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.masking import Secret

_DEADLINE_S: Final = 20.0
_RANDOM_BYTES: Final = 32


@dataclass(slots=True, kw_only=True)
class Accounts:
    """Sets passwords.

    Attributes:
        runner: Starts ``chpasswd``.
        pool: For the local disk.
        remembered: Account to digest of the shadow entry an earlier apply of the same text made.
        shadow: The file.
    """

    runner: Runner
    pool: WorkPool
    remembered: dict[str, str]
    shadow: Path = Path("/etc/shadow")

    async def set_root(self, password: str, *, dry_run: bool) -> Item:
        """Root's password (``vmpassword``)."""
        return await self._set("root", Secret(password), dry_run=dry_run)

    async def close_cloud(self, *, dry_run: bool) -> Item | None:
        """A password nobody knows for the account ``cloud``, when there is one.

        # Compat: boot-and-system.md 1.5.
        """
        entry = await self._entry("cloud")
        if entry is None or entry.startswith(("!", "*")):
            return None
        password = Secret(secrets.token_urlsafe(_RANDOM_BYTES))
        return await self._set("cloud", password, dry_run=dry_run)

    async def _set(self, account: str, password: Secret, *, dry_run: bool) -> Item:
        item = f"password of {account}"
        try:
            entry = await self._entry(account)
            if entry and self.remembered.get(account) == _digest(entry):
                return Item(name=item, status=Status.UNCHANGED)
            if dry_run:
                return Item(name=item, status=Status.WOULD_CHANGE)
            await self.runner.run(
                ["chpasswd"], deadline_s=_DEADLINE_S,
                input=f"{account}:{password.reveal()}\n".encode(),
            )  # fmt: skip
            entry = await self._entry(account)
        except AgentError as error:
            return Item(name=item, status=Status.FAILED, reason=error.message)
        if entry:
            self.remembered[account] = _digest(entry)
        return Item(name=item, status=Status.CHANGED)

    async def _entry(self, account: str) -> str | None:
        return await self.pool.call(_shadow_entry, self.shadow, account)


def _shadow_entry(shadow: Path, account: str) -> str | None:
    try:
        lines = shadow.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    entries = (line.split(":") for line in lines)
    return next((words[1] for words in entries if len(words) > 1 and words[0] == account), None)


def _digest(entry: str) -> str:
    return hashlib.sha256(entry.encode()).hexdigest()
