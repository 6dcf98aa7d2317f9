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


def test_a_number_another_program_has_in_this_boot_is_replaced(file: Path) -> None:
    """A power cut leaves the file behind; agent-lifecycle.md 2.1 speaks of living agents."""
    file.parent.mkdir()
    file.write_text("1\n")
    with pid_file(file):
        assert file.read_text() == f"{os.getpid()}\n"


def test_the_number_of_a_thread_of_an_agent_is_no_agent_s(file: Path) -> None:
    """After a power cut it is often a thread of the very agent that starts."""
    file.parent.mkdir()
    program = "import threading; t = threading.Thread(target=input); t.start(); print(t.native_id)"
    with subprocess.Popen(
        [sys.executable, "-uc", program, "ssvm-agent", "run"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        file.write_bytes(process.stdout.readline())
        with pid_file(file):
            assert file.read_text() == f"{os.getpid()}\n"
        process.communicate(b"\n")


@pytest.mark.parametrize("content", ["", "\0\0\0\0"])
def test_a_file_whose_content_a_power_cut_took_is_replaced(file: Path, content: str) -> None:
    file.parent.mkdir()
    file.write_text(content)
    with pid_file(file):
        assert file.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    "words",
    [["com.cloud.agent.AgentShell"], ["/opt/bin/ssvm-agent", "run"], ["ssvm_agent", "run"]],
)
def test_a_living_agent_is_respected(file: Path, words: list[str]) -> None:
    """Also one that holds no lock: the stock one, and our own before it had one."""
    file.parent.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", "input()", *words], stdin=subprocess.PIPE
    ) as process:
        file.write_text(f"{process.pid}\n")
        with (
            pytest.raises(AlreadyRunningError, match=f"process {process.pid} holds"),
            pid_file(file),
        ):
            pass
        assert file.read_text() == f"{process.pid}\n"
        assert list(file.parent.iterdir()) == [file]
        process.communicate(b"\n")


def test_an_agent_that_holds_the_file_is_known_by_its_lock(file: Path) -> None:
    """Whatever its program is called, and wherever its number counts."""
    with (
        pid_file(file),
        pytest.raises(AlreadyRunningError, match=f"process {os.getpid()} holds"),
        pid_file(file),
    ):
        pass
    assert not file.exists()


def test_nonsense_is_respected(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("java\n")
    with pytest.raises(AlreadyRunningError, match="does not hold a process id"), pid_file(file):
        pass
    assert file.read_text() == "java\n"
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
