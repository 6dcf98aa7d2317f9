# SPDX-License-Identifier: Apache-2.0
"""Every misbehaviour of agent-lifecycle.md 5.3 is found, and good answers are not complained of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ssvm_agent.simulator import commands, rules
from ssvm_agent.simulator.model import Message, encode_messages
from ssvm_agent.wire.header import Flag, Header

NODE = 345052215515
REQUEST = Header(
    flags=int(Flag.REQUEST | Flag.STOP_ON_ERROR | Flag.IN_SEQUENCE | Flag.FROM_SERVER),
    sequence=9,
    management_server_id=NODE,
    agent_id=5,
    via=5,
)
ENVELOPE = {"contextMap": {}, "wait": 0, "bypassHostMaintenance": False}


def findings(command: Message, class_name: str, **fields: Any) -> list[str]:
    answer = Message(class_name, {"result": True} | fields | ENVELOPE)
    content = encode_messages([answer])
    return [one.text for one in rules.findings_in_answers([command], [answer], content)]


def test_a_faithful_header_has_no_findings() -> None:
    assert rules.findings_in_response_header(REQUEST, REQUEST.response(), NODE) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"flags": 0x02}, "in-sequence flag is missing"),
        ({"flags": 0x04}, "stop-on-error"),
        ({"flags": 0x26}, "from-server"),
        ({"agent_id": 6}, "agent id"),
        ({"management_server_id": 1}, "is nobody's"),
        ({"management_server_id": -1}, "is not repeated"),
        ({"via": -1}, "via"),
    ],
)
def test_a_header_that_is_not_repeated_is_found(change: dict[str, int], text: str) -> None:
    """agent-lifecycle.md 0.12 and 5.3."""
    response = replace(REQUEST.response(), **change)
    assert any(
        text in one.text for one in rules.findings_in_response_header(REQUEST, response, NODE)
    )


def test_the_answer_class_of_the_catalogue_is_expected() -> None:
    health = commands.check_health()
    assert findings(health, commands.API + "CheckHealthAnswer") == []
    assert findings(health, commands.ANSWER) == ["CheckHealthCommand was answered with Answer"]


def test_a_command_nobody_knows_is_answered_unsupported() -> None:
    unknown = commands.command("com.example.NoCommand")
    assert findings(unknown, commands.UNSUPPORTED_ANSWER, result=False) == []
    assert findings(unknown, commands.ANSWER, result=False)


def test_a_failed_store_setup_may_be_answered_plainly() -> None:
    """storage-commands.md 3.1."""
    setup = commands.command(commands.API + "SecStorageSetupCommand")
    assert findings(setup, commands.ANSWER, result=False, details="no route") == []
    assert findings(setup, commands.ANSWER, result=True)


def test_what_was_left_out_after_a_failure_is_answered_plainly() -> None:
    """wire-protocol.md 5."""
    health = commands.check_health()
    stopped = "Stopped by previous failure"
    assert findings(health, commands.ANSWER, result=False, details=stopped) == []


def test_a_missing_envelope_and_a_missing_result_are_found() -> None:
    """wire-protocol.md 4.2."""
    answer = Message(commands.API + "CheckHealthAnswer", {"wait": 0})
    content = encode_messages([answer])
    texts = [
        one.text for one in rules.findings_in_answers([commands.check_health()], [answer], content)
    ]
    assert "contextMap is missing" in texts
    assert "bypassHostMaintenance is missing" in texts
    assert "CheckHealthAnswer has no result" in texts


def test_fewer_answers_than_commands_are_found() -> None:
    health = commands.check_health()
    texts = [one.text for one in rules.findings_in_answers([health, health], [], b"[]")]
    assert texts == ["0 answers came for 2 commands"]


def test_a_field_of_the_wrong_type_is_found() -> None:
    ready = commands.command(commands.API + "GetStorageStatsCommand")
    texts = findings(ready, commands.API + "GetStorageStatsAnswer", usedBytes="many")
    assert len(texts) == 1
    assert texts[0].startswith("an answer cannot be read")
