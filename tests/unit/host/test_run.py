# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssvm_agent.host.errors import (
    ProgramFailedError,
    ProgramMissingError,
    ProgramNotStartedError,
    ProgramTimedOutError,
)
from ssvm_agent.host.run import ResourceLimits, SystemRunner
from tests.fakes.machine import until

runner = SystemRunner()


async def python(code: str, *arguments: str, **options: object) -> bytes:
    result = await runner.run(
        [sys.executable, "-I", "-c", code, *arguments],
        **{"deadline_s": 30, **options},  # type: ignore[arg-type]
    )
    return result.stdout


async def test_arguments_reach_the_program_without_a_shell() -> None:
    odd = "a b; $HOME `id` 'x"
    assert (await python("import sys; print(sys.argv[1])", odd)).decode().strip() == odd


async def test_the_environment_is_ours_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "1")
    out = await python("import os; print(sorted(os.environ))", env={"EXTRA": "1"})
    assert b"SECRET_OF_THE_PARENT" not in out
    assert b"EXTRA" in out
    assert b"LC_ALL" in out


async def test_input_is_handed_over_and_ended() -> None:
    out = await python("import sys; print(len(sys.stdin.read()))", input=b"x" * 300_000)
    assert out == b"300000\n"


async def test_a_program_may_leave_its_input_unread() -> None:
    assert await python("print(1)", input=b"x" * 3_000_000) == b"1\n"


async def test_failure_carries_status_and_last_words_but_no_arguments() -> None:
    with pytest.raises(ProgramFailedError, match="exit status 3: the reason") as caught:
        await python(
            "import sys; sys.stderr.write('the\\n reason'); sys.exit(3)", "a-secret-argument"
        )
    assert caught.value.returncode == 3
    assert caught.value.output == "the reason"
    assert "a-secret-argument" not in str(caught.value)


async def test_the_status_is_returned_when_not_checked() -> None:
    result = await runner.run(["false"], deadline_s=10, check=False)
    assert result.returncode == 1
    assert result.text == ""


async def test_a_signal_is_named() -> None:
    with pytest.raises(ProgramFailedError, match="signal 9"):
        await python("import os; os.kill(os.getpid(), 9)")


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProgramMissingError, match="none-such-program"):
        await runner.run(["none-such-program"], deadline_s=10)


async def test_a_program_that_may_not_run_is_not_called_missing(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(ProgramNotStartedError, match="tool cannot be started: Permission denied"):
        await runner.run([program], deadline_s=10)


@pytest.mark.parametrize("no_network", [False, pytest.param(True, marks=pytest.mark.needs_root)])
async def test_behind_limits_the_same_is_said(tmp_path: Path, no_network: bool) -> None:
    limits = ResourceLimits(cpu_s=5, no_network=no_network)
    with pytest.raises(ProgramMissingError, match="none-such-program"):
        await runner.run(["none-such-program"], deadline_s=10, limits=limits, check=False)
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(ProgramNotStartedError, match="tool cannot be started: Permission denied"):
        await runner.run([program], deadline_s=10, limits=limits)
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    with pytest.raises(ProgramFailedError, match="tool failed with exit status 127"):
        await runner.run([program], deadline_s=10, limits=limits)


@pytest.mark.needs_root
async def test_what_applies_limits_is_named_when_it_is_missing(tmp_path: Path) -> None:
    path = {"PATH": str(tmp_path)}
    with pytest.raises(ProgramMissingError, match="prlimit"):
        await runner.run(["/bin/true"], deadline_s=10, limits=ResourceLimits(cpu_s=5), env=path)
    (tmp_path / "unshare").symlink_to("/usr/bin/unshare")
    with pytest.raises(ProgramMissingError, match="prlimit"):
        await runner.run(
            ["/bin/true"], deadline_s=10, limits=ResourceLimits(no_network=True), env=path
        )


async def test_a_machine_without_dev_null_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_argv: object, **_options: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.devnull)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(ProgramNotStartedError, match="/dev/null is missing; mknod"):
        await runner.run(["true"], deadline_s=10)


async def test_output_is_bounded_and_read_to_its_end() -> None:
    code = "import sys; sys.stdout.write('x' * 1000000)"
    result = await runner.run([sys.executable, "-c", code], deadline_s=30, max_output_bytes=1000)
    assert result.stdout == b"x" * 1000
    assert result.truncated


async def test_at_the_deadline_the_whole_group_ends(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "child = os.fork()\n"
        "if child: open(sys.argv[1], 'w').write(str(child))\n"
        "time.sleep(60)"
    )
    with pytest.raises(ProgramTimedOutError, match="within 1 seconds"):
        await python(code, str(tmp_path / "pid"), deadline_s=1)
    child = int((tmp_path / "pid").read_text())
    await until(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_a_program_that_ignores_the_polite_signal_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ssvm_agent.host.run._TERMINATE_GRACE_S", 0.2)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    with pytest.raises(ProgramTimedOutError):
        await python(code, deadline_s=0.5)


async def test_cancelling_ends_the_program(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    task = asyncio.create_task(python(code, str(marker)))
    await until(lambda: marker.exists() and marker.read_text())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not _runs(int(marker.read_text()))


async def test_limits_hold(tmp_path: Path) -> None:
    limits = ResourceLimits(
        address_space_bytes=1 << 30, cpu_s=10, file_size_bytes=1000, open_files=50
    )
    code = (
        "import resource as r\n"
        "for k in (r.RLIMIT_AS, r.RLIMIT_CPU, r.RLIMIT_FSIZE, r.RLIMIT_NOFILE, r.RLIMIT_CORE):\n"
        "    print(r.getrlimit(k)[0])"
    )
    out = await python(code, limits=limits)
    assert out.split() == [b"1073741824", b"10", b"1000", b"50", b"0"]


@pytest.mark.needs_root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
async def test_a_program_without_network_sees_no_interface_of_ours() -> None:
    code = "print(open('/proc/self/net/dev').read())"
    out = await python(code, limits=ResourceLimits(no_network=True))
    assert b"eth" not in out
