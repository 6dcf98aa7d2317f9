# SPDX-License-Identifier: Apache-2.0
"""The status of the link over time."""

from __future__ import annotations

from ssvm_agent.link.errors import ConnectError, Step
from ssvm_agent.link.status import LinkState, LinkStatus, StatusBoard
from tests.fakes.manual_clock import ManualClock


def test_a_failure_is_remembered_until_ready() -> None:
    """requirements R1: the first failing step, in one sentence."""
    board = StatusBoard(ManualClock(), None, host_id=None)
    board.failed(ConnectError("No.", step=Step.DNS))
    board.failed(ConnectError("Still no.", step=Step.TCP))
    assert (board.status.failing_step, board.status.last_error) == (Step.TCP, "Still no.")
    assert board.status.failures == 2
    board.set(LinkState.CONNECTING, server="a")
    assert board.status.last_error == "Still no."
    board.ready(5)
    assert not board.status.failing_step
    assert not board.status.last_error
    assert (board.status.failures, board.status.host_id) == (0, 5)
    assert board.status.is_ready


def test_the_time_of_a_state_is_when_it_was_entered() -> None:
    clock = ManualClock()
    board = StatusBoard(clock, None, host_id=None)
    begin = clock.now()
    clock.advance(10)
    board.set(LinkState.DISCONNECTED, server="a")
    assert board.status.since == begin
    board.set(LinkState.CONNECTING)
    assert (board.status.since - begin).total_seconds() == 10


def test_a_second_startup_answer_does_not_undo_ready() -> None:
    """agent-lifecycle.md 2.4."""
    board = StatusBoard(ManualClock(), None, host_id=None)
    board.accepted(60)
    assert board.status.state is LinkState.SETTING_UP
    board.ready(5)
    board.accepted(30)
    assert (board.status.state, board.status.ping_interval_s) == (LinkState.READY, 30)


def test_a_ready_without_an_id_keeps_the_known_one() -> None:
    board = StatusBoard(ManualClock(), None, host_id=7)
    board.ready(None)
    assert board.status.host_id == 7


def test_every_change_is_told() -> None:
    told: list[LinkStatus] = []
    board = StatusBoard(ManualClock(), told.append, host_id=None)
    board.set(LinkState.CONNECTING)
    board.ready(1)
    assert [status.state for status in told] == [LinkState.CONNECTING, LinkState.READY]
