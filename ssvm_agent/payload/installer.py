# SPDX-License-Identifier: Apache-2.0
"""Installing a bundle in a machine, and taking it back.

Theory of operation: a release is copied beside the others and checked before anything notices it.
Then the journal says *switched*, the links are turned, the outfit is placed and the agent is
started anew. If the new agent does not report a ready link in time, everything is turned back. The
journal is always ahead of the disk: whoever runs next after a cut-off run knows what to mend.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import json
import os
import platform
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.payload import journal, outfit, signature
from ssvm_agent.payload.errors import NothingToUndoError, PayloadError, WrongMachineError
from ssvm_agent.payload.journal import Record, Stage
from ssvm_agent.payload.manifest import Manifest, read_and_verify
from ssvm_agent.payload.places import Places, replace_file
from ssvm_agent.payload.services import Services

P = ParamSpec("P")
T = TypeVar("T")

# Thousands of small files on the slow disk of a small machine.
_COPY_DEADLINE_S: Final = 600.0
_LOOK_S: Final = 1.0
_READY: Final = "ready"
_UNFINISHED: Final = frozenset({Stage.STAGED, Stage.SWITCHED, Stage.UNDOING})


class Outcome(StrEnum):
    """How an installation ended."""

    INSTALLED = "installed"
    UNCHANGED = "unchanged"
    ROLLED_BACK = "rolled-back"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a run.

    Attributes:
        release: The release that is current now; None for the machine's own service.
        before: The one that was current when the run began.
        reason: Why it was rolled back; empty otherwise.
    """

    outcome: Outcome
    release: str | None
    before: str | None
    reason: str = ""


