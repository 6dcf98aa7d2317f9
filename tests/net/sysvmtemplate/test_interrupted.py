# SPDX-License-Identifier: Apache-2.0
"""The command as a process of its own, stopped and killed at each step."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.fixtures.mariadb import PASSWORD, USER, MariaDb
from tests.fixtures.nginx import ServeDirectory
from tests.fixtures.system_templates import SystemTemplates
from tests.net.sysvmtemplate.conftest import Install, properties_of, tree

pytestmark = [pytest.mark.needs("qemu-img", "mariadbd"), pytest.mark.timeout(120)]

WORK = ".cloud-install-sys-tmplt"
_RUN: Final = "import sys; from ssvm_agent.sysvmtemplate.cli import main; sys.exit(main())"
# Before or after a function has done its work, the process is gone.
_RUN_AND_DIE: Final = """
import importlib, os, signal, sys
module, name, when = sys.argv.pop(1).rsplit(":", 2)
owner = importlib.import_module(module)
*path, name = name.split(".")
for part in path:
    owner = getattr(owner, part)
real = getattr(owner, name)
def deadly(*args, **kwargs):
    if when == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, deadly)
from ssvm_agent.sysvmtemplate.cli import main
sys.exit(main())
"""

Command = Callable[..., list[str]]


@pytest.fixture
def command(store: Path, mariadb: MariaDb) -> Command:
    """The words of the command on the store and the database."""

    def words(*more: object) -> list[str]:
        return [
            "-m", str(store), "-h", "kvm", "-t", "3", "-o", "127.0.0.1", "-p", str(mariadb.port),
            "-r", USER, "-d", PASSWORD, *map(str, more),
        ]  # fmt: skip

    return words


@pytest.fixture
def installed(
    install: Install, command: Command, system_templates: SystemTemplates, store: Path
) -> dict[str, bytes]:
    """A template that is there already."""
    assert install(*command("-f", system_templates.of("kvm"))[2:]).code == 0
    return tree(store)


STEPS: Final = {
    "before anything came in": "ssvm_agent.sysvmtemplate.workspace:Workspace.clear:before",
    "while it is written": "ssvm_agent.ingest.stage:Stage.finish:before",
    "when it is complete": "ssvm_agent.sysvmtemplate.installer:complete:after",
    "before it is moved": "ssvm_agent.sysvmtemplate.sites:place:before",
    "when it has been moved": "ssvm_agent.sysvmtemplate.sites:place:after",
    "before the database": "ssvm_agent.sysvmtemplate.database:TemplateTable.update:before",
    "after the database": "ssvm_agent.sysvmtemplate.database:TemplateTable.update:after",
    "before the lock is given back": "ssvm_agent.sysvmtemplate.workspace:StoreLock.release:before",
}
# Only once the database has it, the new template is the template.
NEW_FROM: Final = list(STEPS).index("after the database")


@pytest.mark.parametrize("step", [*STEPS])
def test_killed_at_any_step_a_template_works_and_the_next_run_cleans_up(
    install: Install, command: Command, installed: dict[str, bytes], store: Path,
    system_templates: SystemTemplates, mariadb: MariaDb, step: str,
) -> None:  # fmt: skip
    words = command("-f", system_templates.of("kvm"), "-F")
    ended = subprocess.run([sys.executable, "-c", _RUN_AND_DIE, STEPS[step], *words], check=False)
    assert ended.returncode == -signal.SIGKILL
    found = properties_of(store, 3)
    image = store / "template/tmpl/1/3" / found["filename"]
    assert str(image.stat().st_size) == found["size"]
    # Without -F the next run puts right what it finds, and then sees a template.
    again = install(*command("-f", system_templates.of("kvm"))[2:])
    assert again.code == 5
    assert not (store / WORK).exists()
    uuid, _ = mariadb.row(3)
    assert properties_of(store, 3)["filename"] == f"{uuid}.qcow2"
    assert len(tree(store)) == 2
    assert (tree(store) == installed) is (list(STEPS).index(step) < NEW_FROM)


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_downloads_it_leaves_nothing(
    command: Command, installed: dict[str, bytes], store: Path,
    system_templates: SystemTemplates, serve_directory: ServeDirectory, number: signal.Signals,
) -> None:  # fmt: skip
    template = system_templates.disk("qcow2")
    url = serve_directory(system_templates.root, bytes_per_second=1_000_000).url(template)
    with start(command("-u", url, "-F")) as process:
        grow(store)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "Interrupted" in errors
    assert tree(store) == installed
    assert not (store / WORK).exists()


@pytest.mark.needs("nginx")
def test_two_at_once_do_not_meet(
    install: Install, command: Command, store: Path,
    system_templates: SystemTemplates, serve_directory: ServeDirectory,
) -> None:  # fmt: skip
    template = system_templates.disk("qcow2")
    url = serve_directory(system_templates.root, bytes_per_second=1_000_000).url(template)
    with start(command("-u", url)) as process:
        grow(store)
        ended = install(*command("-f", template)[2:])
        process.terminate()
        process.communicate(timeout=30)
    assert ended.code == 11
    assert "is being installed" in ended.err
    assert not (store / WORK).exists()


def test_a_lock_left_by_a_killed_process_is_none(
    install: Install, command: Command, store: Path, system_templates: SystemTemplates
) -> None:
    (store / WORK).mkdir()
    lock = store / WORK / "3.lock"
    lock.touch()
    held = os.open(lock, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    words = command("-f", system_templates.of("kvm"))[2:]
    assert install(*words).code == 11
    os.close(held)
    assert install(*words).code == 0


def start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def grow(store: Path, deadline_s: float = 30) -> None:
    """Return once something has come in."""
    ends_s = time.monotonic() + deadline_s
    while not any(path.stat().st_size for path in growing(store)):
        assert time.monotonic() < ends_s
        time.sleep(0.02)


def growing(store: Path) -> Iterator[Path]:
    return (store / WORK / "3/new").glob("dnld*")
