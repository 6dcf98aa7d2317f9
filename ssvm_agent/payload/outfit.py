# SPDX-License-Identifier: Apache-2.0
"""What a release puts into the machine outside its own directory: units, scripts, links.

The cloud's own payload is unpacked over some of these paths, at deliveries and at live patches
(boot-and-system.md 4.5). So the units are overridden by drop-ins, which such an archive does not
hold, and :func:`place` is run again before each start of the agent. What stood in the way is kept,
and comes back with :func:`withdraw`. Blocking.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.host.files import atomic_write
from ssvm_agent.payload.places import Places

_CURRENT: Final = "/opt/ssvm-agent/current"
_UNITS: Final = "etc/systemd/system"
_DROP_IN: Final = "50-ssvm-agent.conf"
_AGENT_UNIT: Final = "cloud.service"
# Settings that add up; an empty one forgets what the unit below said.
_FORGOTTEN: Final = (
    "ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost",
    "Environment", "EnvironmentFile", "WorkingDirectory", "PIDFile",
)  # fmt: skip
# Programs for operators, also for those whose PATH knows nothing of us.
_COMMANDS: Final = ("ssvm-agent", "ssvm-check", "ssvm-payload")
# The confinement of cloud.service lets it write to these if they exist (systemd/cloud.service).
_DIRECTORIES: Final = (
    "etc/cloudstack/agent", "mnt/SecStorage", "usr/local/cloud/systemvm/conf", "var/cache/cloud",
    "usr/local/share/ca-certificates/cloudstack", "var/www/html",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One file or link to be in the machine.

    Attributes:
        path: Below the machine's root.
        data: Content; for a link, where it points to.
        mode: Permission bits; None for a link.
        gives_way: Whether a file of the machine's own is left as it is.
    """

    path: str
    data: bytes
    mode: int | None
    gives_way: bool = False

    @property
    def mark(self) -> str:
        """Tells this piece from whatever else has its path."""
        return _mark(self.data, is_link=self.mode is None)


def pieces(release: Path) -> Iterator[Piece]:
    """Everything a release puts into the machine."""
    share = release / "share"
    for unit in sorted(share.glob("systemd/*.service")):
        text = unit.read_text()
        yield Piece(path=f"{_UNITS}/{unit.name}", data=text.encode(), mode=0o644, gives_way=True)
        yield Piece(
            path=f"{_UNITS}/{unit.name}.d/{_DROP_IN}",
            data=_drop_in(unit.name, text).encode(),
            mode=0o644,
        )
    for folder in ("tmpfiles.d", "logrotate.d"):
        for file in sorted(share.glob(f"systemd/{folder}/*")):
            yield Piece(path=f"etc/{folder}/{file.name}", data=file.read_bytes(), mode=0o644)
    system_vm = share / "system-vm"
    for file in sorted(path for path in system_vm.rglob("*") if path.is_file()):
        path = str(file.relative_to(system_vm))
        yield Piece(path=path, data=file.read_bytes(), mode=0o755)
    for command in _COMMANDS:
        target = f"{_CURRENT}/bin/{command}"
        yield Piece(path=f"usr/local/bin/{command}", data=target.encode(), mode=None)


def units(release: Path) -> list[str]:
    """The units to be enabled."""
    return sorted(path.name for path in release.glob("share/systemd/*.service"))


def place(places: Places, release: Path) -> list[str]:
    """Put every piece of a release where it belongs; what is right already is not touched.

    Returns:
        Paths that were changed, below the machine's root.
    """
    placed = _read_placed(places)
    wanted = {piece.path: piece for piece in pieces(release)}
    changed = [path for path in placed if path not in wanted and _take_out(places, path, placed)]
    for directory in _DIRECTORIES:
        (places.root / directory).mkdir(parents=True, exist_ok=True)
    marks: dict[str, str] = {}
    for path, piece in wanted.items():
        there = _mark_of(places.root / path)
        foreign = there is not None and there not in {piece.mark, placed.get(path)}
        if foreign and piece.gives_way:
            continue
        marks[path] = piece.mark
        if there == piece.mark:
            continue
        if foreign:
            _keep(places, path)
        _put(places.root / path, piece)
        changed.append(path)
    if marks != placed:
        _write_placed(places, marks)
    return changed


def withdraw(places: Places) -> list[str]:
    """Take every piece out again and put back what was there; what others changed since stays."""
    placed = _read_placed(places)
    changed = [path for path in placed if _take_out(places, path, placed)]
    _write_placed(places, {})
    shutil.rmtree(places.originals, ignore_errors=True)
    return changed


def _take_out(places: Places, path: str, placed: dict[str, str]) -> bool:
    target, original = places.root / path, places.originals / path
    if _mark_of(target) != placed[path]:
        return False
    if original.is_symlink() or original.exists():
        original.replace(target)
    else:
        target.unlink()
        # The directory of a drop-in, made for it.
        if target.parent.suffix == ".d":
            with contextlib.suppress(OSError):
                target.parent.rmdir()
    return True


def _keep(places: Places, path: str) -> None:
    original = places.originals / path
    original.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        original.unlink()
    shutil.copy2(places.root / path, original, follow_symlinks=False)


def _put(target: Path, piece: Piece) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if piece.mode is not None:
        if target.is_symlink():
            target.unlink()
        atomic_write(target, piece.data, mode=piece.mode)
        return
    fresh = target.with_name(f".{target.name}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(piece.data.decode())
    fresh.replace(target)


def _mark_of(path: Path) -> str | None:
    if path.is_symlink():
        return _mark(str(path.readlink()).encode(), is_link=True)
    try:
        return _mark(path.read_bytes(), is_link=False)
    except FileNotFoundError:
        return None


def _mark(data: bytes, *, is_link: bool) -> str:
    return ("link:" if is_link else "file:") + hashlib.sha256(data).hexdigest()


def _read_placed(places: Places) -> dict[str, str]:
    try:
        marks = json.loads((places.home / "placed.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(path): str(mark) for path, mark in marks.items()}


def _write_placed(places: Places, marks: dict[str, str]) -> None:
    atomic_write(places.home / "placed.json", json.dumps(marks, indent=1).encode() + b"\n")


def _drop_in(name: str, text: str) -> str:
    """A drop-in that turns any unit of that name into ours."""
    body = text.partition("[Install]")[0]
    before_service, service, rest = body.partition("[Service]\n")
    lines = [f"{setting}=" for setting in _FORGOTTEN]
    if name == _AGENT_UNIT:
        # The cloud's own payload may have been unpacked over our files.
        lines.append(f"ExecStartPre=-+{_CURRENT}/bin/ssvm-payload place")
    head, unit, dependencies = before_service.partition("[Unit]\n")
    return (
        f"{head}{unit}ConditionPathExists=\n{dependencies}{service}"
        + "\n".join(lines)
        + f"\n{rest}"
    )
