# SPDX-License-Identifier: Apache-2.0
"""What the executor tells its observer of each command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from ssvm_agent.dispatch.executor import Executor
from ssvm_agent.dispatch.registry import Lane, Registry
from ssvm_agent.errors import AgentError
from ssvm_agent.messages.agent import CheckHealthAnswer, CheckHealthCommand, PingTestCommand
from ssvm_agent.messages.base import Answer, Command
from ssvm_agent.messages.copy import CopyCmdAnswer, CopyCommand
from ssvm_agent.messages.delete import DeleteCommand
from ssvm_agent.messages.envelope import encode_commands
from ssvm_agent.messages.files import MoveVolumeCommand
from ssvm_agent.messages.listing import ListTemplateAnswer, ListTemplateCommand


class StoreGoneError(AgentError):
    """A store does not answer."""

    code = "store"


@dataclass
class Notes:
    """An observer that writes down; the services of these handlers as well."""

    ran: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def command_ran(self, command: str, seconds: float) -> None:
        self.ran.append(command)
        self.seconds.append(seconds)

    def command_failed(self, command: str, code: str) -> None:
        self.failed.append((command, code))


REGISTRY = Registry[Notes]()


@REGISTRY.command(CheckHealthCommand, CheckHealthAnswer, lane=Lane.CONTROL)
async def check_health(command: CheckHealthCommand, notes: Notes) -> CheckHealthAnswer:
    return CheckHealthAnswer()


@REGISTRY.command(DeleteCommand, Answer)
async def delete(command: DeleteCommand, notes: Notes) -> Answer:
    raise StoreGoneError("The store does not answer.")


@REGISTRY.command(MoveVolumeCommand, Answer)
async def move(command: MoveVolumeCommand, notes: Notes) -> Answer:
    return Answer(result=False, details="no")


@REGISTRY.command(ListTemplateCommand, ListTemplateAnswer)
async def unforeseen(command: ListTemplateCommand, notes: Notes) -> Answer:
    raise KeyError("x")


@REGISTRY.command(CopyCommand, CopyCmdAnswer, lane=Lane.LONG, deadline_s=0.05, honours_wait=True)
async def copy(command: CopyCommand, notes: Notes) -> CopyCmdAnswer:
    notes.started.set()
    await notes.gate.wait()
    return CopyCmdAnswer()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def executor(notes: Notes) -> AsyncIterator[Executor[Notes]]:
    async with Executor(REGISTRY, notes, normal=1, long=1, observer=notes) as running:
        yield running


async def ask(executor: Executor[Notes], *commands: Command) -> None:
    await executor.execute(encode_commands(commands), stop_on_error=False)


async def test_a_command_done_is_no_failure(executor: Executor[Notes], notes: Notes) -> None:
    await ask(executor, CheckHealthCommand())
    assert (notes.ran, notes.failed) == (["CheckHealthCommand"], [])
    assert 0 <= notes.seconds[0] < 10


@pytest.mark.parametrize(
    ("command", "name", "code"),
    [
        (DeleteCommand(), "DeleteCommand", "store"),
        (MoveVolumeCommand(), "MoveVolumeCommand", "answered-false"),
        (ListTemplateCommand(), "ListTemplateCommand", "internal"),
        (CopyCommand(), "CopyCommand", "deadline"),
    ],
)
async def test_a_failure_has_the_code_of_its_error(
    executor: Executor[Notes], notes: Notes, command: Command, name: str, code: str
) -> None:
    await ask(executor, command)
    assert (notes.ran, notes.failed) == ([name], [(name, code)])


async def test_what_was_not_started_failed_but_did_not_run(
    executor: Executor[Notes], notes: Notes
) -> None:
    first = asyncio.create_task(ask(executor, CopyCommand(wait=30)))
    await notes.started.wait()
    await ask(executor, CopyCommand())
    assert (notes.ran, notes.failed) == ([], [("CopyCommand", "deadline")])
    notes.gate.set()
    await first
    assert notes.ran == ["CopyCommand"]


async def test_a_failure_counts_when_nobody_waits_for_it_any_more(
    executor: Executor[Notes], notes: Notes
) -> None:
    asking = asyncio.create_task(ask(executor, CopyCommand()))
    await notes.started.wait()
    asking.cancel()
    assert await executor.drain(5)
    assert notes.failed == [("CopyCommand", "deadline")]


async def test_names_a_server_makes_up_become_no_labels(
    executor: Executor[Notes], notes: Notes
) -> None:
    """However many classes a server invents, the metrics stay as many as there are."""
    await ask(executor, PingTestCommand())
    for number in range(3):
        invented = json.dumps([{f"com.example.Invented{number}Command": {}}])
        await executor.execute(invented.encode(), stop_on_error=False)
    await executor.execute(b"{", stop_on_error=False)
    assert notes.ran == []
    assert notes.failed == [
        ("PingTestCommand", "unsupported"),
        *[("unknown", "unsupported")] * 3,
        ("unknown", "unreadable"),
    ]