class Installer:
    """One machine to install in.

    Args:
        places: The machine.
        services: Its service manager.
        pool: Threads for its disk.
        clock: Times of the journal, and waiting.
        say: Told each step, in a few words.
    """

    def __init__(
        self,
        places: Places,
        services: Services,
        *,
        pool: WorkPool,
        clock: Clock,
        say: Callable[[str], None],
    ) -> None:
        self._places = places
        self._services = services
        self._pool = pool
        self._clock = clock
        self._say = say

    async def install(
        self, bundle: Path, *, confirm_within_s: float, trusted_key: Path | None = None
    ) -> Verdict:
        """Install an unpacked bundle.

        Args:
            bundle: Its directory; it may be removed afterwards.
            confirm_within_s: How long the new agent may take to reach a management server.
            trusted_key: Public key the bundle must be signed with; None asks for no signature.

        Raises:
            PayloadError: The bundle is refused, or another installation runs; nothing was changed.
            OSError: The disk refuses; everything is as it was.
        """
        async with self._alone():
            await self._mend()
            self._say("checking the bundle")
            manifest = await self._blocking(_check, bundle, trusted_key)
            release = manifest.release_name
            record = await self._begin(release)
            before = record.before
            self._tell_of_downgrade(before, release)
            if release != before:
                await self._note(record)
                await self._stage(bundle, record)
            elif not await self._blocking(outfit.place, self._places, self._home_of(release)):
                return Verdict(outcome=Outcome.UNCHANGED, release=release, before=before)
            return await self._switch(record, confirm_within_s)

    async def undo(self) -> Verdict:
        """Go back to the release before, or to the machine's own service.

        Raises:
            NothingToUndoError: Nothing is installed.
        """
        async with self._alone():
            await self._mend()
            current = await self._current()
            record = (await self._begin(current)).at(Stage.UNDOING, self._clock.now())
            await self._note(record)
            return await self._finish_undo(record)

    async def mend(self, *, confirm_within_s: float) -> Verdict | None:
        """Bring what a loss of power cut off to an end: what is complete gets its time to connect.

        Returns:
            What became of it; None when nothing was cut off.
        """
        async with self._alone():
            return await self._mend(confirm_within_s)

    async def place(self) -> list[str]:
        """Put the outfit of the current release back where something else was put over it."""
        home = self._home_of(await self._current())
        return await self._blocking(outfit.place, self._places, home)

    async def _stage(self, bundle: Path, record: Record) -> None:
        self._say(f"copying {record.release}")
        places = self._places
        try:
            staging = await self._blocking(places.stage, bundle, record.release)
            # What arrived on the disk is what was checked; and a unit that may not write cannot
            # compile later.
            await self._blocking(read_and_verify, staging)
            await self._blocking(_compile, staging)
            await self._blocking(places.admit, staging, record.release)
        except BaseException as error:
            # A disk that is full now may refuse the note as well; then the next run writes it.
            with contextlib.suppress(OSError):
                await self._drop_staged(record, str(error) or "the installation was interrupted")
            raise

    async def _drop_staged(self, record: Record, reason: str) -> None:
        """Forget a copy that nothing has used yet."""
        await self._blocking(self._places.drop_stagings)
        await self._blocking(self._places.prune)
        await self._note(record.at(Stage.ROLLED_BACK, self._clock.now(), reason))

    async def _switch(self, record: Record, confirm_within_s: float) -> Verdict:
        record = record.at(Stage.SWITCHED, self._clock.now())
        await self._note(record)
        self._say(f"switching to {record.release}")
        is_new = record.release != record.before
        previous = record.before if is_new else record.previous
        try:
            await self._turn(record.release, previous=previous)
            reason = await self._not_ready(record, confirm_within_s)
        except BaseException:
            with contextlib.suppress(Exception):
                await self._turn_back(record, "the installation was interrupted")
            raise
        return await (self._turn_back(record, reason) if reason else self._confirm(record))

    async def _confirm(self, record: Record) -> Verdict:
        await self._note(record.at(Stage.CONFIRMED, self._clock.now()))
        await self._blocking(self._places.prune)
        return Verdict(outcome=Outcome.INSTALLED, release=record.release, before=record.before)

    async def _turn_back(self, record: Record, reason: str) -> Verdict:
        self._say(f"going back: {reason}")
        await self._turn(record.before, previous=record.previous)
        await self._note(record.at(Stage.ROLLED_BACK, self._clock.now(), reason))
        await self._blocking(self._places.prune)
        return _rolled_back(record, reason)

    async def _finish_undo(self, record: Record) -> Verdict:
        before = record.previous
        await self._turn(before, previous=None)
        await self._note(record.at(Stage.UNDONE, self._clock.now()))
        await self._blocking(self._places.prune)
        return Verdict(outcome=Outcome.UNDONE, release=before, before=record.release)

    async def _turn(self, release: str | None, *, previous: str | None) -> None:
        """Make a release the current one (None: none of ours) and start what it brings."""
        places = self._places
        if release is None:
            own = await self._blocking(outfit.own_units, places)
            await self._services.disable([*own, *await self._blocking(_were_disabled, places)])
            await self._blocking(outfit.withdraw, places)
            await self._blocking(places.enablement.unlink, missing_ok=True)
            await self._blocking(places.switch, "current", None)
            await self._blocking(places.switch, "previous", None)
        else:
            await self._blocking(places.switch, "previous", previous)
            await self._blocking(places.switch, "current", release)
            await self._dress(release)
        await self._services.reload()
        await self._services.restart()

    async def _dress(self, release: str) -> list[str]:
        """Place and enable what a release brings; returns the paths that were changed."""
        places, home = self._places, self._home_of(release)
        units = await self._blocking(outfit.units, home)
        if not await self._blocking(places.enablement.exists):
            disabled = await self._services.disabled(units)
            await self._blocking(replace_file, places.enablement, json.dumps(disabled).encode())
        changed = await self._blocking(outfit.place, places, home)
        await self._services.enable(units)
        return changed

    async def _not_ready(self, record: Record, within_s: float) -> str:
        """Wait for the new agent's link; why it is not to be kept, or an empty text."""
        if not self._services.is_running:
            return ""
        self._say(f"waiting up to {within_s:g} s for the management server")
        end = self._clock.monotonic() + within_s
        last = "the agent did not start"
        while True:
            status = await self._word_of_the_successor(record)
            if status.get("state") == _READY:
                return ""
            if status:
                last = str(status.get("last_error") or f"the link is {status.get('state')}")
            if self._clock.monotonic() >= end:
                break
            await self._clock.sleep(_LOOK_S)
        return f"no management server was reached within {within_s:g} s: {last}"

    async def _mend(self, confirm_within_s: float = 0.0) -> Verdict | None:
        """Bring what a cut-off run began to an end."""
        record = await self._blocking(journal.read, self._places.journal)
        if record is None or record.stage not in _UNFINISHED:
            return None
        self._say(f"mending an installation that was cut off ({record.stage})")
        reason = "the installation was cut off"
        if record.stage is Stage.STAGED:
            await self._drop_staged(record, reason)
            return _rolled_back(record, reason)
        if record.stage is Stage.UNDOING:
            return await self._finish_undo(record)
        if await self._blocking(self._places.release, "current") != record.release:
            return await self._turn_back(record, reason)
        if await self._dress(record.release):
            await self._services.reload()
            await self._services.restart()
        if why := await self._not_ready(record, confirm_within_s):
            return await self._turn_back(record, f"{reason}; {why}")
        return await self._confirm(record)

    async def _word_of_the_successor(self, record: Record) -> dict[str, object]:
        """What the agent that runs now says of its link, unless it is the one to be replaced.

        The one on its way out may still write, and its last word outlives a loss of power. Times
        do not tell them apart: the clock of a machine may be set back.
        """
        runs = await self._services.invocation()
        status = await self._blocking(_read_status, self._places.link_status)
        is_it = runs not in {"", record.replaces} and status.get("invocation") == runs
        return status if is_it else {}

    async def _current(self) -> str:
        current = await self._blocking(self._places.release, "current")
        if current is None:
            raise NothingToUndoError("No agent of ours is installed here.")
        return current

    async def _begin(self, release: str) -> Record:
        runs = await self._services.invocation()
        return await self._blocking(journal.begin, release, self._places, self._clock.now(), runs)

    def _tell_of_downgrade(self, before: str | None, release: str) -> None:
        if before is not None and _order(release) < _order(before):
            self._say(f"this is a downgrade: {before} is newer than {release}")

    def _home_of(self, release: str) -> Path:
        return self._places.releases / release

    async def _note(self, record: Record) -> None:
        await self._blocking(journal.write, self._places.journal, record)

    async def _blocking(self, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        return await self._pool.call(work, *args, deadline_s=_COPY_DEADLINE_S, **more)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        lock = await self._blocking(_lock, self._places.home)
        try:
            yield
        finally:
            os.close(lock)


def _rolled_back(record: Record, reason: str) -> Verdict:
    return Verdict(
        outcome=Outcome.ROLLED_BACK, release=record.before, before=record.before, reason=reason
    )


def _were_disabled(places: Places) -> list[str]:
    """Units of the machine's own that were not started at boot before we came."""
    try:
        return [str(unit) for unit in json.loads(places.enablement.read_bytes())]
    except (OSError, ValueError):
        return []


def _lock(home: Path) -> int:
    """Take the lock of a machine's installation; closing the descriptor gives it back."""
    home.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise PayloadError("Another installation is running; wait for its end.") from error
    return descriptor


def _check(bundle: Path, trusted_key: Path | None) -> Manifest:
    if trusted_key is not None:
        signature.verify(bundle, trusted_key)
    manifest = read_and_verify(bundle)
    machine, python = platform.machine(), ".".join(platform.python_version_tuple()[:2])
    if manifest.architecture != machine:
        raise WrongMachineError(
            f"The bundle is for {manifest.architecture}, this machine is {machine}: deliver "
            f"ssvm-agent-{manifest.version}-{machine}.tar.gz."
        )
    if manifest.python != python:
        raise WrongMachineError(
            f"The bundle is for Python {manifest.python}, this machine has {python}: "
            "the system VM must be Debian 12."
        )
    return manifest


def _order(release: str) -> list[int]:
    """The numbers of a release's version, to tell which of two is newer."""
    return [int(number) for number in re.findall(r"\d+", release.rpartition("-")[0])]


def _compile(release: Path) -> None:
    """Compile every module, so that a start needs no writing and no compiling."""
    compileall.compile_dir(release / "lib", quiet=2, workers=1)


def _read_status(path: Path) -> dict[str, object]:
    try:
        status = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}
