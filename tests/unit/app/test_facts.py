# SPDX-License-Identifier: Apache-2.0
"""What Startup says of the machine (agent-lifecycle.md 2.3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.app.facts import startup_facts
from ssvm_agent.config.settings import NetworkSettings, Settings
from ssvm_agent.config.state import AgentState
from ssvm_agent.host import network
from ssvm_agent.host.network import InterfaceFacts
from ssvm_agent.link.startup import NicFacts

SETTINGS = Settings(
    guid="s-1-VM",
    zone="1",
    name="s-1-VM",
    management_servers=("10.1.32.5", "10.1.32.6"),
    networks=NetworkSettings(private_address="10.1.34.20", private_netmask="255.255.255.0"),
)


def test_the_interface_goes_before_what_we_were_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = InterfaceFacts(name="eth1", address="10.1.34.99", netmask="255.255.0.0", mac="0e:00")
    monkeypatch.setattr(network, "interface", {"eth1": found}.get)
    facts = startup_facts(SETTINGS, AgentState(tmp_path / "p", SETTINGS.resource_class))
    assert facts.private == NicFacts(address="10.1.34.99", netmask="255.255.0.0", mac="0e:00")
    assert facts.public is None


def test_what_we_were_told_serves_where_there_is_no_interface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "interface", lambda _device: None)
    facts = startup_facts(SETTINGS, AgentState(tmp_path / "p", SETTINGS.resource_class))
    assert facts.private == NicFacts(address="10.1.34.20", netmask="255.255.255.0", mac="")


def test_the_persisted_server_list_is_reported(tmp_path: Path) -> None:
    """agent-lifecycle.md 2.3, msHostList: on a first boot the list as configured."""
    state = AgentState(tmp_path / "agent.properties", SETTINGS.resource_class)
    assert startup_facts(SETTINGS, state).server_list == "10.1.32.5,10.1.32.6"
    state.save_servers(["10.1.32.6"], "static")
    assert startup_facts(SETTINGS, state).server_list == "10.1.32.6@static"
