# SPDX-License-Identifier: Apache-2.0
"""Rules of docs/architecture.md that no linter of ours knows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "ssvm_agent").rglob("*.py"))
OURS = [*PACKAGE, *sorted((ROOT / "tests").rglob("*.py"))]
MAX_LINES = 600
# Each of these costs the daemon memory and time at the start; whoever needs one imports it late.
HEAVY = ("aiohttp", "paramiko", "cryptography", "pyroute2", "rich", "zstandard", "isal", "yaml")


def offenders(paths: list[Path], is_bad: Callable[[str], object]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths if is_bad(path.read_text())]


def test_every_file_names_its_licence() -> None:
    line = "# SPDX-License-Identifier: Apache-2.0\n"
    assert offenders(OURS, lambda text: not text.startswith(line)) == []


def test_no_module_is_too_long() -> None:
    assert offenders(PACKAGE, lambda text: len(text.splitlines()) > MAX_LINES) == []


def test_nothing_is_left_for_later() -> None:
    words = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b")
    assert offenders(PACKAGE, words.search) == []


def test_packages_re_export_nothing() -> None:
    own = re.compile(r"^(?:import|from) ssvm_agent", re.MULTILINE)
    assert offenders([path for path in PACKAGE if path.name == "__init__.py"], own.search) == []


def test_the_link_and_the_messages_import_nothing_heavy() -> None:
    program = (
        "import sys, ssvm_agent.link.supervisor, ssvm_agent.messages.catalogue\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], text=True, cwd=ROOT)
    assert printed.strip() == "[]"
