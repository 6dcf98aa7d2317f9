# SPDX-License-Identifier: Apache-2.0
"""Templates out of XenServer snapshots: a chain of VHD files merged into one.

storage-commands.md 3.15 b. The merging is done by ``vhd-util``, where it is installed; it gets
absolute paths below the store only, and every parent that a file names is looked up like a path
from outside.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import uuid4

from ssvm_agent.host.errors import HostError, ProgramMissingError
from ssvm_agent.host.run import ResourceLimits, Runner
from ssvm_agent.storage.copier import check_space, copies_in_kernel
from ssvm_agent.storage.copies import (
    Check,
    Copied,
    CopyTools,
    Place,
    arriving,
    checked_template_directory,
    publish_template,
)
from ssvm_agent.storage.errors import NotFoundError, PathEscapeError, StorageError
from ssvm_agent.storage.layout import ImageKind, check_relative
from ssvm_agent.storage.paths import is_plain_file, resolve_inside
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.survey import SourceFile, source_file

# XenServer limits a chain to 30 files; one that is longer goes round in circles.
_MAX_CHAIN: Final = 64
_QUERY_S: Final = 60.0
# Merging writes as much as a file holds; the command's own time ends it earlier.
_MERGE_S: Final = 6 * 3600.0
_SETTLE_S: Final = 3600.0
_LIMITS: Final = ResourceLimits(address_space_bytes=2 << 30, open_files=64)


async def template_from_chain(
    snapshot: Place, template: Place, *, check: Check, runner: Runner, tools: CopyTools
) -> tuple[Copied, str]:
    """Make a template of a snapshot of XenServer.

    Args:
        snapshot: The file, with or without ``.vhd``; its parents lie beside it.
        template: The directory of the new template.
        check: Judges the merged image before it becomes visible.
        runner: Starts ``vhd-util``.
        tools: What every copy needs.

    Returns:
        The template, and the unique name made up for it.

    Raises:
        StorageError: It could not be made; nothing is left at the target.
        AgentError: What the check raised.
    """
    unique_name = str(uuid4())
    file_name = f"{unique_name}.vhd"
    directory = checked_template_directory(template)
    chain = await _chain(snapshot.store, with_extension(snapshot.relative()), runner)
    root = snapshot.store.root
    files = [await snapshot.store.run(_facts, root, path, what=f"read {path}") for path in chain]
    data_bytes = sum(file.data_bytes for file in files)
    async with arriving(
        template.store, directory, (PurePosixPath(file_name),), kind=ImageKind.TEMPLATE, mark=True,
        source=root / chain[0].parent, tools=tools,
    ) as (copier, arrival):  # fmt: skip
        in_kernel = await copier.call(copies_in_kernel, snapshot.store, template.store)
        await check_space(template.store, data_bytes, in_kernel=in_kernel)
        copier.expect(files[-1].data_bytes)
        merged = arrival.temporary(0)
        examine = partial(check, file_name)
        await copier.copy(root / chain[-1], merged, examine, in_kernel=in_kernel)
        for child in reversed(chain[:-1]):
            argv: list[str | Path] = ["vhd-util", "coalesce", "-p", merged, "-n", root / child]
            await _vhd_util(runner, argv, _MERGE_S)
        size_bytes, virtual_size_bytes = await copier.call(
            _settle, merged, examine, what=f"inspect {file_name}", deadline_s=_SETTLE_S
        )
        copied = Copied(
            path=str(directory / file_name),
            virtual_size_bytes=virtual_size_bytes,
            physical_size_bytes=size_bytes,
        )
        await publish_template(copier, arrival, template.store, copied, unique_name, tools)
    return copied, unique_name


def _facts(root: Path, path: PurePosixPath) -> SourceFile:
    return source_file(resolve_inside(root, path, must_exist=True), PurePosixPath(path.name))


def _settle(path: Path, examine: partial[int]) -> tuple[int, int]:
    """Length and virtual size of the merged image, once it is durable."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size, examine(descriptor)
    finally:
        os.close(descriptor)


def with_extension(path: PurePosixPath) -> PurePosixPath:
    """The file a XenServer snapshot is in (storage-commands.md 3.15 b)."""
    if path.name.startswith("VHD-") or path.name.endswith(".vhd"):
        return path
    return path.with_name(f"{path.name}.vhd")


async def _chain(store: Store, wanted: PurePosixPath, runner: Runner) -> list[PurePosixPath]:
    """The snapshot and its parents, the oldest last."""
    chain = [wanted]
    while True:
        path = chain[-1]
        if not await store.run(_is_file, store.root, path, what=f"find {path}"):
            raise NotFoundError(f"{path} does not exist on the secondary storage")
        argv: list[str | Path] = ["vhd-util", "query", "-p", "-n", store.root / path]
        parent = _parent(await _vhd_util(runner, argv, _QUERY_S), store.root, path)
        if parent is None:
            return chain
        if parent in chain or len(chain) >= _MAX_CHAIN:
            raise StorageError(f"The chain of VHD files of {wanted} goes round in circles")
        chain.append(parent)


def _parent(output: str, root: Path, child: PurePosixPath) -> PurePosixPath | None:
    """The parent that ``vhd-util query -p`` names, relative to the store; None without one."""
    line = output.strip().splitlines()[0].strip() if output.strip() else ""
    if not line or re.search(r"has no parent$", line):
        return None
    if not line.startswith("/"):
        # Only a name counts: files of a chain lie side by side.
        return child.parent / check_relative(line.removeprefix("./"))
    try:
        return check_relative(str(PurePosixPath(line).relative_to(root)))
    except ValueError as error:
        raise PathEscapeError(f"{child} has a parent outside its store") from error


async def _vhd_util(runner: Runner, argv: list[str | Path], deadline_s: float) -> str:
    try:
        result = await runner.run(argv, deadline_s=deadline_s, limits=_LIMITS)
    except ProgramMissingError as error:
        raise StorageError(
            "Templates from XenServer snapshots need vhd-util, which is not installed"
        ) from error
    except HostError as error:
        raise StorageError(
            f"The VHD files of the snapshot cannot be merged: {error.message}", detail=error.detail
        ) from error
    return result.text


def _is_file(root: Path, path: PurePosixPath) -> bool:
    return is_plain_file(resolve_inside(root, path))
