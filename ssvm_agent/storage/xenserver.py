# SPDX-License-Identifier: Apache-2.0
"""Templates out of XenServer snapshots: a chain of VHD files merged into one.

storage-commands.md 3.15 b. The merging is done by ``vhd-util``, where it is installed; it gets
absolute paths below the store only, and every parent that a file names is looked up like a path
from outside.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import uuid4

from ssvm_agent.host.errors import HostError, ProgramMissingError
from ssvm_agent.host.run import ResourceLimits, Runner
from ssvm_agent.storage.copies import (
    CopiedImage,
    Inspect,
    NewTemplate,
    inspected,
    publish_template,
    template_directory,
)
from ssvm_agent.storage.errors import NotFoundError, PathEscapeError, StorageError
from ssvm_agent.storage.layout import ImageKind, check_relative
from ssvm_agent.storage.paths import is_plain_file, resolve_inside
from ssvm_agent.storage.staging import CopyTools, Pair, Staging, staged
from ssvm_agent.storage.stores import Store

# XenServer limits a chain to 30 files; one that is longer goes round in circles.
_MAX_CHAIN: Final = 64
_QUERY_S: Final = 60.0
# Merging writes as much as a file holds; the command's own time ends it earlier.
_MERGE_S: Final = 6 * 3600.0
_LIMITS: Final = ResourceLimits(address_space_bytes=2 << 30, open_files=64)


async def template_from_chain(
    source: Store,
    snapshot_path: str,
    target: Store,
    template_directory_path: str,
    *,
    inspect: Inspect,
    runner: Runner,
    tools: CopyTools,
) -> tuple[CopiedImage, str]:
    """Make a template of a snapshot of XenServer.

    Args:
        source: Where the snapshot and its parents are.
        snapshot_path: Its path, with or without ``.vhd``.
        target: Where the template goes.
        template_directory_path: Its directory there.
        inspect: Looks at the merged file.
        runner: Starts ``vhd-util``.
        tools: See :class:`ssvm_agent.storage.staging.CopyTools`.

    Returns:
        The template, and the unique name made up for it.

    Raises:
        StorageError: It could not be made; nothing is left at the target.
    """
    name = str(uuid4())
    template = NewTemplate(directory=template_directory_path, unique_name=name)
    directory = template_directory(template)
    wanted = with_extension(check_relative(snapshot_path, strip_slash=True))
    chain = await _chain(source, wanted, runner)
    pair = Pair(chain[-1], directory / f"{name}.vhd")
    async with staged(source, target, [pair], kind=ImageKind.TEMPLATE, tools=tools) as staging:
        for child in reversed(chain[:-1]):
            await _merge(staging, pair, source.root / child, runner)
        copied = await inspected(staging, pair, inspect)
        await publish_template(staging, copied, template, tools)
    return copied, name


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


async def _merge(staging: Staging, pair: Pair, child: Path, runner: Runner) -> None:
    """Write what a file of the chain changed into the copy of its parents."""
    merged = staging.temporary(pair)
    argv: list[str | Path] = ["vhd-util", "coalesce", "-p", merged, "-n", child]
    await _vhd_util(runner, argv, _MERGE_S)


async def _vhd_util(runner: Runner, argv: list[str | Path], deadline_s: float) -> str:
    try:
        result = await runner.run(argv, deadline_s=deadline_s, limits=_LIMITS)
    except ProgramMissingError as error:
        raise StorageError(
            "Templates from XenServer snapshots need vhd-util, which is not installed"
        ) from error
    except HostError as error:
        raise StorageError(
            "The VHD files of the snapshot cannot be merged", detail=str(error)
        ) from error
    return result.text


def _is_file(root: Path, path: PurePosixPath) -> bool:
    return is_plain_file(resolve_inside(root, path))
