# SPDX-License-Identifier: Apache-2.0
"""What a real management server insists on, as questions with a text for an answer.

Pure. ``refusal_of_startup`` tells why a Startup is turned down (agent-lifecycle.md 5.1); the other
functions find what a server would drop, misroute or stumble over later (5.3, 5.4). An agent without
a finding here is one a real server serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ssvm_agent.messages.base import class_name_of
from ssvm_agent.messages.catalogue import CATALOGUE, Priority
from ssvm_agent.messages.envelope import Undecodable, decode_answers
from ssvm_agent.messages.setup import SecStorageSetupAnswer
from ssvm_agent.simulator.commands import (
    ANSWER,
    API,
    SEC_STORAGE_SETUP_ANSWER,
    UNSUPPORTED_ANSWER,
)
from ssvm_agent.simulator.model import Fields, Message
from ssvm_agent.wire.header import NO_ID, Flag, Header

_ARCHITECTURES: Final = frozenset({"i686", "x86_64", "aarch64"})
# Columns of the host table that must not be null (agent-lifecycle.md 2.3).
_NEEDED: Final = ("name", "version", "privateIpAddress")
_ENVELOPE: Final = ("contextMap", "wait", "bypassHostMaintenance")
_ROWS: Final = {row.class_name: row for row in CATALOGUE}

ANSWER_RULE: Final = "agent-lifecycle.md 5.3"
REQUEST_RULE: Final = "agent-lifecycle.md 5.4"
ENVELOPE_RULE: Final = "wire-protocol.md 4.2"
PING_RULE: Final = "agent-lifecycle.md 2.7"
STARTUP_RULE: Final = "agent-lifecycle.md 2.3"


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken rule: where it is written and what was seen."""

    rule: str
    text: str


def refusal_of_startup(startup: Fields, zones: Iterable[str]) -> str | None:
    """The text of the refusing Ready, or None when the agent is welcome."""
    zone = str(startup.get("dataCenter"))
    if zone not in zones:
        return f"java.lang.IllegalArgumentException: Agent reports an incorrect data center: {zone}"
    if startup.get("resourceName") and not startup.get("guid"):
        return "java.lang.NullPointerException: guid"
    arch = startup.get("arch")
    if arch and arch not in _ARCHITECTURES:
        return f"java.lang.IllegalArgumentException: Unsupported arch {arch}"
    for name in _NEEDED:
        if not startup.get(name):
            return f"com.cloud.utils.exception.CloudRuntimeException: column {name} cannot be null"
    return None


def findings_in_startup(header: Header, startup: Fields) -> list[Finding]:
    """What a Startup says or flags otherwise than a server of any version expects."""
    wanted = int(Flag.REQUEST | Flag.IN_SEQUENCE)
    findings = _request_findings(header, wanted, STARTUP_RULE)
    resource = str(startup.get("resourceName") or "")
    if resource and not str(startup.get("guid", "")).endswith("-" + resource):
        findings.append(Finding(STARTUP_RULE, "the guid does not end in the resource's name"))
    if startup.get("type") != "SecondaryStorage":
        findings.append(Finding(STARTUP_RULE, f"the type is {startup.get('type')!r}"))
    return findings + _envelope_findings(startup)


def findings_in_ping(header: Header, ping: Message) -> list[Finding]:
    """What a ping says or flags otherwise than expected."""
    findings = _request_findings(header, int(Flag.REQUEST | Flag.STOP_ON_ERROR), PING_RULE)
    if ping.class_name != API + "PingStorageCommand":
        findings.append(Finding(PING_RULE, f"the ping is a {ping.simple_name}"))
    if ping.fields.get("hostType") != "Storage":
        findings.append(Finding(PING_RULE, "hostType is not Storage"))
    return findings + _envelope_findings(ping.fields)


