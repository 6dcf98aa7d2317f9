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
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.payload.places import Places, drop_unfinished, replace_file, unfinished

_CURRENT: Final = "/opt/ssvm-agent/current"
_UNITS: Final = "etc/systemd/system"
_DROP_IN: Final = "50-ssvm-agent.conf"
_AGENT_UNIT: Final = "cloud.service"
# Ends what a loss of power cut off. First to come and last to go, started at boot by a link that is
# placed like a file: wherever a cut falls, it is there while anything of ours is.
_MEND_UNIT: Final = "ssvm-payload-mend.service"
_STARTED_AT_BOOT: Final = f"{_UNITS}/multi-user.target.wants/{_MEND_UNIT}"
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

# By path, in the order of placing.
Marks = dict[str, set[str]]


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
    mend = share / "systemd" / _MEND_UNIT
    # A release to go back to may be older than this unit.
    if mend.exists():
        yield Piece(path=f"{_UNITS}/{_MEND_UNIT}", data=mend.read_bytes(), mode=0o644)
        yield Piece(path=_STARTED_AT_BOOT, data=f"../{_MEND_UNIT}".encode(), mode=None)
    for unit in _overridden(release):
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
    return [path.name for path in _overridden(release)]


def own_units(places: Places) -> list[str]:
    """The units this machine has from us alone."""
    prefix = f"{_UNITS}/"
    names = (path.removeprefix(prefix) for path in _read_placed(places) if path.startswith(prefix))
    return sorted(name for name in names if "/" not in name and name != _MEND_UNIT)


def place(places: Places, release: Path) -> list[str]:
    """Put every piece of a release where it belongs; what is right already is not touched.

    What will be ours is written down before it is put there: a run that is cut off leaves nothing
    that the next one would take for the machine's own.

    Returns:
        Paths that were changed, below the machine's root.
    """
    placed = _read_placed(places)
    wanted = {
        piece.path: piece for piece in pieces(release) if not _must_give_way(places, piece, placed)
    }
    expected = {path: placed.get(path, set()) | {wanted[path].mark} for path in wanted}
    if {**placed, **expected} != placed:
        _write_placed(places, {**placed, **expected})
    for directory in _DIRECTORIES:
        (places.root / directory).mkdir(parents=True, exist_ok=True)
    changed = [path for path in placed if path not in wanted and _take_out(places, path, placed)]
    for path, piece in wanted.items():
        drop_unfinished(places.root / path)
        there = _mark_of(places.root / path)
        if there == piece.mark:
            continue
        if there is not None and there not in expected[path]:
            _keep(places, path)
        _put(places.root / path, piece)
        changed.append(path)
    marks = {path: {piece.mark} for path, piece in wanted.items()}
    if marks != _read_placed(places):
        _write_placed(places, marks)
    return changed


def withdraw(places: Places) -> list[str]:
    """Take every piece out again and put back what was there; what others changed since stays."""
    placed = _read_placed(places)
    changed = [path for path in reversed(placed) if _take_out(places, path, placed)]
    _write_placed(places, {})
    shutil.rmtree(places.originals, ignore_errors=True)
    return changed


def _overridden(release: Path) -> list[Path]:
    """The units the cloud's machines have as well."""
    return sorted(
        path for path in release.glob("share/systemd/*.service") if path.name != _MEND_UNIT
    )


def _must_give_way(places: Places, piece: Piece, placed: Marks) -> bool:
    """Whether the machine has a file of its own where ours is only a substitute."""
    if not piece.gives_way:
        return False
    there = _mark_of(places.root / piece.path)
    return there is not None and there not in placed.get(piece.path, set()) | {piece.mark}


def _take_out(places: Places, path: str, placed: Marks) -> bool:
    target, original = places.root / path, places.originals / path
    drop_unfinished(target)
    if _mark_of(target) not in placed[path]:
        return False
    if original.is_symlink() or original.exists():
        original.replace(target)
    else:
        target.unlink()
        # The directory of a drop-in or of a link, made for it.
        if target.parent.suffix in {".d", ".wants"}:
            with contextlib.suppress(OSError):
                target.parent.rmdir()
    return True


def _keep(places: Places, path: str) -> None:
    """Save a file of the machine's own; it is on disk when this returns."""
    target, original = places.root / path, places.originals / path
    original.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        original.unlink(missing_ok=True)
        original.symlink_to(target.readlink())
        return
    replace_file(original, target.read_bytes(), mode=stat.S_IMODE(target.stat().st_mode))


def _put(target: Path, piece: Piece) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if piece.mode is not None:
        replace_file(target, piece.data, mode=piece.mode)
        return
    fresh = unfinished(target)
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


def _read_placed(places: Places) -> Marks:
    """What is ours: path to the marks it may have."""
    try:
        document = json.loads((places.home / "placed.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(path): set(marks) for path, marks in document.items()}


def _write_placed(places: Places, placed: Marks) -> None:
    document = {path: sorted(marks) for path, marks in placed.items()}
    replace_file(places.home / "placed.json", json.dumps(document, indent=1).encode() + b"\n")


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
