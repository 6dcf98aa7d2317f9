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
    from ssvm_agent.appliance.keystore import AgentKeystore
    from ssvm_agent.config.settings import Settings
    from ssvm_agent.config.state import AgentState
    from ssvm_agent.host.clock import Clock
    from ssvm_agent.host.pools import WorkPool
    from ssvm_agent.host.run import Runner
    from ssvm_agent.ingest.jobs import JobTable
    from ssvm_agent.storage.service import StoreService
    from ssvm_agent.web.server import WebServices


class LinkControl(Protocol):
    """What a command may ask of the connection it came over.

    All methods return at once; the link acts on its own, and remembers what outlives a restart.
    """

    def ready(
        self,
        *,
        host_id: int | None,
        host_uuid: str | None,
        host_name: str | None,
        servers: Sequence[str] | None,
        avoid: Sequence[str] | None,
        algorithm: str | None,
        check_interval_s: int | None,
    ) -> None:
        """A ReadyCommand arrived: identity and server lists (agent-lifecycle.md 2.5, 3.7)."""
        ...

    def refused(self, reason: str) -> None:
        """The server refused the connection: close the link, back off, try again."""
        ...

    def apply_servers(
        self,
        servers: Sequence[str],
        *,
        avoid: Sequence[str] | None,
        algorithm: str | None,
        check_interval_s: int | None,
        check_now: bool,
    ) -> None:
        """Take over a server list; ``check_now`` looks for the preferred server at once."""
        ...

    def migrate(
        self,
        servers: Sequence[str] | None,
        *,
        avoid: Sequence[str] | None,
        algorithm: str | None,
        check_interval_s: int | None,
    ) -> None:
        """Move, a little later, to the first reachable server not to be avoided."""
        ...

    def forbid_reconnect(self) -> None:
        """The server wants us gone: no pings, no reconnect (agent-lifecycle.md 3.5)."""
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
    keystore: AgentKeystore
    stores: StoreService
    jobs: JobTable
    appliance: Appliance
    link: LinkControl
    web: WebServices | None = None
    """The HTTP entrances; ``None`` when there are none."""


REGISTRY: Final = Registry[Services]()
