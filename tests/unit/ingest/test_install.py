# SPDX-License-Identifier: Apache-2.0
"""What the blocking steps leave behind when an agent died between two of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ssvm_agent.ingest import install as module
from ssvm_agent.ingest.install import publish, reserve
from ssvm_agent.storage.layout import ImageKind
from ssvm_agent.storage.properties import ImageProperties, read_file, write_file

NOW = datetime(2026, 11, 23, tzinfo=UTC)
UNPUBLISHED = "a54e97f6-b96a-39b7-b6ba-62710061091f.qcow2"
FROM_A_HOST = "a54e97f6-b96a-49b7-b6ba-62710061091f.qcow2"


def properties(file_name: str) -> ImageProperties:
    return ImageProperties(
        unique_name="v", id=5, file_name=file_name, size_bytes=1, virtual_size_bytes=1,
        formats=("qcow2",),
    )  # fmt: skip


def install(root: Path, file_name: str = "new.qcow2") -> list[str]:
    """Bring an image into volumes/2/5; the names that are there then."""
    reservation = reserve(root, "volumes/2/5", ImageKind.VOLUME, owner="s-1-VM", job_id="job")
    reservation.temporary.write_bytes(b"x")
    publish(reservation, ImageKind.VOLUME, properties(file_name), now=NOW)
    return sorted(path.name for path in reservation.directory.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "volumes/2/5"
    directory.mkdir(parents=True)
    return directory


def test_an_image_that_never_got_its_properties_is_replaced(place: Path, tmp_path: Path) -> None:
    """requirements R13: an agent died between the image's name and its properties."""
    (place / "volume.properties").touch()
    (place / UNPUBLISHED).touch()
    assert install(tmp_path) == ["new.qcow2", "volume.properties"]


@pytest.mark.parametrize("name", [FROM_A_HOST, "other.qcow2", UNPUBLISHED.replace("qcow2", "vhd")])
def test_what_an_installation_did_not_name_stays(place: Path, tmp_path: Path, name: str) -> None:
    (place / name).touch()
    assert name in install(tmp_path)


def test_beside_a_complete_installation_only_its_image_is_replaced(
    place: Path, tmp_path: Path
) -> None:
    for name in ("old.qcow2", UNPUBLISHED):
        (place / name).touch()
    write_file(place / "volume.properties", properties("old.qcow2"), now=NOW)
    assert install(tmp_path) == [UNPUBLISHED, "new.qcow2", "volume.properties"]


def test_the_same_name_again_is_the_new_image(place: Path, tmp_path: Path) -> None:
    (place / "volume.properties").touch()
    (place / UNPUBLISHED).write_bytes(b"old")
    assert install(tmp_path, UNPUBLISHED) == [UNPUBLISHED, "volume.properties"]
    assert (place / UNPUBLISHED).read_bytes() == b"x"


def test_an_image_another_agent_published_meanwhile_stays(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requirements R13: two agents install the same object at the same moment."""
    (place / "volume.properties").touch()
    (place / UNPUBLISHED).touch()

    def overtaken(path: Path, ours: ImageProperties, **options: Any) -> None:
        write_file(path, ours, **options)
        write_file(path, properties(UNPUBLISHED), now=NOW)

    monkeypatch.setattr(module, "write_file", overtaken)
    assert UNPUBLISHED in install(tmp_path)
    assert read_file(place / "volume.properties").file_name == UNPUBLISHED


def test_nothing_is_removed_while_the_properties_cannot_be_read(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "volume.properties").touch()
    (place / UNPUBLISHED).touch()
    monkeypatch.setattr(module, "write_file", lambda path, *_, **__: path.unlink())
    assert UNPUBLISHED in install(tmp_path)
