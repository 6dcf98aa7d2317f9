# SPDX-License-Identifier: Apache-2.0
"""The same work on many system VMs: some at a time, one failing without the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from ssvm_agent.delivery.targets import Target
from ssvm_agent.errors import AgentError
from ssvm_agent.masking import mask_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How it went on one system VM.

    Attributes:
        name: The system VM.
        ok: Whether all is as it should be.
        code: ``done``, ``planned``, ``skipped``, or the code of the error.
        message: A sentence.
    """

    name: str
    ok: bool
    code: str
    message: str


class Stop:
    """The operator's wish to end: what runs is finished, nothing new is begun."""

    def __init__(self) -> None:
        self.wanted = False


async def on_each(
    targets: Iterable[Target],
    work: Callable[[Target], Awaitable[Result]],
    *,
    at_a_time: int,
    stop: Stop,
    show: Callable[[Result], None],
) -> list[Result]:
    """Do the work on each target; results in the order of the targets.

    Errors of one target are its result. ``show`` sees each result as it comes.
    """
    bound = asyncio.Semaphore(at_a_time)

    async def one(target: Target) -> Result:
        async with bound:
            if stop.wanted:
                result = Result(
                    name=target.name, ok=False, code="skipped", message="not begun: interrupted"
                )
            else:
                result = await _guarded(target, work)
        show(result)
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(target)) for target in targets]
    return [task.result() for task in tasks]


async def _guarded(target: Target, work: Callable[[Target], Awaitable[Result]]) -> Result:
    try:
        return await work(target)
    except AgentError as error:
        return Result(
            name=target.name, ok=False, code=error.code, message=mask_text(error.for_operators())
        )
