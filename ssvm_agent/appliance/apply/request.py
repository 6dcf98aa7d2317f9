# SPDX-License-Identifier: Apache-2.0
"""What an apply is asked to do, and what it may use for it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ssvm_agent.appliance.apply.netlink import NetworkDoor
from ssvm_agent.appliance.apply.reach import Probe, reachable
from ssvm_agent.appliance.boot.search import BootIdentity
from ssvm_agent.appliance.plan.model import MachinePlan
from ssvm_agent.appliance.plan.texts import listing
from ssvm_agent.bootargs import BootArgs
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner


class Phase(StrEnum):
    """The parts of the boot; each comes from a unit of its own."""

    EARLY = "early"
    """Network, names, packet filter, SSH: what the machine needs to be reached."""
    CONFIG = "config"
    """Time, lists of services, user data."""
    POST = "post"
    """Services, what the user data says, and the word that the boot is done."""
    ALL = "all"
    """One after the other."""

    def includes(self, phase: Phase) -> bool:
        """Whether this phase is, or has, another one."""
        return self in {phase, Phase.ALL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to apply.

    Attributes:
        boot: The words of the boot text.
        plan: What was made of them.
        phase: Which part.
        dry_run: Compare only.
        oddities: About where the text came from.
    """

    boot: BootArgs
    plan: MachinePlan
    phase: Phase = Phase.ALL
    dry_run: bool = False
    oddities: tuple[str, ...] = ()

    @property
    def plan_sha256(self) -> str:
        """Digest of the plan."""
        return _digest(listing(self.plan))

    @property
    def text_sha256(self) -> str:
        """Digest of all words of the text."""
        return _digest(dict(self.boot.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What an apply works with.

    Attributes:
        root: Files are looked for and written below it.
        runner: Starts programs.
        pool: For the local disk and netlink.
        clock: For waits.
        identity: Which boot this is.
        network: The running network; ``None`` leaves it alone.
        probe: Tells which management servers can be reached.
        proc: Where the kernel's switches are.
    """

    root: Path
    runner: Runner
    pool: WorkPool
    clock: Clock
    identity: BootIdentity
    network: NetworkDoor | None
    probe: Probe = reachable
    proc: Path = Path("/proc")

    @property
    def is_whole_machine(self) -> bool:
        """Whether the files are those of the running machine, so that its services are meant."""
        return self.root == Path("/")


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
