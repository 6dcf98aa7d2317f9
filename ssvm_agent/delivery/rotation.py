# SPDX-License-Identifier: Apache-2.0
"""Exchange of the key on one running system VM (boot-and-system.md 3.2; docs/adr/0081).

Theory of operation: the new key is added beside the old one; a fresh login proves that it works;
that very login removes the old key, and stays open until another one has proved that all is well.
If it cannot be proved, the open login puts the old key back. Each step may be done again: where to
begin is seen from which keys the system VM accepts and what its file holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from ssvm_agent.delivery import keys_file
from ssvm_agent.delivery.authorized_keys import positions, with_key, without_key
from ssvm_agent.delivery.errors import (
    ConnectionLostError,
    DeliveryError,
    LoginRefusedError,
    UnreachableError,
)
from ssvm_agent.delivery.keyfile import PrivateKey
from ssvm_agent.delivery.rotation_state import Phase
from ssvm_agent.delivery.session import Door, Session
from ssvm_agent.delivery.targets import Target
from ssvm_agent.host.clock import Clock

# Whether a login works is asked again when only the connection failed.
_TRIES: Final = 3
_PAUSE_S: Final = 1.0

Report = Callable[[Phase], Awaitable[None]]


class Rotation:
    """The exchange of one key for another.

    Args:
        old: The key that goes.
        new: The key that comes.
        door: The way to system VMs.
        clock: Time between tries.
    """

    def __init__(self, old: PrivateKey, new: PrivateKey, *, door: Door, clock: Clock) -> None:
        self._old = old
        self._new = new
        self._door = door
        self._clock = clock

    async def preview(self, target: Target) -> str:
        """What :meth:`run` would do; nothing is changed.

        Raises:
            DeliveryError: It could not be found out, or would fail.
        """
        try:
            async with self._door.session(target, self._old) as session:
                text = await keys_file.read(session)
        except LoginRefusedError:
            await self._must_be_rotated(target)
            return "nothing to do: the new key is in place, the old one is refused"
        old, new = (positions(text, key.public) for key in (self._old, self._new))
        add = f"the new key is in line {new[0]} already" if new else "would add the new key"
        if not old:
            raise DeliveryError(_OLD_ELSEWHERE)
        lines = ", ".join(map(str, old))
        return f"{add}, verify it, then remove the old one (line {lines})"

    async def run(self, target: Target, report: Report) -> str:
        """Exchange the keys; a sentence about what was done.

        A broken connection is no failure yet: all is looked at anew and gone on with.

        Raises:
            DeliveryError: It failed. The old key still works unless the phase says ``removing``,
                and the new one works if it says ``verified`` or more.
        """
        for _ in range(_TRIES - 1):
            try:
                return await self._run(target, report)
            except ConnectionLostError:
                await self._clock.sleep(_PAUSE_S)
        return await self._run(target, report)

    async def _run(self, target: Target, report: Report) -> str:
        try:
            async with self._door.session(target, self._old) as session:
                await self._add(session)
        except LoginRefusedError:
            await self._must_be_rotated(target)
            await report(Phase.DONE)
            return "the new key is in place, the old one is removed and refused"
        await report(Phase.ADDED)
        async with self._login_anew(target) as session:
            if not await session.works():
                raise DeliveryError("the new key logs in but cannot run commands")
            await report(Phase.VERIFIED)
            await self._remove(session, report)
        await report(Phase.DONE)
        return "new key in place and verified, old key removed and refused"

    async def _add(self, session: Session) -> None:
        def edit(text: bytes) -> bytes:
            if not positions(text, self._old.public):
                raise DeliveryError(_OLD_ELSEWHERE)
            return with_key(text, self._new.public, beside=self._old.public)

        await keys_file.change(session, edit)

    @asynccontextmanager
    async def _login_anew(self, target: Target) -> AsyncIterator[Session]:
        try:
            async with self._door.session(target, self._new) as session:
                yield session
        except LoginRefusedError as error:
            raise DeliveryError(
                "the new key was added but is not accepted; the old one was left alone",
                detail=error.for_operators(),
            ) from error

    async def _remove(self, session: Session, report: Report) -> None:
        """Remove the old key over a login with the new one, prove it, or put it back."""
        target = session.target
        await report(Phase.REMOVING)
        before, after = await keys_file.change(
            session, lambda text: without_key(text, self._old.public, keeping=self._new.public)
        )
        try:
            await self._prove(target)
        except BaseException as error:
            # Also when interrupted: a removal that is not proved right does not stay.
            await self._put_back(session, before, after, error)
            await report(Phase.VERIFIED)
            raise

    async def _prove(self, target: Target) -> None:
        if await self._asked(target, self._old):
            raise DeliveryError(_OLD_ELSEWHERE)
        if not await self._asked(target, self._new):
            raise DeliveryError("the new key is not accepted any more")

    async def _put_back(
        self, session: Session, before: bytes, after: bytes, error: BaseException
    ) -> None:
        def edit(text: bytes) -> bytes:
            if text == after:
                return before
            return with_key(text, self._old.public, beside=self._new.public)

        try:
            await keys_file.change(session, edit)
        except DeliveryError as trouble:
            raise DeliveryError(
                "the old key may be removed and could not be put back; the new one worked just"
                " before. Run again with --resume",
                detail=f"{error}; {trouble.for_operators()}",
            ) from error

    async def _asked(self, target: Target, key: PrivateKey) -> bool:
        """Whether a fresh login works; a broken connection is no answer."""
        for _ in range(_TRIES - 1):
            try:
                return await self._door.accepts(target, key)
            except (ConnectionLostError, UnreachableError):
                await self._clock.sleep(_PAUSE_S)
        return await self._door.accepts(target, key)

    async def _must_be_rotated(self, target: Target) -> None:
        """The old key is refused: make sure that the new one is in place."""
        try:
            async with self._door.session(target, self._new) as session:
                text = await keys_file.read(session)
        except LoginRefusedError as error:
            raise LoginRefusedError(
                "neither the old nor the new key is accepted", detail=error.detail
            ) from error
        if positions(text, self._old.public):
            raise DeliveryError(
                "the old key is refused although authorized_keys holds it; look at its options"
            )


_OLD_ELSEWHERE: Final = (
    "the old key is accepted from elsewhere than authorized_keys (AuthorizedKeysFile or"
    " AuthorizedKeysCommand of its sshd); both keys stay"
)
