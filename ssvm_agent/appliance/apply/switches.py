# SPDX-License-Identifier: Apache-2.0
"""Switches of the running kernel that hold for the whole machine (blocking).

# Compat: boot-and-system.md 2.1 step 4 and 2.7: the image forwards packets, this machine does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ssvm_agent.appliance.apply.report import Item, Status

_WANTED: Final = {"net.ipv4.ip_forward": "0"}


def set_switches(proc: Path = Path("/proc"), *, dry_run: bool) -> tuple[Item, ...]:
    """Set what differs."""
    return tuple(_set(proc, name, value, dry_run=dry_run) for name, value in _WANTED.items())


def _set(proc: Path, name: str, value: str, *, dry_run: bool) -> Item:
    item, path = f"kernel {name}", proc / "sys" / name.replace(".", "/")
    try:
        current = path.read_text().strip()
        if current == value:
            return Item(name=item, status=Status.UNCHANGED)
        if not dry_run:
            path.write_text(value)
    except OSError as error:
        return Item(name=item, status=Status.FAILED, reason=error.strerror or str(error))
    status = Status.WOULD_CHANGE if dry_run else Status.CHANGED
    return Item(name=item, status=status, reason=f"it was {current}")
