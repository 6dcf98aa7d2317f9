# SPDX-License-Identifier: Apache-2.0
"""What every SSH connection needs besides its target and key."""

from __future__ import annotations

from dataclasses import dataclass

from ssvm_agent.delivery.keyfile import PrivateKey
from ssvm_agent.delivery.knownhosts import KnownHosts


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a server may take, in seconds.

    Attributes:
        connect_s: Until the TCP connection stands.
        answer_s: For each step of the handshake, the login, and opening a channel.
        idle_s: Without a byte while something is read or written.
    """

    connect_s: float = 10.0
    answer_s: float = 20.0
    idle_s: float = 60.0

    @property
    def login_s(self) -> float:
        """All steps of one login through a jump host together."""
        return 2 * self.connect_s + 6 * self.answer_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What every connection needs besides its target and key.

    Attributes:
        known_hosts: The record of host keys.
        jump_key: The key for jump hosts; None when there are none.
        jump_host_key: The fingerprint jump hosts must show; None where the record decides.
        deadlines: Of each step.
    """

    known_hosts: KnownHosts
    jump_key: PrivateKey | None = None
    jump_host_key: str | None = None
    deadlines: Deadlines = Deadlines()
