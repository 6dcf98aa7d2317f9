# SPDX-License-Identifier: Apache-2.0
"""What ``install``, ``status`` and ``undo`` do on one system VM (docs/delivery.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ssvm_agent.delivery.bundle import Bundle
from ssvm_agent.delivery.detached import HOME, Detached, Ended
from ssvm_agent.delivery.errors import ConnectionLostError, RemoteError
from ssvm_agent.delivery.fleet import Stop
from ssvm_agent.delivery.keyfile import PrivateKey
from ssvm_agent.delivery.session import Door, Session
from ssvm_agent.delivery.targets import Target
from ssvm_agent.delivery.upload import upload
from ssvm_agent.host.clock import Clock

_OURS: Final = "/opt/ssvm-agent/current/bin/ssvm-payload"
_UNPACK_S: Final = 600.0
_UNDO_S: Final = 600.0
# Checking, copying and stopping the old agent, besides the time the new one gets to connect.
_INSTALL_S: Final = 900.0
_TRIES: Final = 5
_PAUSE_S: Final = 2.0
_ROLE: Final = "secstorage"

_FACTS: Final = f"""
free() {{
    place=$1
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    df -Pk "$place" | awk 'NR == 2 {{ print $4 }}'
}}
echo "architecture=$(uname -m)"
echo "python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
echo "free_var=$(free {HOME})"
echo "free_opt=$(free /opt)"
echo "type=$(tr ' ' '\\n' 2>/dev/null </var/cache/cloud/cmdline | sed -n 's/^type=//p' | head -n 1)"
echo "current=$(basename "$(readlink /opt/ssvm-agent/current)")"
flock -n {HOME}/lock true 2>/dev/null || [ ! -e {HOME}/lock ] || echo "running=yes"
"""
# $1 directory, $2 archive. Unpacked beside, so that a cut leaves nothing that looks complete.
_UNPACK: Final = """
set -eu
umask 022
cd "$1"
rm -rf unpacked.part unpacked
mkdir unpacked.part
tar -xzf "$2" -C unpacked.part --no-same-owner
mv unpacked.part unpacked
"""
# What nobody came back for within a day goes.
_MAKE: Final = f"""
set -eu
umask 077
mkdir -p "$1"
touch "$1"
find {HOME} -mindepth 1 -maxdepth 1 -type d -mtime +0 -exec rm -rf {{}} +
"""
_REMOVE: Final = 'rm -rf "$1"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A system VM and what it takes to work on it.

    Attributes:
        target: Where.
        key: To log in with.
        door: The way.
        clock: Time.
        stop: The operator's wish to end.
        note: Sees sentences about what happens.
        progress: Sees bytes sent and bytes in all.
    """

    target: Target
    key: PrivateKey
    door: Door
    clock: Clock
    stop: Stop
    note: Callable[[str], None]
    progress: Callable[[int, int], None]

    def detached(self, directory: str, command: list[str]) -> Detached:
        """A command there that does not need the connection."""
        return Detached(
            target=self.target,
            key=self.key,
            directory=directory,
            command=command,
            door=self.door,
            clock=self.clock,
            stop=self.stop,
            note=self.note,
            journal=_Journal(self.note).look,
        )


async def facts_of(session: Session) -> dict[str, str]:
    """What kind of machine it is, how much room it has, what is installed."""
    text = (await session.sh(_FACTS)).decode("utf-8", "replace")
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, _, value in pairs}


def unfit(bundle: Bundle, facts: dict[str, str]) -> str:
    """Why a bundle cannot be installed there; empty when it can."""
    if facts.get("type") not in ("", None, _ROLE):
        return f"it is no secondary storage VM: its boot text says type={facts['type']}"
    if facts.get("architecture") != bundle.architecture:
        return f"it is {facts.get('architecture')}, the bundle is for {bundle.architecture}"
    if facts.get("python") != bundle.python:
        return f"its Python is {facts.get('python') or 'missing'}, the bundle needs {bundle.python}"
    needs = {
        "free_var": ("/var", bundle.size_bytes + bundle.unpacked_bytes),
        "free_opt": ("/opt", bundle.unpacked_bytes),
    }
    for name, (place, size_bytes) in needs.items():
        if facts.get(name, "").isdigit() and int(facts[name]) * 1024 < size_bytes:
            return f"{place} has not enough room: {size_bytes / 2**20:.0f} MiB are needed"
    return ""


