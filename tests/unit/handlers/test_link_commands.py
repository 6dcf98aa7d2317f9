# SPDX-License-Identifier: Apache-2.0
"""Commands about the agent and its link: what the link is asked, what is answered."""

from __future__ import annotations

import logging

import pytest

from ssvm_agent.host.network import architecture
from ssvm_agent.messages.agent import (
    AgentControlAnswer,
    AgentControlCommand,
    CheckHealthAnswer,
    CheckHealthCommand,
    ConsoleAccessAuthenticationCommand,
    ConsoleProxyLoadReportCommand,
    MaintainAnswer,
    MaintainCommand,
    MigrateAgentConnectionAnswer,
    MigrateAgentConnectionCommand,
    ReadyAnswer,
    ReadyCommand,
    SetupMSListAnswer,
    SetupMSListCommand,
    ShutdownCommand,
    WatchConsoleProxyLoadCommand,
)
from ssvm_agent.messages.base import Answer, Command
from tests.fakes.services import Rig


async def test_ready_gives_the_link_identity_and_lists(rig: Rig) -> None:
    """agent-lifecycle.md 2.5."""
    command = ReadyCommand(
        dc_id=1, host_id=5, host_uuid="c2b0", host_name="s-1-VM", ms_host_list=["10.1.32.5"],
        avoid_ms_host_list=[], lb_algorithm="static", lb_check_interval=0, arch=architecture(),
    )  # fmt: skip
    answer = await rig.ask(command)
    assert isinstance(answer, ReadyAnswer)
    assert answer.result
    assert rig.link.asked == [
        (
            "ready",
            {
                "host_id": 5, "host_uuid": "c2b0", "host_name": "s-1-VM", "servers": ["10.1.32.5"],
                "avoid": [], "algorithm": "static", "check_interval_s": 0,
            },
        )
    ]  # fmt: skip


async def test_the_ready_of_4_5_has_an_id_only(rig: Rig) -> None:
    assert isinstance(await rig.ask(ReadyCommand(dc_id=1, host_id=5)), ReadyAnswer)
    name, arguments = rig.link.asked[0]
    assert (name, arguments["host_id"], arguments["servers"]) == ("ready", 5, None)


@pytest.mark.parametrize("reason", ["Unable to acquire lock", ""])
async def test_a_refusal_is_not_answered(rig: Rig, reason: str) -> None:
    """agent-lifecycle.md 5.1."""
    assert await rig.ask(ReadyCommand(details=reason, host_id=5)) is None
    assert rig.link.asked == [("refused", {"reason": reason})]


async def test_another_architecture_is_an_error_in_the_log(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert isinstance(await rig.ask(ReadyCommand(host_id=5, arch="vax")), ReadyAnswer)
    assert "the server takes this machine for another one" in caplog.text


async def test_health(rig: Rig) -> None:
    answer = await rig.ask(CheckHealthCommand())
    assert isinstance(answer, CheckHealthAnswer)
    assert (answer.result, answer.details) == (True, "resource is alive")


async def test_maintenance_needs_nothing(rig: Rig) -> None:
    answer = await rig.ask(MaintainCommand())
    assert isinstance(answer, MaintainAnswer)
    assert answer.will_migrate
    assert rig.link.asked == []


async def test_a_shutdown_forbids_to_come_back(rig: Rig) -> None:
    file = rig.services.settings.agent_properties
    file.parent.mkdir()
    file.write_text("zone=1\npod=1\nguid=s-1-VM\n")
    answer = await rig.ask(ShutdownCommand(reason="deleted"))
    assert type(answer) is Answer
    assert answer.result
    assert rig.link.asked == [("forbid_reconnect", {})]
    assert file.read_text().startswith("zone=1")


async def test_a_removed_host_forgets_its_place(rig: Rig) -> None:
    """agent-lifecycle.md 3.5."""
    file = rig.services.settings.agent_properties
    file.parent.mkdir()
    file.write_text("zone=1\npod=1\nguid=s-1-VM\n")
    await rig.ask(ShutdownCommand(reason="deleted", remove_host=True))
    assert file.read_text() == "zone=\npod=\nguid=s-1-VM\n"


async def test_a_server_list_goes_to_the_link(rig: Rig) -> None:
    command = SetupMSListCommand(
        ms_list=["a", "b"], avoid_ms_list=["c"], lb_algorithm="shuffle", lb_check_interval=60,
        trigger_host_lb=True,
    )  # fmt: skip
    assert isinstance(await rig.ask(command), SetupMSListAnswer)
    assert rig.link.asked == [
        (
            "apply_servers",
            {"servers": ["a", "b"], "avoid": ["c"], "algorithm": "shuffle",
             "check_interval_s": 60, "check_now": True},
        )
    ]  # fmt: skip


async def test_an_empty_server_list_is_harmless(rig: Rig) -> None:
    assert isinstance(await rig.ask(SetupMSListCommand()), SetupMSListAnswer)
    assert rig.link.asked[0][1]["check_now"] is False


async def test_a_migration_is_answered_at_once(rig: Rig) -> None:
    command = MigrateAgentConnectionCommand(avoid_ms_list=["a"])
    assert isinstance(await rig.ask(command), MigrateAgentConnectionAnswer)
    (asked,) = rig.link.asked
    assert asked[0] == "migrate"
    assert asked[1]["servers"] is None
    assert asked[1]["avoid"] == ["a"]


@pytest.mark.parametrize(
    "command",
    [AgentControlCommand(), ConsoleAccessAuthenticationCommand(), ConsoleProxyLoadReportCommand()],
    ids=lambda command: type(command).__name__,
)
async def test_control_commands_are_answered_without_effect(rig: Rig, command: Command) -> None:
    answer = await rig.ask(command)
    assert isinstance(answer, AgentControlAnswer)
    assert answer.result


async def test_repeating_commands_are_accepted(rig: Rig) -> None:
    answer = await rig.ask(WatchConsoleProxyLoadCommand(interval=5000))
    assert type(answer) is Answer
    assert answer.result
