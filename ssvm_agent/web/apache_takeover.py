# SPDX-License-Identifier: Apache-2.0
"""Makes the public ports of the machine's Apache ours: what else listens is taken out.

Debian's own files listen on ports 80 and 443 of every address. Apache cannot listen there and on
the public address besides, and would not start. It knows nothing of what we serve.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

from ssvm_agent.host.files import atomic_write
from ssvm_agent.web.apache_files import ApacheLayout

_LISTENS: Final = re.compile(rb"^\s*Listen\b", re.IGNORECASE | re.MULTILINE)
_PORTS: Final = b"# Emptied by ssvm-agent: the ports are in sites-enabled.\n"


def take_over(layout: ApacheLayout, address: str) -> bool:
    """Remove every site but ours, and the ports that belong to them (blocking).

    Compat: boot-and-system.md 2.6. ``ports.conf`` stays, without a word in it: the main file of
    Debian's Apache does not load when it is missing.

    Returns:
        Whether anything was there, so that Apache must let go of sockets it holds.
    """
    ours = layout.site(address)
    strangers = [path for path in _entries(ours.parent) if path != ours]
    for path in strangers:
        path.unlink()
    ports = layout.conf_dir / "ports.conf"
    with contextlib.suppress(FileNotFoundError):
        if _LISTENS.search(ports.read_bytes()):
            atomic_write(ports, _PORTS, mode=0o644)
            return True
    return bool(strangers)


def _entries(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_symlink() or path.is_file()]
    except FileNotFoundError:
        return []
