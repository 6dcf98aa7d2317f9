# SPDX-License-Identifier: Apache-2.0
"""What the appliance of a system VM does, on a machine that only pretends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssvm_agent.appliance.errors import ApplianceError
from ssvm_agent.appliance.systemvm import SystemPaths, SystemVmAppliance
from ssvm_agent.config.settings import NetworkSettings, Settings
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import ProgramResult
from ssvm_agent.masking import Secret
from tests.fakes.machine import FakeRunner

_TABLE = [
    {"dst": "default", "gateway": "203.0.113.1", "dev": "eth2"},
    {"dst": "10.1.34.0/24", "dev": "eth1"},
    {"dst": "10.1.40.0/24", "dev": "eth3"},
]
SETTINGS = Settings(
    guid="s-1-VM",
    zone="1",
    management_servers=("10.1.32.5", "10.1.34.6", "ms.example.org"),
    networks=NetworkSettings(
        local_gateway="10.1.34.1", storage_gateway="10.1.40.1", internal_dns=("10.1.32.2",)
    ),
)


class Machine:
    """A filter that remembers rules, a routing table, and a list of what must fail."""

    def __init__(self, root: Path) -> None:
        self.runner = FakeRunner(self._react)
        self.failing: set[str] = set()
        self.rules: set[str] = set()
        self.paths = SystemPaths(upload_key=root / "agent/ms-psk", trusted_ca=root / "ca/ca.crt")
        self.pool = WorkPool("test")
        self.appliance = SystemVmAppliance(
            settings=SETTINGS, runner=self.runner, disk=self.pool, paths=self.paths
        )

    def _react(self, call: list[str]) -> ProgramResult | None:
        if call[0] in self.failing or " ".join(call[:3]) in self.failing:
            return ProgramResult(returncode=2, stdout=b"", stderr=b"it broke")
        if call[0] == "ip" and "show" in call:
            return ProgramResult(returncode=0, stdout=json.dumps(_TABLE).encode(), stderr=b"")
        if "-C" in call:
            known = " ".join(call[call.index("-C") + 1 :]) in self.rules
            return ProgramResult(returncode=0 if known else 1, stdout=b"", stderr=b"")
        return None

    def take_rules(self) -> None:
        """What was restored is in the filter now."""
        for text in filter(None, self.runner.inputs):
            for line in text.decode().splitlines():
                if line[:2] in {"-I", "-A"}:
                    self.rules.add(line[3:].replace(" 1 ", " ", 1))

    @property
    def routes(self) -> list[str]:
        """The routes set, in order."""
        return [call[4] + " " + call[6] for call in self.runner.calls if "replace" in call]


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.pool.close()


async def test_preparing_routes_to_servers_and_dns_and_opens_the_ports(machine: Machine) -> None:
    """storage-commands.md 2: connected servers and names get no route."""
    await machine.appliance.prepare()
    assert machine.routes == ["10.1.32.5/32 10.1.34.1", "10.1.32.2/32 10.1.34.1"]
    assert machine.runner.inputs[-1] is not None
    assert machine.runner.inputs[-1].count(b"\n-") == 5
    assert machine.appliance.upload_key is None


async def test_preparing_twice_adds_no_rule(machine: Machine) -> None:
    await machine.appliance.prepare()
    machine.take_rules()
    machine.runner.calls.clear()
    await machine.appliance.prepare()
    assert not any(call[0].endswith("-restore") for call in machine.runner.calls)


async def test_a_failing_step_does_not_stop_the_others(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.failing = {"ip"}
    machine.paths.upload_key.parent.mkdir()
    machine.paths.upload_key.write_text("stored")
    await machine.appliance.prepare()
    assert any(call[0] == "iptables-restore" for call in machine.runner.calls)
    assert machine.appliance.upload_key == Secret("stored")
    assert [record.message for record in caplog.records].count("machine not as wanted") == 3


async def test_a_store_is_reached_through_the_storage_gateway(machine: Machine) -> None:
    await machine.appliance.route_to_storage("10.7.7.7")
    await machine.appliance.route_to_storage("10.1.40.2")
    assert machine.routes == ["10.7.7.7/32 10.1.40.1"]


async def test_a_route_that_fails_is_no_error_for_a_store(machine: Machine) -> None:
    machine.failing = {"ip"}
    await machine.appliance.route_to_storage("10.7.7.7")


async def test_internal_sites_get_a_rule_and_a_route(machine: Machine) -> None:
    await machine.appliance.allow_internal_sites(["10.20.0.0/16", "10.30.1.7"])
    assert machine.routes == ["10.20.0.0/16 10.1.34.1", "10.30.1.7/32 10.1.34.1"]
    texts = [text.decode() for text in machine.runner.inputs if text]
    assert ["-d 10.20.0.0/16 -o eth1" in texts[0], "-d 10.30.1.7/32" in texts[1]] == [True, True]


async def test_an_ipv6_site_fails_nothing_where_the_gateway_is_ipv4(machine: Machine) -> None:
    """R10: the pod's gateway is always IPv4 (boot-and-system.md 1)."""
    await machine.appliance.allow_internal_sites(["2001:db8:20::/48", "10.20.0.0/16"])
    assert machine.routes == ["10.20.0.0/16 10.1.34.1"]
    restored = [call[0] for call in machine.runner.calls if call[0].endswith("-restore")]
    assert restored == ["ip6tables-restore", "iptables-restore"]


async def test_a_site_that_is_a_known_store_is_left_alone(machine: Machine) -> None:
    """storage-commands.md 3.2."""
    await machine.appliance.remember_store_address("10.30.1.7")
    await machine.appliance.allow_internal_sites(["10.30.1.7"])
    assert machine.runner.calls == []


async def test_all_sites_are_tried_before_a_failure_is_told(machine: Machine) -> None:
    with pytest.raises(ApplianceError) as caught:
        await machine.appliance.allow_internal_sites(["no-network", "10.20.0.0/16", "0.0.0.0/0"])
    assert "Error in allowing outgoing to no-network: 'no-network' is neither" in str(caught.value)
    assert ", Error in allowing outgoing to 0.0.0.0/0" in str(caught.value)
    assert machine.routes == ["10.20.0.0/16 10.1.34.1"]


async def test_the_upload_key_is_in_use_at_once_and_kept(machine: Machine) -> None:
    await machine.appliance.set_upload_key(Secret("psk-1"))
    assert machine.appliance.upload_key == Secret("psk-1")
    assert machine.paths.upload_key.read_text() == "psk-1"
    assert machine.paths.upload_key.stat().st_mode & 0o777 == 0o600
    await machine.appliance.set_upload_key(Secret("psk-2"))
    assert machine.paths.upload_key.read_text() == "psk-2"


async def test_a_ca_is_added_to_the_trust_of_the_system_once(machine: Machine) -> None:
    await machine.appliance.trust_cloud_ca("-----BEGIN CERTIFICATE-----")
    await machine.appliance.trust_cloud_ca("-----BEGIN CERTIFICATE-----")
    assert machine.runner.calls == [["update-ca-certificates"]]
    assert machine.paths.trusted_ca.stat().st_mode & 0o777 == 0o644


async def test_a_file_that_cannot_be_written_is_named(machine: Machine) -> None:
    machine.paths.upload_key.mkdir(parents=True)
    with pytest.raises(ApplianceError, match="ms-psk cannot be written"):
        await machine.appliance.set_upload_key(Secret("x"))
