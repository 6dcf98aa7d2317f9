# SPDX-License-Identifier: Apache-2.0
"""The cloud's own payload with the agent in it, as management servers and hypervisors deliver it.

Bundles go into ``agent.zip``, which only console proxies and secondary storage VMs unpack; what
installs them, and their checksums, go into ``cloud-scripts.tgz``. So its checksum, by which
management servers tell versions apart, changes whenever a bundle does (boot-and-system.md 4.3).
Blocking.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import shutil
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from ssvm_agent.host.errors import ProgramMissingError
from ssvm_agent.host.files import atomic_write
from ssvm_agent.host.run import SystemRunner
from ssvm_agent.payload.errors import BuildError

AGENT: Final = "agent.zip"
SCRIPTS: Final = "cloud-scripts.tgz"
PATCH: Final = "patch-sysvms.sh"
SIGNATURE: Final = "cloud-scripts-signature"
ISO: Final = "systemvm.iso"
_KEYS: Final = "authorized_keys"
# Compat: boot-and-system.md 4.1, the name the archive of the agent has in an ISO.
_AGENT_IN_ISO: Final = "systemvm.zip"
_OURS: Final = "ssvm-agent"
_SUMS: Final = "opt/cloud/ssvm-agent/bundles.sha256"
# Something every archive of the cloud has; its absence shows a mix-up.
_IN_AGENT: Final = "conf/agent.properties"
_IN_SCRIPTS: Final = "opt/cloud/bin/patched.sh"
_ISO_DEADLINE_S: Final = 300.0
_LEVEL: Final = 6


def check(stock: Path, output: Path) -> None:
    """See whether a payload of the cloud can be worked on.

    Raises:
        BuildError: Something is missing, damaged, or not the cloud's own.
    """
    missing = [name for name in (AGENT, SCRIPTS, PATCH) if not (stock / name).is_file()]
    if missing:
        raise BuildError(
            f"{stock} lacks {' and '.join(missing)}; a management server has all three in "
            "/usr/share/cloudstack-common/vms/."
        )
    if stock.resolve() == output.resolve():
        raise BuildError(f"{stock} would be overwritten; name another directory with --output.")
    try:
        with zipfile.ZipFile(stock / AGENT) as agent:
            in_agent = set(agent.namelist())
            damaged = agent.testzip()
        with tarfile.open(stock / SCRIPTS, "r:gz") as scripts:
            in_scripts = {str(PurePosixPath(name)) for name in scripts.getnames()}
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise BuildError(f"{stock} holds a damaged archive; copy it again.") from error
    if damaged is not None:
        raise BuildError(f"{stock / AGENT} is damaged at {damaged}; copy it again.")
    if _IN_AGENT not in in_agent or _IN_SCRIPTS not in in_scripts:
        raise BuildError(
            f"{stock} holds no payload of the cloud: {_IN_AGENT} is to be in {AGENT}, "
            f"{_IN_SCRIPTS} in {SCRIPTS}."
        )
    if _SUMS in in_scripts or any(name.startswith(f"{_OURS}/") for name in in_agent):
        raise BuildError(f"{stock} holds our agent already; name the cloud's own files.")


def add(stock: Path, bundles: list[Path], source: Path, output: Path) -> list[Path]:
    """Write the cloud's payload with bundles in it, in every form.

    Args:
        stock: Directory of the cloud's ``agent.zip``, ``cloud-scripts.tgz`` and
            ``patch-sysvms.sh``; ``authorized_keys`` is taken along into the ISO.
        bundles: One for each kind of machine.
        source: A checkout of the project.
        output: Directory for the result.

    Returns:
        What was written.

    Raises:
        BuildError: See :func:`check`; or the ISO cannot be made.
    """
    check(stock, output)
    with tempfile.TemporaryDirectory(prefix="ssvm-payload-", dir=output) as folder:
        work = Path(folder)
        _add_bundles(stock / AGENT, bundles, work / AGENT)
        _add_scripts(stock / SCRIPTS, _pieces(source, bundles), work / SCRIPTS)
        shutil.copyfile(stock / PATCH, work / PATCH)
        with (work / SCRIPTS).open("rb") as file:
            sha512 = hashlib.file_digest(file, "sha512").hexdigest()
        atomic_write(work / SIGNATURE, f"{sha512}\n".encode())
        _make_iso(stock, work)
        names = (AGENT, SCRIPTS, PATCH, SIGNATURE, ISO)
        return [(work / name).replace(output / name) for name in names]


def _add_bundles(stock: Path, bundles: list[Path], result: Path) -> None:
    shutil.copyfile(stock, result)
    with zipfile.ZipFile(result, "a", zipfile.ZIP_STORED) as archive:
        for bundle in bundles:
            # Of no time, so that the same bundles make the same archive.
            member = zipfile.ZipInfo(f"{_OURS}/{bundle.name}")
            member.create_system = 3
            member.external_attr = (stat.S_IFREG | 0o444) << 16
            member.file_size = bundle.stat().st_size
            with bundle.open("rb") as file, archive.open(member, "w") as target:
                shutil.copyfileobj(file, target, 1 << 20)


def _pieces(source: Path, bundles: list[Path]) -> dict[str, tuple[bytes, int]]:
    """What is added to the scripts: path to content and mode."""
    tree = source / "scripts/stock-payload"
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    pieces = {
        str(path.relative_to(tree)): (
            path.read_bytes(),
            0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644,
        )
        for path in files
    }
    sums = []
    for bundle in bundles:
        with bundle.open("rb") as file:
            sums.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {bundle.name}\n")
    return {**pieces, _SUMS: ("".join(sums).encode(), 0o644)}


def _add_scripts(stock: Path, pieces: dict[str, tuple[bytes, int]], result: Path) -> None:
    with (
        result.open("wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        tarfile.open(stock, "r:gz") as before,
    ):
        for member in before:
            archive.addfile(member, before.extractfile(member) if member.isreg() else None)
        for path, (data, mode) in pieces.items():
            # No directories: what is there keeps its owner and mode.
            added = tarfile.TarInfo(path)
            added.size, added.mode = len(data), mode
            added.uname = added.gname = "root"
            archive.addfile(added, io.BytesIO(data))


def _make_iso(stock: Path, work: Path) -> None:
    """Make the ISO of what is in the working directory (boot-and-system.md 4.1, 4.2)."""
    tree = {_AGENT_IN_ISO: work / AGENT, SCRIPTS: work / SCRIPTS}
    if (stock / _KEYS).is_file():
        tree[_KEYS] = stock / _KEYS
    mapped = [f"{name}={str(path).replace('=', chr(92) + '=')}" for name, path in tree.items()]
    options = ["-quiet", "-r", "-V", "SYSTEMVM", "-o", str(work / ISO), "-graft-points"]
    command = ["xorriso", "-as", "mkisofs", *options, *mapped]
    try:
        asyncio.run(SystemRunner().run(command, deadline_s=_ISO_DEADLINE_S))
    except ProgramMissingError as error:
        raise BuildError(
            "xorriso, which makes the ISO, is missing: apt install xorriso."
        ) from error
