# SPDX-License-Identifier: Apache-2.0
"""The libraries of a bundle come from the lock file, for both architectures."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from ssvm_agent.payload.errors import BuildError
from ssvm_agent.payload.wheels import Wheel, choose, fetch, unpack

LOCK = Path(__file__).parents[3] / "uv.lock"


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_every_library_has_a_wheel_for_both_architectures(architecture: str) -> None:
    names = [wheel.file_name for wheel in choose(LOCK, "ssvm-agent", architecture)]
    packages = {name.partition("-")[0] for name in names}
    assert {"aiohttp", "cryptography", "msgspec", "isal", "zstandard", "cffi"} <= packages
    assert not {"pytest", "mypy", "ruff"} & packages
    assert len(packages) == len(names)
    for name in names:
        assert name.endswith(("none-any.whl", f"{architecture}.whl"))
        assert "musllinux" not in name


def test_an_unknown_architecture_has_none() -> None:
    with pytest.raises(BuildError, match=r"has no wheel for Python 3\.11 on riscv64"):
        choose(LOCK, "ssvm-agent", "riscv64")


def test_a_lock_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text("[[package]\n")
    with pytest.raises(BuildError, match="cannot be used"):
        choose(tmp_path / "uv.lock", "ssvm-agent", "x86_64")


def test_what_the_cache_holds_is_not_fetched(tmp_path: Path) -> None:
    sha256 = cached(tmp_path, b"wheel")
    wheel = Wheel("http://127.0.0.1:9/a/one-1.0-py3-none-any.whl", sha256)
    assert fetch([wheel], tmp_path) == [tmp_path / "one-1.0-py3-none-any.whl"]


def test_a_damaged_file_in_the_cache_is_not_used(tmp_path: Path) -> None:
    cached(tmp_path, b"damaged")
    wheel = Wheel("http://127.0.0.1:9/a/one-1.0-py3-none-any.whl", "0" * 64)
    with pytest.raises(BuildError, match="cannot be fetched"):
        fetch([wheel], tmp_path)


def test_data_of_a_wheel_lands_among_its_modules(tmp_path: Path) -> None:
    path = tmp_path / "one.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("one/x.py", "one-1.data/platlib/y.so", "one-1.data/scripts/run"):
            archive.writestr(name, name)
    unpack([path], tmp_path / "site")
    found = sorted(
        str(path.relative_to(tmp_path / "site")) for path in tmp_path.rglob("site/**/*.*")
    )
    assert found == ["one/x.py", "y.so"]


def cached(cache: Path, data: bytes) -> str:
    (cache / "one-1.0-py3-none-any.whl").write_bytes(data)
    return hashlib.sha256(data).hexdigest()
