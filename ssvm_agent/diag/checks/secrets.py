# SPDX-License-Identifier: Apache-2.0
"""Can nobody but root read the files that hold secrets (5.3.13)?"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped, warning

# Files with secrets outside the configuration directory (boot-and-system.md 2.9).
_FILES: Final = (
    Path("/var/cache/cloud/cmd_line.json"),
    Path("/etc/cloudstack/agent/ms-psk"),
    Path("/etc/ssl/private/cert_apache.key"),
)
# Readable for a group that has no members but servers.
_GROUP_READS: Final = frozenset({Path("/etc/ssl/private/cert_apache.key")})
_IN_CONF_DIR: Final = ("agent.properties", "cloud.key", "cloud.jks")
# Holds a secret only when a proxy with a password is set.
_OPERATORS: Final = Path("/etc/ssvm-agent/agent.yaml")


class SecretsCheck(Check):
    """The modes of files with secrets."""

    slug = "secrets"
    title = "files with secrets are private"

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        conf_dir = facts.settings.conf_dir
        paths = [*(conf_dir / name for name in _IN_CONF_DIR), *_FILES]
        if facts.settings.download.proxy:
            paths.append(_OPERATORS)
        modes = await facts.local.call(_modes, facts, paths)
        return judge(modes)


def judge(modes: Mapping[str, int]) -> list[Verdict]:
    """The verdicts.

    Args:
        modes: Permission bits of the files that are there.
    """
    found = []
    for path, mode in modes.items():
        how = f"ls -l {path}"
        remedy = f"chmod 600 {path}"
        group_may = stat.S_IRGRP if Path(path) in _GROUP_READS else 0
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            found.append(error(f"Any user can get at {path} (mode {mode:o}).", how, remedy))
        elif mode & stat.S_IRGRP & ~group_may:
            found.append(warning(f"A group can read {path} (mode {mode:o}).", how, remedy))
    if not modes:
        return [skipped("There are no files with secrets on this machine.")]
    return found or [ok(f"{len(modes)} files are private.", "ls -l of each")]


def _modes(facts: Facts, paths: Sequence[Path]) -> dict[str, int]:
    found = {}
    places = {str(path): facts.path(path) for path in paths}
    places[str(facts.boot_path)] = facts.boot_path
    for shown, path in places.items():
        try:
            found[shown] = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
    return found
