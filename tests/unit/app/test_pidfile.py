# SPDX-License-Identifier: Apache-2.0
"""The pid file rules of agent-lifecycle.md 2.1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssvm_agent.app.pidfile import AlreadyRunningError, pid_file
from ssvm_agent.errors import ConfigError


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "agent.SecStorage.pid"


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_it_holds_our_pid_and_goes_away(file: Path) -> None:
    with pid_file(file):
        assert file.read_text() == f"{os.getpid()}\n"
        assert list(file.parent.iterdir()) == [file]
    assert not file.exists()


def test_none_is_held_without_a_path() -> None:
    with pid_file(None):
        pass


def test_a_dead_owner_is_replaced(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(f"{_dead_pid()}\n")
    with pid_file(file):
        assert file.read_text() == f"{os.getpid()}\n"


def test_our_own_number_from_an_earlier_boot_is_replaced(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(f"{os.getpid()}\n")
    with pid_file(file):
        assert file.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{os.getppid()}\n", "An agent is running already: process"),
        ("1\n", "process 1 holds"),
        ("", "does not hold a process id"),
        ("java\n", "does not hold a process id"),
    ],
)
def test_a_living_owner_or_nonsense_is_respected(file: Path, content: str, message: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(AlreadyRunningError, match=message), pid_file(file):
        pass
    assert file.read_text() == content
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_became_somebody_elses_stays(file: Path) -> None:
    with pid_file(file):
        file.write_text("1\n")
    assert file.read_text() == "1\n"


def test_a_number_no_process_can_have_is_dead(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("9" * 30)
    with pid_file(file):
        assert file.read_text() == f"{os.getpid()}\n"


def test_a_place_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match="cannot be written"),
        pid_file(tmp_path / "file" / "agent.pid"),
    ):
        pass
