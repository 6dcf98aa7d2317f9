# SPDX-License-Identifier: Apache-2.0
"""The command, run in this process, and a look at what it left on a store."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.sysvmtemplate.cli import main


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """A hardened host; the command sets its own."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of the test run says about proxies does not count."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "CLOUD_DB_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A mounted store."""
    path = tmp_path / "secondary"
    path.mkdir(mode=0o755)
    return path


@dataclass(slots=True)
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        read: dict[str, Any] = json.loads(self.out)
        return read


Install = Callable[..., Ended]


@pytest.fixture
def install(store: Path, capfd: pytest.CaptureFixture[str]) -> Install:
    """Run the command on the store; further words are options."""

    def run(*words: object) -> Ended:
        capfd.readouterr()
        code = main(["-m", str(store), *map(str, words)])
        out, err = capfd.readouterr()
        return Ended(code, out, err)

    return run


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def properties_of(store: Path, template_id: int) -> dict[str, str]:
    """The lines of the properties file, in their order."""
    text = (store / f"template/tmpl/1/{template_id}/template.properties").read_text("latin-1")
    return dict(line.split("=", 1) for line in text.splitlines())
