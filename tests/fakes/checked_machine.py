# SPDX-License-Identifier: Apache-2.0
"""Facts of a machine that is not there, for checks: a boot text, programs that pretend."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.bootargs import parse
from ssvm_agent.config.settings import NetworkSettings, Settings
from ssvm_agent.diag.dns import Kind, Lookup, Outcome, Resolver
from ssvm_agent.diag.facts import AgentWord, Facts, Process
from ssvm_agent.host.pools import WorkPool
from tests.fakes.machine import FakeClock, FakeRunner, Reaction

NOW = datetime(2026, 11, 23, 3, 11, 0, tzinfo=UTC)
TEXT = (
    "template=domP type=secstorage host=10.1.32.5,10.1.32.6 port=8250 name=s-1-VM zone=1 pod=1 "
    "guid=s-1-VM workers=5 mtu=1500 eth2ip=203.0.113.21 eth2mask=255.255.255.0 "
    "gateway=203.0.113.1 eth0ip=169.254.102.7 eth0mask=255.255.0.0 eth1ip=10.1.34.20 "
    "eth1mask=255.255.255.0 mgmtcidr=10.1.32.0/24 localgw=10.1.34.1 storageip=10.1.40.20 "
    "storagenetmask=255.255.255.0 storagegateway=10.1.40.1 internaldns1=10.1.32.2 dns1=8.8.8.8 "
    "secondaryStorageServerAddress=10.1.40.2"
)


class FakeResolver(Resolver):
    """Name servers that answer as told: ``{(server, name): outcome or addresses}``."""

    def __init__(self, answers: dict[tuple[str, str], Outcome | tuple[str, ...]]) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[tuple[str, str, Kind]] = []

    async def ask(self, server: str, name: str, kind: Kind = Kind.A) -> Lookup:
        self.asked.append((server, name, kind))
        answer = self.answers.get((server, name), Outcome.SILENT)
        if isinstance(answer, Outcome):
            return Lookup(server=server, name=name, kind=kind, outcome=answer)
        return Lookup(
            server=server, name=name, kind=kind, outcome=Outcome.FOUND, addresses=answer,
            elapsed_s=0.003,
        )  # fmt: skip


def machine(
    root: Path, *, text: str = TEXT, react: Reaction | None = None, **changes: Any
) -> Facts:
    """Facts whose files lie below ``root``; ``changes`` replaces any of them."""
    boot = parse(text)
    facts = Facts(
        settings=Settings(
            management_servers=("10.1.32.5", "10.1.32.6"),
            zone="1",
            guid="s-1-VM",
            name="s-1-VM",
            networks=NetworkSettings(
                private_address="10.1.34.20",
                public_address="203.0.113.21",
                storage_gateway="10.1.40.1",
                internal_dns=("10.1.32.2",),
            ),
        ),
        boot=boot,
        boot_path=root / "var/cache/cloud/cmdline",
        hypervisor=Hypervisor.KVM,
        plan=build_plan(boot, Hypervisor.KVM),
        resolver=FakeResolver({}),
        runner=FakeRunner(react),
        clock=FakeClock(NOW),
        local=WorkPool("test", threads=4),
        root=root,
    )
    return replace(facts, **changes)


def put(root: Path, files: dict[str, str]) -> None:
    """Write files of the machine."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def running(state: str = "ready", **link: Any) -> AgentWord:
    """The word of an agent that runs."""
    report = {
        "health": "good",
        "version": "1.0",
        "link": {"state": state, "server": "10.1.32.5", "since": NOW.isoformat(), **link},
        "stores": [],
        "downloads": [],
        "uploads": [],
        "transfers": [],
    }
    return AgentWord(processes=(Process(pid=1),), report=report)
