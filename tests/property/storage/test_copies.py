# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked and whatever fails: the destination is as before, or has the whole object."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from ssvm_agent.errors import AgentError
from ssvm_agent.storage.copies import CopyTools, Place, migrate, template_from_snapshot
from ssvm_agent.storage.errors import StorageError
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store, StoreRef
from tests.fakes.machine import FakeClock, FakeRunner

TOOLS = CopyTools(owner="s-1-VM", clock=FakeClock())
PROPERTIES = (
    b"uniquename=u\nid=5\nfilename=v.raw\nsize=6\nvirtualsize=6\n"
    b"raw=true\nraw.filename=v.raw\nraw.size=6\nraw.virtualsize=6\n"
)
CONTENT = {
    "template/tmpl/2/5/v.raw": b"image1",
    "template/tmpl/2/5/template.properties": PROPERTIES,
    "template/tmpl/2/5/more/x.ovf": b"text",
    "volumes/2/5/v.raw": b"image2",
    "volumes/2/6/u/u.ovf": b"text",
    "snapshots/2/7/s": b"image3",
    "snapshots/2/7/u/u.ovf": b"text",
    "snapshots/2/7/u/u-disk0.vmdk": b"disk",
}
PATHS = st.one_of(
    st.sampled_from(
        [
            "template/tmpl/2/5/v.raw", "template/tmpl/2/5", "template/tmpl/2", "volumes/2/5/v.raw",
            "volumes/2/6/u", "volumes/2/5", "snapshots/2/7/s", "snapshots/2/7/u/u",
            "snapshots/2/7/u", "snapshots/2/7", "", "..", "/", "volumes/2/5/../6/u", "volumes/2/\0",
        ]
    ),
    st.text(max_size=30),
)  # fmt: skip
TARGETS = st.one_of(
    st.sampled_from(
        ["template/tmpl/2/9", "template/tmpl/2/5/v.raw", "volumes/3/5", "snapshots/3/7", "volumes"]
    ),
    PATHS,
)
CALLS = ("fsync", "copy_file_range", "ftruncate", "replace", "rename", "mkdir", "fchmod", "pwrite")
FAULTS = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(CALLS), st.integers(1, 6), st.sampled_from([5, 13, 28, 30, 122])),
)
KINDS = st.sampled_from([*ImageKind, None])


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@contextmanager
def failing(fault: tuple[str, int, int] | None) -> Iterator[None]:
    if fault is None:
        yield
        return
    name, when, number = fault
    real, calls = getattr(os, name), 0

    def fail(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == when:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    with mock.patch.object(os, name, fail):
        yield


async def attempt(
    kind: ImageKind | None, source: Place, target: Place, fault: tuple[str, int, int] | None
) -> AgentError | str:
    try:
        with failing(fault):
            if kind is not None:
                return (await migrate(kind, source, target, check=lambda *_: 0, tools=TOOLS)).path
            made = await template_from_snapshot(
                source, target, unique_name="u", extension="raw", check=lambda *_: 6, tools=TOOLS
            )
            return made.path
    except AgentError as error:
        return error


async def scenario(
    folder: Path, kind: ImageKind | None, path: str, target: str, fault: tuple[str, int, int] | None
) -> None:
    stores = StoreService(mount_root=folder / "mnt", runner=FakeRunner(), clock=FakeClock())
    opened: list[Store] = []
    for name in ("first", "second"):
        for relative, data in CONTENT.items() if name == "first" else ():
            place = folder / name / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        (folder / name).mkdir(exist_ok=True)
        opened.append(await stores.open(StoreRef(url=f"file://{folder / name}")))
    first, second = opened
    places = Place(store=first, path=path), Place(store=second, path=target)
    before = tree(first.root), tree(second.root)
    ended = await attempt(kind, *places, fault)
    assert tree(first.root) == before[0]
    if isinstance(ended, AgentError):
        assert isinstance(ended, StorageError)
        assert ended.message.strip()
        assert tree(second.root) == before[1]
        assert not any(path.is_dir() for path in (second.root / "volumes").iterdir())
    else:
        whole = await attempt(kind, *places, None)
        assert whole == ended
        assert not any("tmp_" in name for name in tree(second.root))
        assert set(tree(second.root).values()) - {b""} <= {
            *CONTENT.values(),
            *(data for name, data in tree(second.root).items() if name.endswith(".properties")),
        }
    await stores.close()


@settings(max_examples=120, deadline=None)
@given(kind=KINDS, path=PATHS, target=TARGETS, fault=FAULTS)
def test_the_destination_is_as_before_or_complete(
    kind: ImageKind | None, path: str, target: str, fault: tuple[str, int, int] | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(scenario(Path(folder), kind, path, target, fault))
