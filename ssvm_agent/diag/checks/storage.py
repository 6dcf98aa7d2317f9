# SPDX-License-Identifier: Apache-2.0
"""Are the stores mounted as they should be, alive, writable, and is there room (5.3.6)?

Each store is looked at in threads of its own, which are left behind when the server is dead: a
store that hangs is a verdict here, never a reason to hang.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ssvm_agent.diag.check import Check
from ssvm_agent.diag.facts import Facts
from ssvm_agent.diag.store_trial import Trial, try_store
from ssvm_agent.diag.stores import kind_of, listed_servers, store_mounts
from ssvm_agent.diag.verdict import Verdict, error, ok, skipped, warning
from ssvm_agent.host.errors import PoolError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.storage.mounts import MountEntry

TRIAL_DEADLINE_S: Final = 10.0
_LOW_SHARE: Final = 0.10
_FULL_SHARE: Final = 0.02
# What makes dates of files useless for people; TLS and signatures break at some minutes.
_MAX_SKEW_S: Final = 30.0
_NOBODY: Final = frozenset({65534, 4294967294})
_EXPORT: Final = (
    "Export the path read-write with no_root_squash to this machine's storage (or management)"
    " address."
)
_STALE: Final = frozenset({errno.ESTALE, errno.ENOTCONN, errno.EIO, errno.EHOSTDOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFinding:
    """What came of looking at one store.

    Attributes:
        mount: Its entry in the mount table.
        trial: What trying it brought; ``None`` when it did not come back.
        problem: Why it did not; empty when it did.
    """

    mount: MountEntry
    trial: Trial | None = None
    problem: str = ""


class StorageCheck(Check):
    """Every mounted store."""

    slug = "storage"
    title = "stores are mounted, alive and writable"
    deadline_s = 30.0

    async def run(self, facts: Facts) -> Sequence[Verdict]:
        """See :class:`Check`."""
        mounted = store_mounts(await facts.mounts(), facts.settings.mount_root)
        if not mounted:
            return [judge_none(facts)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(look(mount)) for mount in mounted]
        found: list[Verdict] = []
        for task in tasks:
            found += judge(task.result(), facts.settings.nfs_version)
        return found


def judge_none(facts: Facts) -> Verdict:
    """The verdict when no store is mounted."""
    how = f"grep {facts.settings.mount_root} /proc/self/mountinfo"
    if facts.agent.stores:
        return ok("The stores the agent knows need no mount.", "ssvm-agent status")
    if not listed_servers(facts.boot):
        return skipped("No store is mounted, and the boot text names no storage server.")
    if facts.agent.is_connected:
        return error(
            "The agent is connected, but no store is mounted.",
            how,
            "See the agent's log for the mount that failed (journalctl -u cloud | grep mount), and"
            " ssvm-check storage-servers routes; the agent mounts again at the next command.",
        )
    return error(
        "No store is mounted, because no management server has asked for one yet.",
        how,
        "Let the agent connect first: ssvm-check management-servers agent.",
    )


async def look(mount: MountEntry, deadline_s: float = TRIAL_DEADLINE_S) -> StoreFinding:
    """Try one store, in a thread that may never come back."""
    pool = WorkPool(f"the store at {mount.mount_point}", threads=1)
    try:
        trial = await pool.call(try_store, mount, deadline_s=deadline_s)
    except PoolError as problem:
        return StoreFinding(mount=mount, problem=problem.message)
    finally:
        pool.close()
    return StoreFinding(mount=mount, trial=trial)


def judge(finding: StoreFinding, nfs_version: str | None) -> list[Verdict]:
    """The verdicts on one store."""
    mount, trial = finding.mount, finding.trial
    name = f"The store {mount.source}"
    if trial is None:
        return [
            error(
                f"{name} hangs: {finding.problem}.",
                f"a file written below {mount.mount_point}",
                "Check the file server and the way to it (ssvm-check storage-servers path-mtu)."
                " The mount comes back with the server; after five minutes of silence the agent"
                f" detaches it by itself, at once by: umount -f -l {mount.mount_point}",
            )
        ]
    if trial.error_number:
        return [_failed(name, mount, trial)]
    found = [*_version(name, mount, nfs_version), *_room(name, mount, trial)]
    found += [*_ownership(name, mount, trial), *_skew(mount, trial)]
    version = f", version {mount.version}" if mount.version else ""
    free = f"{trial.free_bytes / (1 << 30):.0f} GiB free"
    return found or [
        ok(
            f"{name} is alive and writable ({mount.file_system}{version}, {free}).",
            f"a file written, read, renamed and removed below {mount.mount_point}",
        )
    ]


def _failed(name: str, mount: MountEntry, trial: Trial) -> Verdict:
    number = trial.error_number
    how = f"{trial.step} below {mount.mount_point}"
    reason = os.strerror(number)
    match number:
        case _ if number in _STALE:
            return error(
                f"{name} is stale: {reason}.",
                how,
                "The export went away or came back as another file system. The agent mounts it"
                f" anew at the next command; at once by: umount -l {mount.mount_point}",
            )
        case errno.EACCES | errno.EPERM:
            return error(f"{name} cannot be written by root: {reason}.", how, _EXPORT)
        case errno.EROFS:
            return error(f"{name} is read-only.", how, f"{_EXPORT} Then unmount it here.")
        case errno.ENOSPC | errno.EDQUOT:
            return error(
                f"{name} is full: {reason}.",
                how,
                "Delete templates, snapshots or volumes nobody needs in CloudStack, or enlarge the"
                " store; ssvm-agent orphans lists what CloudStack does not know.",
            )
        case _:
            return error(
                f"{name} does not work: {trial.step} failed: {reason}.",
                how,
                "See the log of the file server, and dmesg here.",
            )


def _version(name: str, mount: MountEntry, wanted: str | None) -> list[Verdict]:
    got = mount.version
    if kind_of(mount) != "nfs" or not wanted or not got or _matches(wanted, got):
        return []
    return [
        warning(
            f"{name} is mounted with NFS version {got}; set is {wanted}.",
            "grep nfs /proc/mounts",
            "Versions take effect at a new mount: destroy the system VM after changing"
            " secstorage.nfs.version.",
        )
    ]


def _matches(wanted: str, got: str) -> bool:
    # "4" leaves the minor version to the two sides.
    return got == wanted or (wanted == "4" and got.startswith("4")) or f"{got}.0" == wanted


def _room(name: str, mount: MountEntry, trial: Trial) -> list[Verdict]:
    found = []
    kinds = (
        ("space", trial.free_bytes, trial.total_bytes),
        ("inodes", trial.free_inodes, trial.total_inodes),
    )
    for what, free, total in kinds:
        if not total or free / total >= _LOW_SHARE:
            continue
        make = error if free / total < _FULL_SHARE else warning
        found.append(
            make(
                f"{name} has {100 * free / total:.0f} % of its {what} left.",
                f"df {'-i ' if what == 'inodes' else ''}{mount.mount_point}",
                "Delete templates, snapshots or volumes nobody needs in CloudStack, or enlarge or"
                " add a store.",
            )
        )
    return found


def _ownership(name: str, mount: MountEntry, trial: Trial) -> list[Verdict]:
    if kind_of(mount) != "nfs" or trial.owner not in _NOBODY:
        return []
    return [
        warning(
            f"{name} makes root somebody else (root_squash): files belong to user {trial.owner}.",
            f"ls -ln of a file written below {mount.mount_point}",
            f"{_EXPORT} Hypervisors must read and write the same files.",
        )
    ]


def _skew(mount: MountEntry, trial: Trial) -> list[Verdict]:
    if abs(trial.skew_s) <= _MAX_SKEW_S:
        return []
    ahead = "ahead of" if trial.skew_s > 0 else "behind"
    return [
        warning(
            f"The clock of {mount.source} is {abs(trial.skew_s):.0f} s {ahead} this machine's.",
            f"the date of a file written below {mount.mount_point}",
            "Let both keep time by NTP (ssvm-check clock for this side).",
        )
    ]