def _request_findings(header: Header, flags: int, rule: str) -> list[Finding]:
    findings = []
    if header.flags & ~int(Flag.COMPRESSED) != flags:
        findings.append(Finding(rule, f"the flags are {header.flags:#04x}, not {flags:#04x}"))
    if header.management_server_id != NO_ID:
        findings.append(Finding(rule, "the management server id of a request is not -1"))
    if header.via != header.agent_id:
        findings.append(Finding(rule, "via differs from the agent id"))
    return findings


def findings_in_response_header(request: Header, response: Header, node_id: int) -> list[Finding]:
    """What a response does not repeat from its request, or repeats wrongly."""
    findings = []
    if response.flags & Flag.FROM_SERVER:
        findings.append("the from-server flag is set: a server sends it back")
    if response.is_in_sequence != request.is_in_sequence:
        lost = "is missing: the queue stands still" if request.is_in_sequence else "is set"
        findings.append(f"the in-sequence flag {lost}")
    if response.stops_on_error != request.stops_on_error:
        findings.append("the stop-on-error flag is not the request's")
    if response.agent_id != request.agent_id:
        findings.append(f"the agent id is {response.agent_id}, not {request.agent_id}")
    if response.management_server_id not in (NO_ID, node_id):
        findings.append(f"the management server id {response.management_server_id} is nobody's")
    elif response.management_server_id == NO_ID:
        findings.append("the management server id is not repeated")
    if response.via != request.via:
        findings.append("via is not repeated")
    return [Finding(ANSWER_RULE, text) for text in findings]


def findings_in_answers(
    commands: Sequence[Message], answers: Sequence[Message], content: bytes
) -> list[Finding]:
    """What is wrong with the answers to a request: number, classes, envelope, types of fields."""
    findings = []
    if len(answers) != len(commands):
        text = f"{len(answers)} answers came for {len(commands)} commands"
        findings.append(Finding(ANSWER_RULE, text))
    for command, one in zip(commands, answers, strict=False):
        findings += _class_findings(command, one)
        findings += _envelope_findings(one.fields)
        if not isinstance(one.fields.get("result"), bool):
            findings.append(Finding(ENVELOPE_RULE, f"{one.simple_name} has no result"))
    findings += [
        Finding(ANSWER_RULE, f"an answer cannot be read: {one.class_name}: {one.reason}")
        for one in decode_answers(content)
        if isinstance(one, Undecodable)
    ]
    return findings


def expected_answer(class_name: str) -> str:
    """The class a server casts the answer of this command to."""
    row = _ROWS.get(class_name)
    return class_name_of(row.answer) if row else UNSUPPORTED_ANSWER


def breaks_the_connect(command: Message, one: Message) -> bool:
    """Whether this answer throws in a connect listener (agent-lifecycle.md 5.2)."""
    return (
        command.class_name == API + "SecStorageSetupCommand"
        and one.result
        and one.class_name != SEC_STORAGE_SETUP_ANSWER
    )


def _class_findings(command: Message, one: Message) -> list[Finding]:
    if one.class_name in _accepted(command.class_name, one):
        return []
    text = f"{command.simple_name} was answered with {one.simple_name}"
    return [Finding(ANSWER_RULE, text)]


def _accepted(class_name: str, one: Message) -> set[str]:
    """Classes a server takes as the answer to a command, given what the answer says."""
    accepted = {expected_answer(class_name)}
    row = _ROWS.get(class_name)
    if row is None:
        return accepted
    if row.priority is Priority.RARE:
        accepted.add(UNSUPPORTED_ANSWER)
    if not one.result and row.on_failure is not None:
        accepted.add(class_name_of(row.on_failure))
    # A store that cannot be set up may be answered plainly; so is what was left out.
    stopped = one.details == "Stopped by previous failure"
    if not one.result and (stopped or row.answer is SecStorageSetupAnswer):
        accepted.add(ANSWER)
    return accepted


def _envelope_findings(fields: Fields) -> list[Finding]:
    return [
        Finding(ENVELOPE_RULE, f"{name} is missing") for name in _ENVELOPE if name not in fields
    ]
