# SPDX-License-Identifier: Apache-2.0
"""Making a bundle from a checkout: a tree like an installed environment, described and packed.

The same checkout makes the same bytes. Blocking.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Final

from ssvm_agent.host.files import atomic_write
from ssvm_agent.payload import signature, wheels
from ssvm_agent.payload.errors import BuildError
from ssvm_agent.payload.manifest import MANIFEST, Manifest, scan

_PROJECT: Final = "ssvm-agent"
_PYTHON: Final = "/usr/bin/python3"
_LEVEL: Final = 6
# For the shell a command, for Python a string. It starts the Python beside it, also when a link
# leads to it, and gives it its own path, since processes are known by that.
_PROGRAM: Final = """\
#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python3" -P "$0" "$@"
' '''
import sys
from {module} import {function}
sys.exit({function}())
"""
_INSTALL: Final = """\
#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs this bundle in the machine; --help explains. Needs nothing but Debian's python3.
here=$(dirname -- "$(readlink -f -- "$0")")
if ! [ -x /usr/bin/python3 ]; then
    echo "install: /usr/bin/python3 is missing; the system VM must be Debian 12" >&2
    exit 1
fi
exec "$here/bin/ssvm-payload" install "$here" "$@"
"""


def build(source: Path, output: Path, architecture: str, *, sign_with: Path | None = None) -> Path:
    """Make the bundle for one kind of machine.

    Args:
        source: A checkout of the project.
        output: Directory for the archive and its ``.sha256``.
        architecture: ``x86_64`` or ``aarch64``.
        sign_with: Private key; None leaves the bundle unsigned.

    Returns:
        The archive.

    Raises:
        BuildError: Something is missing, or a library cannot be fetched.
    """
    project = _read_project(source)
    libraries = wheels.choose(source / "uv.lock", _PROJECT, architecture)
    fetched = wheels.fetch(libraries, source / "build" / "wheels")
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ssvm-payload-", dir=output) as folder:
        tree = Path(folder)
        _fill(tree, source, fetched, project["scripts"])
        version = _version(source)
        manifest = scan(tree, version=version, architecture=architecture, python=wheels.PYTHON)
        (tree / MANIFEST).write_bytes(manifest.render())
        if sign_with is not None:
            signature.sign(tree, sign_with)
        return _pack(tree, manifest, output)


def _fill(tree: Path, source: Path, libraries: list[Path], programs: dict[str, str]) -> None:
    site_packages = tree / "lib" / f"python{wheels.PYTHON}" / "site-packages"
    wheels.unpack(libraries, site_packages)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(source / "ssvm_agent", site_packages / "ssvm_agent", ignore=ignored)
    share = tree / "share"
    shutil.copytree(source / "docs", share / "doc", ignore=shutil.ignore_patterns("images", "adr"))
    shutil.copytree(source / "systemd", share / "systemd")
    shutil.copytree(source / "scripts/system-vm", share / "system-vm", ignore=ignored)
    check = share / "system-vm/usr/local/cloud/systemvm/ssvm-check.sh"
    check.parent.mkdir(parents=True)
    shutil.copy(source / "scripts/ssvm-check.sh", check)
    binaries = tree / "bin"
    binaries.mkdir()
    (binaries / "python3").symlink_to(_PYTHON)
    for name, entry in programs.items():
        module, _, function = entry.partition(":")
        _write_program(binaries / name, _PROGRAM.format(module=module, function=function))
    _write_program(tree / "install", _INSTALL)
    # Makes bin/python3 look for its modules here and nowhere else.
    (tree / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {wheels.PYTHON}\n"
    )


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _pack(tree: Path, manifest: Manifest, output: Path) -> Path:
    archive = output / f"{manifest.bundle_name}.tar.gz"
    temporary = archive.with_name(f".{archive.name}.part")
    with (
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(tree.rglob("*")):
            inside = f"{manifest.bundle_name}/{path.relative_to(tree)}"
            tar.add(path, inside, recursive=False, filter=_plain)
    temporary.replace(archive)
    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    atomic_write(
        archive.with_name(f"{archive.name}.sha256"), f"{sha256}  {archive.name}\n".encode()
    )
    return archive


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without what differs from machine to machine."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = "root"
    executable = member.isdir() or member.mode & 0o100
    member.mode = 0o755 if executable else 0o644
    return member


def _read_project(source: Path) -> dict[str, dict[str, str]]:
    try:
        project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise BuildError(
            f"{source} is no checkout of the project; name one with --source."
        ) from error
    if project["name"] != _PROJECT:
        raise BuildError(f"{source} is a checkout of {project['name']}, not of {_PROJECT}.")
    return dict(project)


def _version(source: Path) -> str:
    text = (source / "ssvm_agent/__init__.py").read_text()
    return text.partition('__version__ = "')[2].partition('"')[0]
