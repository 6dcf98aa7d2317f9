# SPDX-License-Identifier: Apache-2.0
"""What all checks start from: settings, boot text, the plan of the machine, and the agent's word.

Gathered once, in :mod:`ssvm_agent.diag.gather`. Everything works without a running agent; with one,
more is known. Files are looked for below a root, so tests can play any machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ssvm_agent.appliance.plan.keys import is_for_secondary_storage
from ssvm_agent.appliance.plan.model import Hypervisor, MachinePlan
from ssvm_agent.bootargs import BootArgs
from ssvm_agent.config.settings import Settings
from ssvm_agent.diag.dns import Resolver
from ssvm_agent.host.agents import is_agent
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.storage.mounts import MountEntry, parse_mountinfo

# The longest text a check reads whole (a mount table, a log's tail) is far below.
READ_LIMIT_BYTES: Final = 1 << 20
_FILE_DEADLINE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that serves as the agent.

    Attributes:
        pid: Its number.
        is_ours: Whether it is this agent rather than one of another make.
    """

    pid: int
    is_ours: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentWord:
    """What the agent says of itself.

    Attributes:
        processes: Those found running.
        status: The content of its status file; ``None`` when there is none that can be read.
        report: Its report over HTTP; ``None`` when it does not answer.
        problem: Why there is no report; empty when there is one.
    """

    processes: tuple[Process, ...] = ()
    status: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    problem: str = ""

    @property
    def is_running(self) -> bool:
        """Whether there is an agent at all."""
        return bool(self.processes) or self.report is not None

    @property
    def link_state(self) -> str:
        """Where its link stands; empty when nobody can say."""
        if self.report is not None:
            link = self.report.get("link")
            return str(link.get("state", "")) if isinstance(link, Mapping) else ""
        return str((self.status or {}).get("state", "")) if self.is_running else ""

    @property
    def is_connected(self) -> bool:
        """Whether a management server is in charge of it."""
        return self.link_state == "ready"

    @property
    def stores(self) -> tuple[Mapping[str, Any], ...]:
        """The stores it knows; none when it does not answer."""
        stores = (self.report or {}).get("stores")
        return tuple(one for one in stores if isinstance(one, Mapping)) if stores else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a check may ask.

    Attributes:
        settings: As far as they can be loaded.
        settings_problem: Why they cannot; empty when they can.
        boot: The boot text; empty when there is none.
        boot_path: Where it was looked for.
        boot_written: When it was written, seconds since the epoch.
        booted: When the machine started, likewise.
        hypervisor: The platform; ``None`` when nothing tells.
        plan: What the boot text asks of the machine.
        agent: What the agent says.
        resolver: Asks name servers.
        runner: Starts programs.
        clock: Time.
        local: Threads for the local disk.
        root: Files are looked for below it.
        url: A source somebody wants to know about; empty for none.
        is_root: Whether we may look at everything.
    """

    settings: Settings
    settings_problem: str = ""
    boot: BootArgs
    boot_path: Path
    boot_written: float | None = None
    booted: float | None = None
    hypervisor: Hypervisor | None = None
    plan: MachinePlan
    agent: AgentWord = field(default_factory=AgentWord)
    resolver: Resolver
    runner: Runner
    clock: Clock
    local: WorkPool
    root: Path = Path("/")
    url: str = ""
    is_root: bool = True

    @property
    def is_system_vm(self) -> bool:
        """Whether the boot text is that of a secondary storage VM."""
        return is_for_secondary_storage(self.boot)

    def path(self, path: Path | str) -> Path:
        """Where a file of the machine is."""
        return self.root / str(path).lstrip("/")

    async def text(self, path: Path | str) -> str:
        """The beginning of a file of the machine; empty when it cannot be read."""
        return await self.local.call(read_text, self.path(path), deadline_s=_FILE_DEADLINE_S)

    async def mounts(self) -> list[MountEntry]:
        """The mount table; reading it touches no mounted file system."""
        return parse_mountinfo(await self.text("proc/self/mountinfo"))

    async def nameservers(self) -> tuple[str, ...]:
        """The name servers of the resolver's configuration, in its order."""
        return nameservers(await self.text("etc/resolv.conf"))


def read_text(path: Path) -> str:
    """The beginning of a file as text; empty when it cannot be read (blocking)."""
    try:
        with path.open("rb") as file:
            return file.read(READ_LIMIT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def nameservers(resolv_conf: str) -> tuple[str, ...]:
    """The addresses of ``nameserver`` lines."""
    words = (line.split() for line in resolv_conf.splitlines())
    return tuple(word[1] for word in words if len(word) > 1 and word[0] == "nameserver")


def find_processes(proc: Path) -> tuple[Process, ...]:
    """The agents among the processes (blocking)."""
    found = []
    try:
        pids = [int(entry) for entry in os.listdir(proc) if entry.isdigit()]  # noqa: PTH208 - names
    except OSError:
        return ()
    for pid in sorted(pids):
        arguments = read_text(proc / str(pid) / "cmdline").rstrip("\0").split("\0")
        is_ours = is_agent(arguments)
        if is_ours is not None:
            found.append(Process(pid=pid, is_ours=is_ours))
    return tuple(found)
