# SPDX-License-Identifier: Apache-2.0
"""Requests in, answers out: order, lanes, deadlines, the error boundary."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ssvm_agent.dispatch.executor import Executor, LaneLoad
from ssvm_agent.dispatch.failures import delete_failure
from ssvm_agent.dispatch.registry import Lane, Registry
from ssvm_agent.errors import AgentError
from ssvm_agent.messages.agent import (
    CheckHealthAnswer,
    CheckHealthCommand,
    PingTestCommand,
    ReadyAnswer,
    ReadyCommand,
)
from ssvm_agent.messages.base import Answer, Command
from ssvm_agent.messages.copy import CopyCmdAnswer, CopyCommand
from ssvm_agent.messages.delete import BackupDeleteAnswer, DeleteCommand
from ssvm_agent.messages.download import DownloadAnswer, DownloadCommand, DownloadProgressCommand
from ssvm_agent.messages.envelope import Undecodable, decode_answers, encode_commands
from ssvm_agent.messages.files import ComputeChecksumCommand, MoveVolumeCommand
from ssvm_agent.messages.listing import ListTemplateAnswer, ListTemplateCommand
from ssvm_agent.messages.objects import BackupDeltaTO, TemplateObjectTO
from ssvm_agent.messages.upload import UploadStatusAnswer, UploadStatusCommand


class StoreGoneError(AgentError):
    """A store does not answer."""

    code = "store"


@dataclass
class World:
    """What the handlers of these tests work on."""

    seen: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    on_list: Callable[[], Awaitable[Answer | None]] | None = None


REGISTRY = Registry[World]()


@REGISTRY.command(CheckHealthCommand, CheckHealthAnswer, lane=Lane.CONTROL, changes=False)
async def check_health(command: CheckHealthCommand, world: World) -> CheckHealthAnswer:
    world.seen.append("health")
    return CheckHealthAnswer(details="resource is alive")


@REGISTRY.command(ReadyCommand, ReadyAnswer, lane=Lane.CONTROL)
async def ready(command: ReadyCommand, world: World) -> ReadyAnswer | None:
    return None if command.details else ReadyAnswer()


@REGISTRY.command(ListTemplateCommand, ListTemplateAnswer, changes=False, deadline_s=0.05)
async def list_templates(command: ListTemplateCommand, world: World) -> Answer | None:
    world.seen.append("list")
    assert world.on_list is not None
    return await world.on_list()


@REGISTRY.command(CopyCommand, CopyCmdAnswer, lane=Lane.LONG, honours_wait=True)
async def copy(command: CopyCommand, world: World) -> CopyCmdAnswer:
    world.started.set()
    await world.gate.wait()
    world.seen.append("copied")
    return CopyCmdAnswer()


@REGISTRY.command(DownloadCommand, DownloadAnswer)
async def download(command: DownloadCommand, world: World) -> DownloadAnswer:
    raise StoreGoneError("The store does not answer.", detail="10.1.1.5")


@REGISTRY.command(DownloadProgressCommand, DownloadAnswer)
async def progress(command: DownloadProgressCommand, world: World) -> DownloadAnswer:
    raise StoreGoneError("The store does not answer.")


@REGISTRY.command(DeleteCommand, Answer, on_error=delete_failure)
async def delete(command: DeleteCommand, world: World) -> Answer:
    raise StoreGoneError("Not today.")


@REGISTRY.command(MoveVolumeCommand, Answer)
async def move(command: MoveVolumeCommand, world: World) -> Answer:
    return Answer(result=False, details=" ")


@REGISTRY.command(UploadStatusCommand, UploadStatusAnswer)
async def upload_status(command: UploadStatusCommand, world: World) -> UploadStatusAnswer:
    raise StoreGoneError("  ")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def executor(world: World) -> AsyncIterator[Executor[World]]:
    async with Executor(REGISTRY, world, normal=2, long=1) as running:
        yield running


async def ask(
    executor: Executor[World], *commands: Command, stop_on_error: bool = True
) -> list[Answer]:
    return await ask_text(executor, encode_commands(commands), stop_on_error=stop_on_error)


async def ask_text(
    executor: Executor[World], content: bytes, *, stop_on_error: bool = True
) -> list[Answer]:
    response = await executor.execute(content, stop_on_error=stop_on_error)
    assert response is not None
    answers = decode_answers(response)
    return [answer for answer in answers if not isinstance(answer, Undecodable)]


async def test_answer_has_the_commands_class(executor: Executor[World]) -> None:
    (answer,) = await ask(executor, CheckHealthCommand())
    assert answer == CheckHealthAnswer(details="resource is alive")


async def test_request_without_commands_gets_an_empty_array(executor: Executor[World]) -> None:
    """wire-protocol.md 5."""
    assert await executor.execute(b"[]", stop_on_error=True) == b"[]"


async def test_handler_without_answer_leaves_the_request_unanswered(
    executor: Executor[World],
) -> None:
    """agent-lifecycle.md 3.5: a Ready that refuses is not answered."""
    content = encode_commands([ReadyCommand(details="no such zone")])
    assert await executor.execute(content, stop_on_error=True) is None


async def test_commands_after_a_failed_one_are_stopped(
    executor: Executor[World], world: World
) -> None:
    """wire-protocol.md 5."""
    answers = await ask(
        executor, CheckHealthCommand(), DeleteCommand(), CheckHealthCommand(), CheckHealthCommand()
    )
    assert [answer.result for answer in answers] == [True, False, False, False]
    assert {type(answer) for answer in answers[2:]} == {Answer}
    assert [answer.details for answer in answers[2:]] == ["Stopped by previous failure"] * 2
    assert world.seen == ["health"]


async def test_commands_after_a_failed_one_go_on_when_asked(
    executor: Executor[World], world: World
) -> None:
    answers = await ask(executor, DeleteCommand(), CheckHealthCommand(), stop_on_error=False)
    assert [answer.result for answer in answers] == [False, True]
    assert world.seen == ["health"]


UNSUPPORTED = "Unsupported command issued: {}.  Are you sure you got the right type of server?"


async def test_unknown_class_is_answered_at_its_position(
    executor: Executor[World], world: World
) -> None:
    """Differs: wire-protocol.md 11."""
    content = json.dumps(
        [
            {"com.cloud.agent.api.CheckHealthCommand": {}},
            {"com.cloud.agent.api.FutureCommand": {"x": [1]}},
            {"com.cloud.agent.api.CheckHealthCommand": {}},
        ]
    ).encode()
    first, second, third = await ask_text(executor, content, stop_on_error=False)
    assert (first.result, second.result, third.result) == (True, False, True)
    assert second.details == UNSUPPORTED.format("com.cloud.agent.api.FutureCommand")


async def test_known_class_that_is_not_carried_out_is_unsupported(
    executor: Executor[World],
) -> None:
    response = await executor.execute(encode_commands([PingTestCommand()]), stop_on_error=True)
    assert response is not None
    assert b"com.cloud.agent.api.UnsupportedAnswer" in response
    assert b"PingTestCommand.  Are" in response


async def test_subclass_does_not_fall_to_its_parents_handler() -> None:
    registry = Registry[World]()
    registry.command(DownloadCommand, DownloadAnswer)(download)
    assert registry.entry_for(DownloadProgressCommand) is None
    assert registry.entry_for(DownloadCommand) is not None


@pytest.mark.parametrize(
    ("content", "class_name", "text"),
    [
        ('[{"com.cloud.agent.api.ReadyCommand":{"hostId":"x"}}]', "com.cloud.agent.api.ReadyAnswer",
         "ReadyCommand cannot be read: $.hostId: expected a number, found text that is none"),
        ('[{"com.cloud.agent.api.ReadyCommand":{"hostId":1', "com.cloud.agent.api.ReadyAnswer",
         "ReadyCommand cannot be read: not JSON: unterminated object at character 48"),
        ('[{"com.cloud.agent.api.ReadyCommand":null}]', "com.cloud.agent.api.ReadyAnswer",
         "ReadyCommand cannot be read: $: expected an object, found null"),
        ('[{"com.cloud.agent.api.PingTestCommand":7}]', "com.cloud.agent.api.UnsupportedAnswer",
         UNSUPPORTED.format("com.cloud.agent.api.PingTestCommand")),
        ("", "com.cloud.agent.api.Answer", "The request cannot be read: the message is empty"),
        ("null", "com.cloud.agent.api.Answer", "The request cannot be read: the message is null"),
        ("hello", "com.cloud.agent.api.Answer",
         "The request cannot be read: the message is not a list"),
        ("[7]", "com.cloud.agent.api.Answer",
         "The request cannot be read: an element does not name its class"),
    ],
)  # fmt: skip
async def test_unreadable_content_is_answered_with_a_reason(
    executor: Executor[World], content: str, class_name: str, text: str
) -> None:
    """Differs: wire-protocol.md 11: answer whenever the sequence can be read."""
    response = await executor.execute(content.encode(), stop_on_error=True)
    assert response is not None
    ((found, body),) = json.loads(response)[0].items()
    assert (found, body["result"], body["details"]) == (class_name, False, text)


async def test_unreadable_download_tells_its_error_in_the_status(
    executor: Executor[World],
) -> None:
    content = b'[{"org.apache.cloudstack.storage.command.DownloadCommand":{"_store":{"x.Y":{}}}}]'
    (answer,) = await ask_text(executor, content)
    assert isinstance(answer, DownloadAnswer)
    assert (answer.result, answer.download_status) == (True, "DOWNLOAD_ERROR")
    assert answer.error_string == (
        "DownloadCommand cannot be read: $._store: "
        "expected a DataStoreTO, found the unknown class x.Y"
    )


async def test_failed_download_keeps_result_true(executor: Executor[World]) -> None:
    """storage-commands.md 4.2."""
    (answer,) = await ask(executor, DownloadCommand(install_path="template/tmpl/2/205"))
    assert answer == DownloadAnswer(
        download_status="DOWNLOAD_ERROR",
        error_string="The store does not answer.",
        details="The store does not answer.",
        install_path="template/tmpl/2/205",
    )


async def test_failed_progress_answer_keeps_the_asked_job(executor: Executor[World]) -> None:
    """storage-commands.md 4.4: answers with another job id are ignored."""
    (answer,) = await ask(executor, DownloadProgressCommand(job_id="j-1", request="GET_STATUS"))
    assert isinstance(answer, DownloadAnswer)
    assert (answer.job_id, answer.download_status) == ("j-1", "DOWNLOAD_ERROR")


async def test_failed_delete_of_a_backup_has_its_own_class(executor: Executor[World]) -> None:
    """storage-commands.md 3.13."""
    commands = [DeleteCommand(data=BackupDeltaTO(id=7)), DeleteCommand(data=TemplateObjectTO())]
    backup, template = await ask(executor, *commands, stop_on_error=False)
    assert backup == BackupDeleteAnswer(result=False, details="Not today.", backup_id=7)
    assert template == Answer(result=False, details="Not today.")


async def test_failed_answer_is_never_blank(executor: Executor[World]) -> None:
    """Requirements R14."""
    moved, status = await ask(
        executor, MoveVolumeCommand(), UploadStatusCommand(), stop_on_error=False
    )
    assert moved.details == "The command failed without giving a reason."
    assert status.details == "The command failed (store)."
    assert isinstance(status, UploadStatusAnswer)
    assert status.status == "UNKNOWN"


async def test_unforeseen_error_is_logged_and_answered_shortly(
    executor: Executor[World], world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def explode() -> Answer:
        raise ZeroDivisionError("secret inner text")

    world.on_list = explode
    with caplog.at_level(logging.ERROR):
        (answer,) = await ask(executor, ListTemplateCommand())
    assert isinstance(answer, ListTemplateAnswer)
    assert (answer.result, answer.template_infos) == (False, None)
    assert answer.details == "Internal error (ZeroDivisionError); the agent's log has the details."
    assert any(record.exc_info for record in caplog.records)


async def test_command_over_its_deadline_is_cancelled_and_answered(
    executor: Executor[World], world: World
) -> None:
    cancelled = asyncio.Event()

    async def hang() -> Answer:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    world.on_list = hang
    (answer,) = await ask(executor, ListTemplateCommand())
    assert answer == ListTemplateAnswer(
        result=False, details="The command did not end within 0.05 s."
    )
    assert cancelled.is_set()


async def test_time_out_inside_a_handler_is_not_taken_for_the_deadline(
    executor: Executor[World], world: World
) -> None:
    async def inner() -> Answer:
        raise TimeoutError

    world.on_list = inner
    (answer,) = await ask(executor, ListTemplateCommand())
    assert answer.details
    assert answer.details.startswith("Internal error (TimeoutError)")


async def test_wait_of_the_command_replaces_the_deadline_where_it_counts() -> None:
    """Requirements R24."""
    copying, listing = REGISTRY.entry_for(CopyCommand), REGISTRY.entry_for(ListTemplateCommand)
    assert copying is not None
    assert listing is not None
    assert copying.deadline_of(CopyCommand(wait=7)) == 7
    assert copying.deadline_of(CopyCommand()) == copying.deadline_s
    assert listing.deadline_of(ListTemplateCommand(wait=7)) == 0.05


async def test_control_commands_pass_a_full_lane(executor: Executor[World], world: World) -> None:
    """agent-lifecycle.md 3.4: long copies must not hold up Ready and CheckHealth."""
    async with asyncio.TaskGroup() as group:
        first = group.create_task(ask(executor, CopyCommand()))
        await world.started.wait()
        second = group.create_task(ask(executor, CopyCommand()))
        (health,) = await ask(executor, CheckHealthCommand())
        assert health.result
        assert executor.load()[Lane.LONG] == LaneLoad(running=1, waiting=1)
        world.gate.set()
    assert first.result()[0].result
    assert second.result()[0].result
    assert world.seen == ["health", "copied", "copied"]
    assert executor.load()[Lane.LONG] == LaneLoad(running=0, waiting=0)


async def test_waiting_too_long_for_a_place_is_an_answer(
    executor: Executor[World], world: World
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(executor, CopyCommand()))
        await world.started.wait()
        content = encode_commands([CopyCommand()]).replace(b'"wait":0', b'"wait":1')
        (late,) = await ask_text(executor, content)
        world.gate.set()
    assert isinstance(late, CopyCmdAnswer)
    assert late.details == "The command waited 1 s for others and was not started."


async def test_lost_link_drops_what_waits_and_lets_the_rest_end(
    executor: Executor[World], world: World
) -> None:
    running = asyncio.create_task(ask(executor, CopyCommand()))
    await world.started.wait()
    queued = asyncio.create_task(ask(executor, CopyCommand()))
    await asyncio.sleep(0)  # one turn of the loop takes the request to the lane's queue
    assert executor.load()[Lane.LONG] == LaneLoad(running=1, waiting=1)
    for task in (running, queued):
        task.cancel()
    results = await asyncio.gather(running, queued, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert executor.load()[Lane.LONG] == LaneLoad(running=1, waiting=0)
    world.gate.set()
    assert await executor.drain(5)
    assert world.seen == ["copied"]


async def test_command_cut_off_by_the_end_of_the_agent_is_answered(world: World) -> None:
    async with Executor(REGISTRY, world, normal=1, long=1) as executor:
        asking = asyncio.create_task(ask(executor, CopyCommand()))
        await world.started.wait()
    (answer,) = await asking
    assert answer == CopyCmdAnswer(result=False, details="The agent is stopping.")


async def test_queue_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssvm_agent.dispatch.executor._MAX_WAITING", 0)
    async with Executor(REGISTRY, world, normal=1, long=1) as executor:
        (answer,) = await ask(executor, CopyCommand())
    assert answer.details == "The agent has too many commands waiting; try again later."


def test_registry_lists_its_entries_by_name() -> None:
    names = [entry.class_name for entry in REGISTRY.entries()]
    assert names == sorted(names)
    assert "org.apache.cloudstack.storage.command.CopyCommand" in names


def test_command_cannot_be_registered_twice() -> None:
    async def handler(command: Any, world: World) -> Answer:
        raise AssertionError

    registry = Registry[World]()
    registry.command(ComputeChecksumCommand, Answer)(handler)
    with pytest.raises(AssertionError):
        registry.command(ComputeChecksumCommand, Answer)(handler)
