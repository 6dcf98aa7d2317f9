# SPDX-License-Identifier: Apache-2.0
"""``diagnostics.py``: three parts whatever happens (boot-and-system.md 5.2)."""

from __future__ import annotations

import pytest

from ssvm_agent.diag.network_tools import use_tool
from ssvm_agent.host.errors import ProgramMissingError, ProgramTimedOutError
from ssvm_agent.host.run import ProgramResult
from tests.fakes.machine import FakeRunner


def tool(stdout: str = "fine", stderr: str = "", returncode: int = 0) -> FakeRunner:
    result = ProgramResult(returncode=returncode, stdout=stdout.encode(), stderr=stderr.encode())
    return FakeRunner(lambda _: result)


def broken(error: Exception) -> FakeRunner:
    def react(_: list[str]) -> ProgramResult:
        raise error

    return FakeRunner(react)


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["ping", "192.0.2.1"], ["ping", "192.0.2.1", "-c", "4"]),
        (["ping", "192.0.2.1", "-c", "9"], ["ping", "192.0.2.1", "-c", "9"]),
        (["ping", "192.0.2.1", "-c2"], ["ping", "192.0.2.1", "-c2"]),
        (["ping6 2001:db8::1"], ["ping6", "2001:db8::1", "-c", "4"]),
        (["arping", "-I eth1", "192.0.2.1"], ["arping", "-I", "eth1", "192.0.2.1", "-c", "4"]),
        (["traceroute", "192.0.2.1"], ["traceroute", "192.0.2.1", "-m", "20"]),
        (["traceroute", "-m", "3", "192.0.2.1"], ["traceroute", "-m", "3", "192.0.2.1"]),
        (["ping", "it's"], ["ping", "it's", "-c", "4"]),
        (["ping", "a;reboot"], ["ping", "a;reboot", "-c", "4"]),
    ],
)
async def test_a_tool_gets_its_words_and_a_bound(words: list[str], argv: list[str]) -> None:
    runner = tool()
    await use_tool(words, runner=runner)
    assert runner.calls == [argv]


async def test_the_answer_has_what_the_server_splits() -> None:
    answer = await use_tool(["ping", "x"], runner=tool(" out \n", "odd && odd", 2))
    assert [part.strip() for part in answer.split("&&")] == ["out", "odd & & odd", "2"]


@pytest.mark.parametrize(
    "error", [ProgramMissingError("arping"), ProgramTimedOutError("arping", 300.0)]
)
async def test_a_tool_that_cannot_run_is_a_complaint(error: Exception) -> None:
    answer = await use_tool(["arping", "x"], runner=broken(error))
    stdout, stderr, status = (part.strip() for part in answer.split("&&"))
    assert stdout == ""
    assert "arping" in stderr
    assert status == "1"


@pytest.mark.parametrize("words", [[], ["reboot"], ["/bin/sh", "-c", "x"], ["../ping", "x"]])
async def test_other_programs_are_not_run(words: list[str]) -> None:
    runner = tool()
    answer = await use_tool(words, runner=runner)
    assert runner.calls == []
    assert len(answer.split("&&")) == 3
    assert answer.rstrip().endswith("1")
