# SPDX-License-Identifier: Apache-2.0
"""The moves between work directory and destination, cut at every single step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.storage import properties as store_properties
from ssvm_agent.sysvmtemplate import properties
from ssvm_agent.sysvmtemplate.errors import StoreUnusableError
from ssvm_agent.sysvmtemplate.placement import (
    Plan,
    complete,
    is_in_place,
    place,
    read_plan,
    undo,
)
from ssvm_agent.sysvmtemplate.workspace import Workspace

OLD, NEW = "11111111-aaaa-4aaa-8aaa-111111111111", "22222222-bbbb-4bbb-8bbb-222222222222"


class Killed(BaseException):
    """Stands for the end of the process: nothing cleans up after it."""


def text_of(uuid: str, image_format: ImageFormat) -> bytes:
    return properties.render(
        template_id=3,
        file_name=f"{uuid}.{image_format.extension}",
        image_format=image_format,
        size_bytes=len(uuid),
        virtual_size_bytes=1 << 31,
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, 3)


def old_template(workspace: Workspace, image_format: ImageFormat, *members: str) -> dict[str, str]:
    workspace.destination.mkdir(parents=True)
    name = f"{OLD}.{image_format.extension}"
    (workspace.destination / name).write_text(OLD)
    for member in members:
        (workspace.destination / member).write_text(f"old {member}")
    (workspace.destination / "template.properties").write_bytes(text_of(OLD, image_format))
    return content(workspace)


def new_template(workspace: Workspace, image_format: ImageFormat, *members: str) -> Plan:
    workspace.make()
    (workspace.new / "received").write_text(NEW)
    for member in members:
        (workspace.new / member).write_text(f"new {member}")
    names = complete(
        workspace,
        received="received",
        file_name=f"{NEW}.{image_format.extension}",
        properties=text_of(NEW, image_format),
    )
    return Plan(uuid=NEW, names=names, database=False)


def content(workspace: Workspace) -> dict[str, str]:
    if not workspace.destination.exists():
        return {}
    return {path.name: path.read_text("latin-1") for path in workspace.destination.iterdir()}


def cut_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Let so many changes of the file system happen, and none after them."""
    left = steps

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def changed(*args: object, **kwargs: object) -> object:
            nonlocal left
            if not left:
                raise Killed
            left -= 1
            return change(*args, **kwargs)

        return changed

    for name in ("rename", "replace", "link", "unlink", "mkdir", "rmdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


def test_a_first_template_is_put_in_place(workspace: Workspace) -> None:
    plan = new_template(workspace, ImageFormat.QCOW2)
    place(workspace, plan)
    assert set(content(workspace)) == {f"{NEW}.qcow2", "template.properties"}
    assert is_in_place(workspace, plan)
    assert workspace.destination.stat().st_mode & 0o777 == 0o755


def test_everything_is_readable_under_a_strict_umask(workspace: Workspace) -> None:
    """boot-and-system.md 6.1: hardened hosts produced unreadable files."""
    before = os.umask(0o077)
    try:
        place(workspace, new_template(workspace, ImageFormat.QCOW2))
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in workspace.destination.iterdir()}
    assert modes == {0o644}
    assert all(p.stat().st_mode & 0o777 == 0o755 for p in workspace.destination.parents[:2])


def test_an_old_template_goes_when_the_new_one_is_there(workspace: Workspace) -> None:
    old_template(workspace, ImageFormat.QCOW2, "stray")
    place(workspace, new_template(workspace, ImageFormat.QCOW2))
    assert set(content(workspace)) == {f"{NEW}.qcow2", "template.properties"}
    assert {p.name for p in workspace.old.iterdir()} == {
        f"{OLD}.qcow2", "template.properties", "stray",
    }  # fmt: skip


def test_undoing_a_first_template_leaves_nothing(workspace: Workspace) -> None:
    place(workspace, new_template(workspace, ImageFormat.QCOW2))
    undo(workspace)
    assert not workspace.destination.exists()


@pytest.mark.parametrize("step", range(30))
def test_the_process_may_be_killed_at_any_step(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The old template or the new one is complete at every moment, and can be had back."""
    before = old_template(workspace, ImageFormat.QCOW2, "stray")
    plan = new_template(workspace, ImageFormat.QCOW2)
    with monkeypatch.context() as patched:
        cut_after(patched, step)
        try:
            place(workspace, plan)
        except Killed:
            pass
        else:
            assert is_in_place(workspace, plan)
    found = store_properties.load(content(workspace)["template.properties"])
    image = (workspace.destination / found.file_name).read_text()
    assert f"{image}.qcow2" == found.file_name
    undo(workspace)
    assert content(workspace) == before


@pytest.mark.parametrize("steps_of_undo", range(12))
@pytest.mark.parametrize("hard_links", [True, False])
def test_undoing_may_be_cut_and_begun_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, steps_of_undo: int, hard_links: bool
) -> None:
    members = ("systemvm.ovf", "systemvm-disk1.vmdk")
    before = old_template(workspace, ImageFormat.OVA, *members, "old.mf")
    plan = new_template(workspace, ImageFormat.OVA, *members, "new.mf")
    if not hard_links:
        monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(95, "no")))
    place(workspace, plan)
    assert content(workspace)["systemvm.ovf"] == "new systemvm.ovf"
    with monkeypatch.context() as patched:
        cut_after(patched, steps_of_undo)
        with contextlib.suppress(Killed):
            undo(workspace)
    undo(workspace)
    assert content(workspace) == before


@pytest.mark.parametrize("step", range(40))
def test_an_ova_with_the_same_member_names_can_be_had_back_from_any_step(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    members = ("systemvm.ovf", "systemvm-disk1.vmdk")
    before = old_template(workspace, ImageFormat.OVA, *members)
    plan = new_template(workspace, ImageFormat.OVA, *members)
    with monkeypatch.context() as patched:
        cut_after(patched, step)
        with contextlib.suppress(Killed):
            place(workspace, plan)
    undo(workspace)
    assert content(workspace) == before


def test_a_plan_of_somebody_else_is_not_followed(workspace: Workspace) -> None:
    workspace.make()
    workspace.plan.write_text('{"names": 5}')
    with pytest.raises(StoreUnusableError, match="cannot be understood"):
        read_plan(workspace)


def test_nothing_is_undone_when_nothing_was_moved(workspace: Workspace) -> None:
    before = old_template(workspace, ImageFormat.QCOW2)
    new_template(workspace, ImageFormat.QCOW2)
    undo(workspace)
    assert content(workspace) == before
