# SPDX-License-Identifier: Apache-2.0
"""Collects the facts all checks start from, in bounded time and whatever state the machine is in.

Settings that cannot be loaded, a boot text that is missing, an agent that does not answer: each
leaves a gap that checks know how to name, and none stops the others.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ssvm_agent.appliance.boot import platform
from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.bootargs import parse
from ssvm_agent.config.load import DEFAULT_BOOT_TEXT, Sources, load
from ssvm_agent.config.settings import Settings
from ssvm_agent.diag.dns import Resolver
from ssvm_agent.diag.facts import AgentWord, Facts, find_processes, read_text
from ssvm_agent.diag.http_probe import HttpTarget, ask
from ssvm_agent.errors import ConfigError
from ssvm_agent.host.clock import Clock, SystemClock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner, SystemRunner

_LOCAL_DEADLINE_S: Final = 10.0
# An agent at work on its one processor takes a while; one that is silent this long hangs.
_REPORT_DEADLINE_S: Final = 10.0
_REPORT_LIMIT_BYTES: Final = 8 << 20
# Stand for what only the cloud can say, so that everything else of the settings can be looked at.
_UNKNOWN: Final = {"zone": "unknown", "guid": "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where to look.

    Attributes:
        sources: Of the settings; their boot text is the one that is checked.
        root: Files of the machine are looked for below it.
        url: For the check of that name.
        resolver: Asks name servers.
        runner: Starts programs.
        clock: Time.
    """

    sources: Sources = field(default_factory=Sources)
    root: Path = Path("/")
    url: str = ""
    resolver: Resolver = field(default_factory=Resolver)
    runner: Runner = field(default_factory=SystemRunner)
    clock: Clock = field(default_factory=SystemClock)


async def gather(origin: Origin) -> Facts:
    """The facts."""
    local = WorkPool("the local disk", threads=4)
    basis = await local.call(_read_machine, origin, local, deadline_s=_LOCAL_DEADLINE_S)
    return replace(basis, agent=await _agent_word(basis))


def load_settings(sources: Sources) -> tuple[Settings, str]:
    """The settings as far as they can be had, and why not further (blocking)."""
    try:
        return load(sources), ""
    except ConfigError as error:
        problem = error.for_operators()
    try:
        return load(replace(sources, overrides={**_UNKNOWN, **sources.overrides})), problem
    except ConfigError:
        return Settings(), problem


def _read_machine(origin: Origin, local: WorkPool) -> Facts:
    settings, problem = load_settings(origin.sources)
    boot_path = origin.sources.boot_text or DEFAULT_BOOT_TEXT
    boot = parse(" ".join((read_text(boot_path), *origin.sources.boot_words)))
    hypervisor = platform.detect(platform.gather(origin.root)).hypervisor
    return Facts(
        settings=settings,
        settings_problem=problem,
        boot=boot,
        boot_path=boot_path,
        boot_written=_written(boot_path),
        booted=boot_time(read_text(origin.root / "proc/stat")),
        hypervisor=hypervisor,
        plan=build_plan(boot, hypervisor or Hypervisor.KVM),
        agent=AgentWord(
            processes=find_processes(origin.root / "proc"),
            status=_status(settings.state_dir / "status.json"),
        ),
        resolver=origin.resolver,
        runner=origin.runner,
        clock=origin.clock,
        local=local,
        root=origin.root,
        url=origin.url,
        is_root=os.geteuid() == 0,
    )


async def _agent_word(facts: Facts) -> AgentWord:
    """What is known of the agent, with its report when it gives one."""
    listen = facts.settings.status.listen
    if not listen:
        return replace(facts.agent, problem="its status page is switched off (status.listen)")
    host, _, port = listen.rpartition(":")
    target = HttpTarget(address=_reachable(host.strip("[]")), port=int(port or 0), host=host)
    reply = await ask(
        target, "GET", "/status.json", deadline_s=_REPORT_DEADLINE_S, limit=_REPORT_LIMIT_BYTES
    )
    report = _document(reply.body) if reply.status == 200 else None
    if report is None or "health" not in report:
        return replace(
            facts.agent, problem=reply.problem or f"what answers at {listen} is no agent"
        )
    return replace(facts.agent, report=report)


def boot_time(proc_stat: str) -> float | None:
    """When the machine started, by the kernel's ``btime``."""
    found = re.search(r"^btime (\d+)$", proc_stat, re.MULTILINE)
    return float(found[1]) if found else None


def _reachable(host: str) -> str:
    """Where a listener can be reached: one on all addresses is also on loopback."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def _written(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _status(path: Path) -> Mapping[str, Any] | None:
    return _document(read_text(path).encode())


def _document(data: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(data)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
