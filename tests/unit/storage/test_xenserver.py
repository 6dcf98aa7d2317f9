# SPDX-License-Identifier: Apache-2.0
"""Templates of XenServer snapshots, with a vhd-util that only pretends."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from ssvm_agent.host.errors import ProgramMissingError
from ssvm_agent.host.run import ProgramResult
from ssvm_agent.storage.copies import Copied, CopyTools, Place
from ssvm_agent.storage.errors import NotFoundError, PathEscapeError, StorageError
from ssvm_agent.storage.properties import read_file
from ssvm_agent.storage.stores import Store
from ssvm_agent.storage.xenserver import template_from_chain, with_extension
from tests.fakes.machine import FakeClock, FakeRunner

TOOLS = CopyTools(owner="s-1-VM", clock=FakeClock())
DIRECTORY = "snapshots/2/7"


def check(_name: str, descriptor: int) -> int:
    """A merged image is one that begins with the oldest file's bytes."""
    head = os.pread(descriptor, 8, 0)
    if head.startswith(b"unsafe"):
        raise StorageError("unsafe")
    return 1 << 30


class VhdUtil(FakeRunner):
    """Knows the parents it is told, and merges by appending."""

    def __init__(self, parents: dict[str, str], *, failing: str = "") -> None:
        super().__init__(react=self._work)
        self._parents = parents
        self._failing = failing

    def _work(self, argv: list[str]) -> ProgramResult:
        assert argv[0] == "vhd-util"
        if argv[1] == self._failing:
            return ProgramResult(returncode=1, stdout=b"", stderr=b"error reading footer")
        if argv[1:4] == ["query", "-p", "-n"]:
            child = Path(argv[4])
            parent = self._parents.get(child.name, f"{child} has no parent")
            return ProgramResult(returncode=0, stdout=f"{parent}\n".encode(), stderr=b"")
        assert argv[1::2] == ["coalesce", argv[3], argv[5]]
        with Path(argv[3]).open("ab") as merged:
            merged.write(Path(argv[5]).read_bytes())
        return ProgramResult(returncode=0, stdout=b"", stderr=b"")


def put(store: Store, **files: bytes) -> None:
    directory = store.root / DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (directory / f"{name}.vhd").write_bytes(data)


async def make(
    source: Store, target: Store, runner: Any, path: str = f"{DIRECTORY}/c"
) -> tuple[Copied, str]:
    return await template_from_chain(
        Place(store=source, path=path), Place(store=target, path="template/tmpl/2/210"),
        check=check, runner=runner, tools=TOOLS,
    )  # fmt: skip


def files(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.rglob("*") if path.is_file())


async def test_a_chain_is_merged_oldest_first(store: Store, other_store: Store) -> None:
    """storage-commands.md 3.15 b: copy the root, then coalesce child by child."""
    put(store, a=b"root", b=b"+b", c=b"+c")
    runner = VhdUtil({"c.vhd": "b.vhd", "b.vhd": f"{store.root}/{DIRECTORY}/a.vhd"})
    copied, name = await make(store, other_store, runner)
    place = other_store.root / "template/tmpl/2/210" / f"{name}.vhd"
    assert place.read_bytes() == b"root+b+c"
    assert copied == Copied(
        path=f"template/tmpl/2/210/{name}.vhd", virtual_size_bytes=1 << 30, physical_size_bytes=8
    )
    properties = read_file(place.with_name("template.properties"))
    assert (properties.unique_name, properties.id, properties.is_public) == (name, 1, True)
    assert files(store) == ["a.vhd", "b.vhd", "c.vhd"]


async def test_a_snapshot_without_a_parent_is_copied(store: Store, other_store: Store) -> None:
    put(store, c=b"root")
    copied, _ = await make(store, other_store, VhdUtil({}), f"/{DIRECTORY}/c.vhd")
    assert (other_store.root / copied.path).read_bytes() == b"root"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "a.vhd"), ("a.vhd", "a.vhd"), ("VHD-a", "VHD-a"), ("a.b", "a.b.vhd")],
)
def test_the_suffix_is_added_unless_it_is_there(name: str, expected: str) -> None:
    """storage-commands.md 3.15 b."""
    assert with_extension(PurePosixPath(name)).name == expected


class NoPrograms:
    """A machine without vhd-util."""

    async def run(self, argv: list[str], **_: Any) -> ProgramResult:
        raise ProgramMissingError(str(argv[0]))


async def test_without_vhd_util_the_reason_is_said(store: Store, other_store: Store) -> None:
    put(store, c=b"root")
    with pytest.raises(StorageError, match="need vhd-util, which is not installed"):
        await make(store, other_store, NoPrograms())
    assert files(other_store) == []


@pytest.mark.parametrize(
    ("parents", "error", "words"),
    [
        ({"c.vhd": "c.vhd"}, StorageError, "round in circles"),
        ({"c.vhd": "/etc/passwd"}, PathEscapeError, "outside its store"),
        ({"c.vhd": "../../x.vhd"}, PathEscapeError, "leaves its store"),
        ({"c.vhd": "absent.vhd"}, NotFoundError, "does not exist"),
    ],
)
async def test_a_chain_that_leads_elsewhere_is_refused(
    store: Store, other_store: Store, parents: dict[str, str], error: type[StorageError], words: str
) -> None:
    put(store, c=b"root")
    with pytest.raises(error, match=words):
        await make(store, other_store, VhdUtil(parents))
    assert files(other_store) == []


@pytest.mark.parametrize("failing", ["query", "coalesce"])
async def test_a_failure_of_the_program_is_passed_on(
    store: Store, other_store: Store, failing: str
) -> None:
    put(store, a=b"root", c=b"+c")
    with pytest.raises(StorageError, match=r"cannot be merged: .*error reading footer"):
        await make(store, other_store, VhdUtil({"c.vhd": "a.vhd"}, failing=failing))
    assert files(other_store) == []


@pytest.mark.parametrize("content", [b"unsafe", b""])
async def test_what_is_no_sound_image_becomes_no_template(
    store: Store, other_store: Store, content: bytes
) -> None:
    put(store, c=content)
    with pytest.raises(StorageError):
        await make(store, other_store, VhdUtil({}))
    assert files(other_store) == []
