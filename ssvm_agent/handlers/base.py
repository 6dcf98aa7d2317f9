# SPDX-License-Identifier: Apache-2.0
"""What every handler is given, and the registry handlers enter themselves into.

Handlers translate: command -> one domain call -> answer. They get the domain through
:class:`Services` and what they need of the link through :class:`LinkControl`, a Protocol that
``link`` implements and ``app`` connects; they never import ``link`` or ``wire``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ssvm_agent.dispatch.registry import Registry

if TYPE_CHECKING:
    from ssvm_agent.appliance.base import Appliance
    from ssvm_agent.config.settings import Settings
    from ssvm_agent.config.state import AgentState
    from ssvm_agent.host.clock import Clock
    from ssvm_agent.host.pools import WorkPool
    from ssvm_agent.host.run import Runner
    from ssvm_agent.ingest.jobs import JobTable
    from ssvm_agent.storage.service import StoreService


class LinkControl(Protocol):
    """What a command may ask of the connection it came over.

    All methods return at once; the link acts afterwards, after the answer has been sent where the
    protocol asks for that. What must outlive a restart is stored by the handler.
    """

    def set_ready(self, *, host_id: int, host_uuid: str | None, host_name: str | None) -> None:
        """Ready #1 arrived: ping with the true host id from now on (agent-lifecycle.md 0, 4)."""
        ...

    def refuse(self, reason: str) -> None:
        """The server refused the connection: close the link, back off, try again."""
        ...

    def apply_server_list(
        self,
        *,
        servers: Sequence[str],
        algorithm: str | None,
        avoid: Sequence[str],
        check_interval_s: int | None,
        check_now: bool = False,
    ) -> None:
        """Take over a server list and avoid list (agent-lifecycle.md 3.7).

        Args:
            servers: New order of servers; empty: keep the present one.
            algorithm: Name of the balance algorithm; empty or ``None``: keep the present list.
            avoid: Replaces the avoid list.
            check_interval_s: Interval of the preferred-server check; ``None`` or 0 stops it.
            check_now: Check for the preferred server at once.
        """
        ...

    def migrate(self, *, servers: Sequence[str], avoid: Sequence[str]) -> None:
        """Move to the first reachable server not to be avoided (agent-lifecycle.md 3.7).

        Args:
            servers: Candidates; empty: the present list.
            avoid: Servers that must not be taken.
        """
        ...

    def stand_down(self) -> None:
        """The server wants us gone: no pings, no reconnect; the link stays as it is (3.5)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The domain as handlers see it; built once by ``app``."""

    settings: Settings
    state: AgentState
    clock: Clock
    runner: Runner
    local_disk: WorkPool
    """Blocking work on the machine's own file system (configuration, certificates)."""
    stores: StoreService
    jobs: JobTable
    appliance: Appliance
    link: LinkControl


REGISTRY: Final = Registry[Services]()