async def plan(place: Place, bundle: Bundle) -> str:
    """What :func:`install` would do; nothing is changed.

    Raises:
        DeliveryError: It would fail.
    """
    async with place.door.session(place.target, place.key) as session:
        facts = await facts_of(session)
    _must_fit(place, bundle, facts)
    now = f"release {facts['current']}" if facts.get("current") else "the stock agent"
    return (
        f"would send {bundle.size_bytes / 2**20:.1f} MiB and install {bundle.version} in place of"
        f" {now}"
    )


async def install(
    place: Place, bundle: Bundle, *, confirm_within_s: int, keep_staging: bool
) -> Ended:
    """Deliver a bundle and run its installer to the end.

    Raises:
        UnfinishedError: The end was not seen.
        DeliveryError: Nothing was installed.
    """
    directory = f"{HOME}/{bundle.sha256[:12]}"
    await _deliver(place, bundle, directory)
    place.note(f"installing {bundle.version}; it goes on even if the connection does not")
    command = [
        f"{directory}/unpacked/{bundle.top}/install",
        "--json",
        "--confirm-within",
        str(confirm_within_s),
    ]
    ended = await place.detached(directory, command).run(deadline_s=_INSTALL_S + confirm_within_s)
    if not keep_staging:
        await _clean(place, directory)
    return ended


async def undo(place: Place) -> Ended:
    """Go back to what ran before.

    Raises:
        RemoteError: Nothing of ours is installed.
        UnfinishedError: The end was not seen.
    """
    async with place.door.session(place.target, place.key) as session:
        if not (await facts_of(session)).get("current"):
            raise RemoteError(f"{place.target.name}: nothing of ours is installed")
    directory = f"{HOME}/undo"
    ended = await place.detached(directory, [_OURS, "undo", "--json"]).run(deadline_s=_UNDO_S)
    await _clean(place, directory)
    return ended


async def status(place: Place) -> dict[str, Any]:
    """What is installed, and whether something is being installed."""
    async with place.door.session(place.target, place.key) as session:
        facts = await facts_of(session)
        report: dict[str, Any] = {
            "installed": facts.get("current") or None,
            "installing": facts.get("running") == "yes",
            "payload": None,
        }
        if report["installed"]:
            outcome = await session.run([_OURS, "status", "--json"], deadline_s=60.0)
            report["payload"] = as_object(outcome.output)
            if report["payload"] is None:
                report["problem"] = outcome.said() or f"exit code {outcome.code}"
    return report


def as_object(text: bytes) -> dict[str, Any] | None:
    """The JSON object a program printed, if it did."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _must_fit(place: Place, bundle: Bundle, facts: dict[str, str]) -> None:
    if reason := unfit(bundle, facts):
        raise RemoteError(f"{place.target.name} cannot take this bundle: {reason}")


async def _deliver(place: Place, bundle: Bundle, directory: str) -> None:
    """Send and unpack, going on after broken connections."""
    archive = f"{directory}/bundle.tar.gz"
    for attempt in range(1, _TRIES + 1):
        try:
            async with place.door.session(place.target, place.key) as session:
                facts = await facts_of(session)
                if facts.get("running") == "yes":
                    # It is followed if it is this bundle, and refused if it is not.
                    return
                _must_fit(place, bundle, facts)
                await session.sh(_MAKE, directory)
                await upload(
                    session, bundle.path, archive, sha256=bundle.sha256, progress=place.progress
                )
                await session.sh(_UNPACK, directory, archive, deadline_s=_UNPACK_S)
                return
        except ConnectionLostError as error:
            if attempt == _TRIES or place.stop.wanted:
                raise
            place.note(f"{error.for_operators()}; going on")
            await place.clock.sleep(_PAUSE_S)


async def _clean(place: Place, directory: str) -> None:
    """Remove what was delivered; what cannot be removed now is, by the next delivery."""
    try:
        async with place.door.session(place.target, place.key) as session:
            await session.sh(_REMOVE, directory)
    except (ConnectionLostError, RemoteError) as error:
        place.note(f"{directory} could not be removed: {error}")


class _Journal:
    """Tells how far the installer is, whenever that changes."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._last: str | None = None

    def look(self, text: str) -> None:
        """One reading of the journal."""
        content = as_object(text.encode()) or {}
        stage = " ".join(
            str(content[name]) for name in ("stage", "release", "reason") if content.get(name)
        )
        # What is there at first may be of an earlier installation.
        if self._last is not None and stage and stage != self._last:
            self._note(stage)
        self._last = stage
