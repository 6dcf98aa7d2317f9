# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.storage import paths
from ssvm_agent.storage.errors import NotFoundError, PathEscapeError


def test_what_exists_is_found(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    assert paths.resolve_inside(tmp_path, "a/b", must_exist=True) == tmp_path / "a/b"


def test_what_is_missing_is_named_or_refused(tmp_path: Path) -> None:
    assert paths.resolve_inside(tmp_path, "a/b/c") == tmp_path / "a/b/c"
    with pytest.raises(NotFoundError, match="a/b/c"):
        paths.resolve_inside(tmp_path, "a/b/c", must_exist=True)
    (tmp_path / "a").touch()
    with pytest.raises(NotFoundError):
        paths.resolve_inside(tmp_path, "a/b/c", must_exist=True)


@pytest.mark.parametrize("target", ["/etc", "inside", "nowhere", "."])
@pytest.mark.parametrize("relative", ["link", "link/x", "deep/link/x/y"])
def test_a_symbolic_link_is_refused_wherever_it_points(
    tmp_path: Path, target: str, relative: str
) -> None:
    """requirements S8."""
    (tmp_path / "inside").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "deep/link").symlink_to(target)
    with pytest.raises(PathEscapeError):
        paths.resolve_inside(tmp_path, relative)


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real/a").mkdir(parents=True)
    (tmp_path / "store").symlink_to("real")
    assert paths.resolve_inside(tmp_path / "store", "a").is_dir()


def test_every_directory_made_is_open_to_everybody(tmp_path: Path) -> None:
    """storage-commands.md 1.5."""
    (tmp_path / "template").mkdir(mode=0o755)
    made = paths.make_directories(tmp_path, "template/tmpl/2")
    assert made == tmp_path / "template/tmpl/2"
    assert made.stat().st_mode & 0o777 == 0o777
    assert made.parent.stat().st_mode & 0o777 == 0o777
    assert (tmp_path / "template").stat().st_mode & 0o777 == 0o755
    assert paths.make_directories(tmp_path, "template/tmpl/2") == made


def test_a_file_in_the_way_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "volumes").touch()
    with pytest.raises(NotADirectoryError):
        paths.make_directories(tmp_path, "volumes")
    with pytest.raises(NotADirectoryError):
        paths.make_directories(tmp_path, "volumes/2")


def test_links_are_neither_files_nor_directories(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "to-file").symlink_to("file")
    (tmp_path / "to-directory").symlink_to("directory")
    assert paths.is_plain_file(tmp_path / "file")
    assert paths.is_plain_directory(tmp_path / "directory")
    for name in ("to-file", "to-directory", "missing", "file/below"):
        assert not paths.is_plain_file(tmp_path / name)
        assert not paths.is_plain_directory(tmp_path / name)
    assert not paths.is_plain_file(tmp_path / "directory")
    assert not paths.is_plain_directory(tmp_path / "file")
