# SPDX-License-Identifier: Apache-2.0
"""A command in a system VM that goes on when the SSH connection does not.

Theory of operation: the command is started by systemd (or in a session of its own where there is
none) and leaves its output and its exit code in files. Whoever started it looks at them, over as
many connections as it takes. A lock makes it one such command at a time; who comes while one runs
in the same directory follows that one. Nothing is started twice: a start carries a token.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ssvm_agent.delivery.errors import (
    ConflictError,
    ConnectionLostError,
    DeliveryError,
    RemoteError,
    UnfinishedError,
    UnreachableError,
)
from ssvm_agent.delivery.fleet import Stop
from ssvm_agent.delivery.keyfile import PrivateKey
from ssvm_agent.delivery.session import Door, Session
from ssvm_agent.delivery.targets import Target
from ssvm_agent.host.clock import Clock

# Where everything delivered lies, in the system VM.
HOME: Final = "/var/lib/ssvm-agent/delivery"
JOURNAL: Final = "/var/lib/ssvm-agent/payload.json"
_POLL_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 10.0
# A program that was started but does not show up for so many looks never will.
_IDLE_LOOKS: Final = 10

# $1 directory, $2 token, then the command.
_START: Final = f"""
set -eu
umask 077
base=$1 token=$2
shift 2
mkdir -p "$base"
cd "$base"
exec 8>start.lock
flock -w 20 8
[ "$(cat run/token 2>/dev/null)" != "$token" ] || {{ echo started; exit 0; }}
exec 9>>{HOME}/lock
if ! flock -n 9; then
    if [ "$(cat {HOME}/lock)" = "$base" ]; then echo joined; exit 0; fi
    echo "busy $(cat {HOME}/lock)"
    rm -f start.lock
    rmdir "$base" 2>/dev/null || :
    exit 0
fi
exec 9>&-
rm -rf run
mkdir run
cat >run/go
printf %s "$token" >run/token
sync run/go run/token run
if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; then
    systemd-run --quiet --collect --unit="ssvm-deliver-$token" /bin/sh "$base/run/go" "$base" "$@"
else
    setsid /bin/sh "$base/run/go" "$base" "$@" </dev/null >/dev/null 2>&1 8>&- &
fi
echo started
"""
_GO: Final = f"""
umask 022
base=$1
shift
cd "$base" || exit 1
exec 9>>{HOME}/lock
flock -n 9 || exit 0
printf %s "$base" >{HOME}/lock
: >run/begun
code=0
"$@" >run/output 2>run/errors </dev/null 9>&- || code=$?
printf '%s\\n' "$code" >run/exit.part
sync run/output run/errors run/exit.part
mv run/exit.part run/exit
sync run
"""
# $1 directory. The lock is looked at first: an exit code that comes in between is then seen.
_LOOK: Final = f"""
cd "$1" 2>/dev/null || {{ echo gone; exit 0; }}
flock -n {HOME}/lock true 2>/dev/null && free=yes || free=no
if [ -s run/exit ]; then echo "ended $(cat run/exit)"
elif [ $free = no ]; then echo running
elif [ -e run/begun ]; then echo broken
else echo idle
fi
tr -d '\\n' <{JOURNAL} 2>/dev/null || :
"""
_SAID: Final = 'head -c 1000000 "$1/run/$2"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the command ended."""

    code: int
    output: bytes
    errors: bytes


@dataclass(slots=True, kw_only=True)
class Detached:
    """One command.

    Attributes:
        target: Where.
        key: To log in with.
        directory: For its files, below ``HOME``.
        command: Program and arguments.
        door: The way.
        clock: Time.
        stop: The operator's wish to end: it is then left alone.
        note: Sees sentences about the connection.
        journal: Sees the text of the payload's journal whenever it was looked at.
    """

    target: Target
    key: PrivateKey
    directory: str
    command: Sequence[str]
    door: Door
    clock: Clock
    stop: Stop
    note: Callable[[str], None]
    journal: Callable[[str], None] = lambda _: None
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    _started: bool = False
    _idle: int = 0

    async def run(self, *, deadline_s: float) -> Ended:
        """Start it and see it end.

        Raises:
            ConflictError: Something else is being installed there.
            RemoteError: It was killed in the middle.
            UnfinishedError: Its end was not seen; it may go on.
            DeliveryError: It was not started.
        """
        until, pause, told = self.clock.monotonic() + deadline_s, _POLL_S, False
        while True:
            try:
                async with self.door.session(self.target, self.key) as session:
                    if told:
                        self.note("connected again")
                    pause, told = _POLL_S, False
                    return await self._follow(session, until)
            except (ConnectionLostError, UnreachableError) as error:
                if not told:
                    self.note(f"{error.for_operators()}; trying again")
                told = True
                self._must_go_on(until, error)
            await self.clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _follow(self, session: Session, until: float) -> Ended:
        if not self._started:
            await self._start(session)
        while True:
            state, _, journal = (
                (await session.sh(_LOOK, self.directory)).decode("utf-8", "replace").partition("\n")
            )
            self.journal(journal)
            if state.startswith("ended "):
                output, errors = [
                    await session.sh(_SAID, self.directory, name) for name in ("output", "errors")
                ]
                return Ended(code=int(state.split()[1]), output=output, errors=errors)
            self._judge(state)
            self._must_go_on(until, None)
            await self.clock.sleep(_POLL_S)

    async def _start(self, session: Session) -> None:
        answer = await session.sh(
            _START, self.directory, self.token, *self.command, stdin=_GO.encode()
        )
        words = answer.decode("utf-8", "replace").split()
        if words[:1] == ["busy"]:
            raise ConflictError(
                f"{self.target.name}: something else is being installed", detail=" ".join(words[1:])
            )
        if words == ["joined"]:
            self.note("it runs already; following it")
        self._started = True

    def _judge(self, state: str) -> None:
        self._idle = self._idle + 1 if state in ("idle", "broken") else 0
        if state == "gone":
            raise UnfinishedError(f"{self.target.name}: {self.directory} is gone; ask for status")
        if self._idle >= _IDLE_LOOKS:
            broken = "was killed, or the system VM restarted" if state == "broken" else "never ran"
            raise RemoteError(f"{self.target.name}: {self.command[0]} {broken}; run again")

    def _must_go_on(self, until: float, error: DeliveryError | None) -> None:
        late = self.clock.monotonic() >= until
        if not late and not self.stop.wanted:
            return
        if error is not None and not self._started:
            # It may have been started by the very request that was cut.
            raise UnfinishedError(
                f"{self.target.name} is out of reach; ask for status", detail=error.for_operators()
            ) from error
        why = "has not ended in time" if late else "is left alone"
        raise UnfinishedError(
            f"{self.target.name}: {self.command[0]} {why}; it goes on. Ask for status"
        ) from error
