# SPDX-License-Identifier: Apache-2.0
"""What Startup says, and what it insists on (the whole of it is checked in tests/net/link)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ssvm_agent.link.errors import LinkError, Step
from ssvm_agent.link.startup import startup_command
from tests.fakes.link_parts import FACTS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zone": ""}, "zone"),
        ({"guid": ""}, "guid"),
        ({"name": ""}, "host name"),
        ({"version": ""}, "version"),
        ({"private": None}, "eth1"),
    ],
)
def test_what_the_server_cannot_do_without_is_insisted_on(
    change: dict[str, Any], message: str
) -> None:
    """agent-lifecycle.md 2.3, last lines: dataCenter, guid, name, version, privateIpAddress."""
    with pytest.raises(LinkError, match=message) as caught:
        startup_command(replace(FACTS, **change), host_id=None, transferred=False)
    assert caught.value.step is Step.STARTUP


def test_what_is_unknown_is_left_out() -> None:
    facts = replace(FACTS, public=None, pod=None, server_list=None, architecture="riscv64")
    command = startup_command(facts, host_id=None, transferred=False)
    assert command.public_ip_address is command.public_netmask is None
    assert command.public_mac_address is command.pod is command.ms_host_list is None
    assert command.id is None
    # Compat: agent-lifecycle.md 2.3, an unknown architecture is refused, a missing one is not.
    assert command.arch is None


def test_the_guid_ends_in_the_resource_class() -> None:
    """agent-lifecycle.md 0.9."""
    facts = replace(FACTS, resource_class="PremiumSecondaryStorageResource")
    command = startup_command(facts, host_id=7, transferred=True)
    assert command.guid == "s-1-VM-PremiumSecondaryStorageResource"
    assert command.resource_name == "PremiumSecondaryStorageResource"
    assert command.connection_transferred
    assert command.id == 7
