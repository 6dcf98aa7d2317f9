# SPDX-License-Identifier: Apache-2.0
"""What ``keys rotate`` and ``keys inject`` do on all their system VMs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from ssvm_agent.delivery import keys_file, rotation_state
from ssvm_agent.delivery.authorized_keys import positions, with_key
from ssvm_agent.delivery.errors import DeliveryError, UsageError
from ssvm_agent.delivery.fleet import Result, Stop, on_each
from ssvm_agent.delivery.keyfile import PrivateKey, PublicKey
from ssvm_agent.delivery.rotation import Rotation
from ssvm_agent.delivery.rotation_state import Phase, Record, RotationState
from ssvm_agent.delivery.session import Door
from ssvm_agent.delivery.targets import Target
from ssvm_agent.host.clock import Clock
from ssvm_agent.host.pools import WorkPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What all jobs share.

    Attributes:
        door: The way to system VMs.
        disk: Threads for files of this machine.
        clock: Time.
        at_a_time: System VMs in work at the same time.
        stop: The operator's wish to end.
        show: Sees each result as it comes.
    """

    door: Door
    disk: WorkPool
    clock: Clock
    at_a_time: int
    stop: Stop
    show: Callable[[Result], None]


def new_state(
    path: Path | None, targets: list[Target], *, old: PrivateKey, new: PrivateKey
) -> RotationState:
    """The state of a run that begins. Blocking.

    Raises:
        UsageError: The keys are one, or the file belongs to a run that has not ended.
    """
    prints = {"old": old.public.fingerprint, "new": new.public.fingerprint}
    if prints["old"] == prints["new"]:
        raise UsageError("The old and the new key are the same")
    if path is not None and path.exists() and rotation_state.load(path, **prints).unfinished():
        raise UsageError(f"{path} is of a run that has not ended; go on with --resume {path}")
    records = {target.name: Record(target=target) for target in targets}
    return RotationState(path=path, records=records, **prints)


async def rotate(
    state: RotationState, *, old: PrivateKey, new: PrivateKey, equipment: Equipment
) -> list[Result]:
    """Exchange the keys on all system VMs of the run that are not done.

    Raises:
        DeliveryError: The state file cannot be written.
    """
    rotation = Rotation(old, new, door=equipment.door, clock=equipment.clock)

    async def one(target: Target) -> Result:
        record = state.records[target.name]
        if record.phase is Phase.DONE:
            return Result(name=target.name, ok=True, code="done", message="done in an earlier run")

        async def report(phase: Phase) -> None:
            record.phase = phase
            await equipment.disk.call(state.save, equipment.clock.now())

        try:
            message = await rotation.run(target, report)
        except DeliveryError as error:
            record.message = error.message
            await report(record.phase)
            raise
        return Result(name=target.name, ok=True, code="done", message=message)

    await equipment.disk.call(state.save, equipment.clock.now())
    return await _each(state, one, equipment)


async def preview(
    state: RotationState, *, old: PrivateKey, new: PrivateKey, equipment: Equipment
) -> list[Result]:
    """What :func:`rotate` would do; nothing is changed anywhere."""
    rotation = Rotation(old, new, door=equipment.door, clock=equipment.clock)

    async def one(target: Target) -> Result:
        message = await rotation.preview(target)
        return Result(name=target.name, ok=True, code="planned", message=message)

    return await _each(state, one, equipment)


async def _each(
    state: RotationState, one: Callable[[Target], Awaitable[Result]], equipment: Equipment
) -> list[Result]:
    targets = [record.target for record in state.records.values()]
    return await on_each(
        targets,
        one,
        at_a_time=equipment.at_a_time,
        stop=equipment.stop,
        show=equipment.show,
    )


async def inject(
    targets: list[Target],
    *,
    key: PrivateKey,
    addition: PublicKey,
    proof: PrivateKey | None,
    dry_run: bool,
    equipment: Equipment,
) -> list[Result]:
    """Add a key with another one; with its private part at hand, prove that it works."""

    async def one(target: Target) -> Result:
        async with equipment.door.session(target, key) as session:
            if dry_run:
                present = positions(await keys_file.read(session), addition)
                message = "is there already" if present else "would be added"
                return Result(name=target.name, ok=True, code="planned", message=message)
            before, after = await keys_file.change(session, lambda text: with_key(text, addition))
        message = "was there already" if before == after else "added"
        if proof is not None:
            if not await equipment.door.accepts(target, proof):
                raise DeliveryError(f"{message}, but a login with it does not work")
            message += ", and logs in"
        return Result(name=target.name, ok=True, code="done", message=message)

    return await on_each(
        targets, one, at_a_time=equipment.at_a_time, stop=equipment.stop, show=equipment.show
    )
