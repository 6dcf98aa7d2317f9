# SPDX-License-Identifier: Apache-2.0
"""From parsed options to the jobs: builds what they need, and turns results into exit codes."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ssvm_agent.delivery import keys_jobs, rotation_state
from ssvm_agent.delivery.access import Access, Deadlines
from ssvm_agent.delivery.console import Console
from ssvm_agent.delivery.errors import KeyFileError, UsageError
from ssvm_agent.delivery.fleet import Result, Stop
from ssvm_agent.delivery.keyfile import PrivateKey, PublicKey, load_private, load_public
from ssvm_agent.delivery.keys_jobs import Equipment
from ssvm_agent.delivery.knownhosts import KnownHosts
from ssvm_agent.delivery.options import Exit, state_directory
from ssvm_agent.delivery.rotation_state import RotationState
from ssvm_agent.delivery.session import Door
from ssvm_agent.delivery.targets import Target, parse_target, read_targets, without_repeats
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.pools import WorkPool


def door_of(options: argparse.Namespace, *, at_a_time: int = 1) -> Door:
    """The way to system VMs that the options describe. Blocking.

    Raises:
        DeliveryError: The key of the jump host cannot be used.
    """
    known_hosts = KnownHosts(
        options.known_hosts or state_directory() / "known_hosts",
        trust_new=options.trust_new_host_key,
        record=not getattr(options, "dry_run", False),
    )
    access = Access(
        known_hosts=known_hosts,
        jump_key=load_private(options.jump_key) if options.jump_key else None,
        jump_host_key=options.jump_host_key,
        deadlines=Deadlines(connect_s=options.connect_timeout),
    )
    # One for the work on each, and one for what is asked on the side.
    return Door(access, WorkPool("system VMs", threads=2 * at_a_time))


def targets_of(options: argparse.Namespace) -> list[Target]:
    """The system VMs that the options name. Blocking.

    Raises:
        UsageError: There is none, or something is wrong with one.
    """
    targets = [parse_target(host, jump=options.jump) for host in options.hosts]
    if options.targets:
        targets += read_targets(options.targets, jump=options.jump)
    targets = without_repeats(targets)
    if options.host_key:
        if len(targets) > 1:
            raise UsageError("--host-key is about one system VM; write host-key=… into the file")
        only = targets[0]
        targets = [Target(address=only.address, jump=only.jump, host_key=options.host_key)]
    if not options.jump_key and any(target.jump for target in targets):
        raise UsageError("--jump needs --jump-key")
    return targets


async def rotate(options: argparse.Namespace, console: Console, stop: Stop) -> int:
    """``keys rotate``."""
    disk = WorkPool("local disk", threads=1)
    old, new = [await disk.call(load_private, file) for file in (options.old_key, options.new_key)]
    equipment = await disk.call(_equipment, options, console, stop, disk)
    facts = {
        "old": old.public.fingerprint,
        "new": new.public.fingerprint,
        "dry_run": options.dry_run,
    }
    if options.dry_run:
        state = await disk.call(_state, options, None, old=old, new=new)
        results = await keys_jobs.preview(state, old=old, new=new, equipment=equipment)
        return _report(console, results, facts)
    path = options.resume or options.state or _default_state(old, new)
    with ExitStack() as stack:
        await disk.call(stack.enter_context, rotation_state.locked(path))
        state = await disk.call(_state, options, path, old=old, new=new)
        console.note(f"state of this run: {path}")
        results = await keys_jobs.rotate(state, old=old, new=new, equipment=equipment)
    if state.unfinished():
        console.note(
            "Where it failed, the old key is still there unless said otherwise. Go on with:"
            f" ssvm-deliver keys rotate --old-key {old.path} --new-key {new.path} --resume {path}"
        )
    return _report(console, results, {**facts, "state": os.fspath(path)})


async def inject(options: argparse.Namespace, console: Console, stop: Stop) -> int:
    """``keys inject``."""
    disk = WorkPool("local disk", threads=1)
    key = await disk.call(load_private, options.key)
    addition, proof = await disk.call(_addition, options.add_key)
    results = await keys_jobs.inject(
        await disk.call(targets_of, options),
        key=key,
        addition=addition,
        proof=proof,
        dry_run=options.dry_run,
        equipment=await disk.call(_equipment, options, console, stop, disk),
    )
    facts = {"added": addition.fingerprint, "dry_run": options.dry_run}
    return _report(console, results, facts)


def _addition(path: Path) -> tuple[PublicKey, PrivateKey | None]:
    """The key in a public key file, or both parts from a private one."""
    try:
        return load_public(path), None
    except KeyFileError:
        key = load_private(path)
        return key.public, key


def _equipment(
    options: argparse.Namespace, console: Console, stop: Stop, disk: WorkPool
) -> Equipment:
    return Equipment(
        door=door_of(options, at_a_time=options.parallel),
        disk=disk,
        clock=SystemClock(),
        at_a_time=options.parallel,
        stop=stop,
        show=console.show,
    )


def _state(
    options: argparse.Namespace, path: Path | None, *, old: PrivateKey, new: PrivateKey
) -> RotationState:
    if not options.resume:
        return keys_jobs.new_state(path, targets_of(options), old=old, new=new)
    if options.hosts or options.targets or options.state:
        raise UsageError("--resume names the system VMs by itself")
    return rotation_state.load(
        options.resume, old=old.public.fingerprint, new=new.public.fingerprint
    )


def _default_state(old: PrivateKey, new: PrivateKey) -> Path:
    names = "-".join(
        "".join(filter(str.isalnum, key.public.fingerprint))[6:14] for key in (old, new)
    )
    return state_directory() / f"rotation-{names}.json"


def _report(console: Console, results: list[Result], facts: dict[str, Any]) -> int:
    code = Exit.DONE if all(one.ok for one in results) else Exit.FAILED
    console.results(results, code=code, facts=facts)
    return code
