# SPDX-License-Identifier: Apache-2.0
"""``ssvm-agent orphans``: what lies on a store and no properties file or job explains.

Reads only: nothing is mounted, made or removed. A network store is read where it is mounted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssvm_agent.errors import AgentError

if TYPE_CHECKING:
    from ssvm_agent.storage.orphans import Orphan
    from ssvm_agent.storage.stores import Store

_DESCRIPTION: Final = """\
Reports what lies on a store and is explained by no properties file and no job of this agent:
temporaries that stopped growing, installations that never ended, files beside images, images that
are missing, empty directories. Nothing is changed; whether something may go is for you to decide.
Exit code 0: everything is explained, 1: something is reported, 2: the store cannot be read.
"""


class NotReadableError(AgentError):
    """The store cannot be found on this machine."""

    code = "not-readable"


def add(subcommands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = subcommands.add_parser(
        "orphans", help="report what is unexplained on a store", description=_DESCRIPTION
    )
    parser.add_argument(
        "--store", required=True, metavar="PATH_OR_URL",
        help="a directory, or the URL of a store that is mounted by the agent",
    )  # fmt: skip
    parser.add_argument(
        "--min-age", type=_hours, default=24.0, metavar="HOURS",
        help="what changed since then may be at work and is not reported (default: 24)",
    )  # fmt: skip
    parser.add_argument(
        "--mount-root", type=Path, default=Path("/mnt/SecStorage"), metavar="DIRECTORY",
        help="where the agent mounts stores (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--state-dir", type=Path, default=Path("/var/lib/ssvm-agent"), metavar="DIRECTORY",
        help="where it keeps its jobs (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as a JSON array, for programs")
    parser.set_defaults(handle=handle)


def handle(options: argparse.Namespace) -> int:
    """Look and print."""
    from ssvm_agent.app.exits import ExitCode
    from ssvm_agent.storage.errors import StorageError

    try:
        found = asyncio.run(_find(options))
    except (StorageError, NotReadableError) as error:
        print(f"ssvm-agent: {error.for_operators()}", file=sys.stderr)
        return ExitCode.USAGE
    if options.json:
        print(json.dumps([as_object(orphan) for orphan in found], indent=1))
    else:
        _print(found)
    return ExitCode.FAILED if found else ExitCode.DONE


def as_object(orphan: Orphan) -> dict[str, object]:
    """A finding for programs."""
    return {
        "kind": orphan.kind.value,
        "path": orphan.path,
        "size_bytes": orphan.size_bytes,
        "modified": orphan.modified.isoformat(timespec="seconds"),
        "owner": orphan.owner or None,
    }


async def _find(options: argparse.Namespace) -> list[Orphan]:
    from ssvm_agent.host.clock import SystemClock
    from ssvm_agent.host.pools import WorkPool
    from ssvm_agent.ingest.journal import Journal
    from ssvm_agent.storage.orphans import find_orphans

    pool = WorkPool("this machine's files", threads=1)
    try:
        store = await pool.call(_open, options.store, options.mount_root)
        jobs = await Journal(options.state_dir / "jobs", pool).load()
        try:
            return await find_orphans(
                store,
                now=SystemClock().now(),
                min_age=timedelta(hours=options.min_age),
                active_jobs=[job.job_id for job in jobs if job.interrupted],
            )
        finally:
            store.close()
    finally:
        pool.close()


def _open(place: str, mount_root: Path) -> Store:
    """The store as it is; blocking.

    Raises:
        NotReadableError: It is no directory, or not mounted here.
        UnsupportedStoreError: The URL cannot be used.
    """
    from ssvm_agent.storage.layout import (
        local_directory_name,
        mount_directory_name,
        parse_store_url,
    )
    from ssvm_agent.storage.mounts import find_mount
    from ssvm_agent.storage.resolver import first_address
    from ssvm_agent.storage.stores import Store, StoreRef

    if "://" not in place:
        place = Path(place).absolute().as_uri()
    url = parse_store_url(place)
    if url.scheme == "file":
        root, name = Path(url.path), local_directory_name(url.path)
        if not root.is_dir():
            raise NotReadableError(f"{root} is not a directory")
        return Store(StoreRef(url=place), root, name, url=url, address="")
    try:
        address = first_address(url.host)
    except OSError as error:
        raise NotReadableError(f"{url.host} cannot be resolved", detail=str(error)) from error
    name = mount_directory_name(address, url.path)
    root = mount_root / name
    if find_mount(root) is None:
        raise NotReadableError(
            f"The store is not mounted at {root}: mount it there, or name the directory it is at"
        )
    return Store(StoreRef(url=place), root, name, url=url, address=address)


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 <= hours < 1e6:
        raise ValueError(text)
    return hours


def _print(found: list[Orphan]) -> None:
    for orphan in found:
        owner = f"  written by {orphan.owner}" if orphan.owner else ""
        print(
            f"{orphan.kind.value:16} {orphan.path}\n    {orphan.size_bytes} bytes, "
            f"last changed {orphan.modified:%Y-%m-%d %H:%M}{owner}"
        )
    taken = sum(orphan.size_bytes for orphan in found)
    print(f"{len(found)} findings, {taken} bytes" if found else "Everything is explained.")
