# SPDX-License-Identifier: Apache-2.0
"""Mounting network stores: exact options, the kernel's mount table, detaching a stale mount.

Decides nothing: when to mount is the business of :mod:`ssvm_agent.storage.stores`. The mount table
is read from ``/proc/self/mountinfo``, which costs no program and does not touch the mounted file
systems, so a dead one cannot block it.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.host.errors import HostError, ProgramFailedError
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import Runner
from ssvm_agent.storage.errors import MountFailedError, UnsupportedStoreError
from ssvm_agent.storage.layout import StoreUrl

MOUNTINFO: Final = Path("/proc/self/mountinfo")

# Compat: storage-commands.md 8. "soft" with retransmissions without end behaves like a hard mount
# that can still be interrupted; directory attributes are not cached because hypervisors write too.
_NFS_OPTIONS: Final = "soft,timeo=133,retrans=2147483647,tcp,acdirmax=0,acdirmin=0"
_CIFS_OPTIONS: Final = "soft,actimeo=0"
_NFS_VERSIONS: Final = frozenset({"3", "4", "4.0", "4.1", "4.2"})
_CREDENTIAL_NAMES: Final = {"user": "username", "password": "password", "domain": "domain"}

# Deadlines, inner to outer: a mount program gives up on a silent server after about two minutes; we
# end it before, well within the patience of the management server for the set-up command.
MOUNT_DEADLINE_S: Final = 90.0
UNMOUNT_DEADLINE_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MountEntry:
    """One line of the mount table.

    Attributes:
        mount_point: Where it is mounted.
        file_system: Type, such as ``nfs4``.
        source: Device, such as ``10.1.1.5:/export``.
        options: Of the file system (the "super options").
        read_only: Whether the mount or its file system refuses writes.
    """

    mount_point: Path
    file_system: str
    source: str
    options: tuple[str, ...]
    read_only: bool

    @property
    def version(self) -> str | None:
        """The protocol version that was negotiated (requirements R11), where there is one."""
        found = (value for value in self.options if value.startswith("vers="))
        return next(found, "vers=").removeprefix("vers=") or None


def parse_mountinfo(text: str) -> list[MountEntry]:
    """The mount table, in the order of mounting; lines that are not understood are left out."""
    return [entry for line in text.splitlines() if (entry := _parse_line(line))]


def _parse_line(line: str) -> MountEntry | None:
    head, separator, tail = line.partition(" - ")
    fields, system = head.split(" "), tail.split(" ")
    if not separator or len(fields) < 6 or len(system) < 3:
        return None
    options = tuple(_unescape(system[2]).split(","))
    return MountEntry(
        mount_point=Path(_unescape(fields[4])),
        file_system=system[0],
        source=_unescape(system[1]),
        options=options,
        read_only="ro" in fields[5].split(",") or "ro" in options,
    )


def _unescape(field: str) -> str:
    r"""A field of mountinfo, in which blanks and backslashes are written ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def find_mount(directory: Path, *, mountinfo: Path = MOUNTINFO) -> MountEntry | None:
    """What is mounted at a directory, or None; does not touch the directory itself (blocking)."""
    text = mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
    # A later mount at the same place covers an earlier one.
    return next(
        (entry for entry in reversed(parse_mountinfo(text)) if entry.mount_point == directory), None
    )


def check_nfs_version(version: str | None) -> str | None:
    """The version for the mount options, or None to let the kernel negotiate.

    Empty and the literal word ``null`` mean none (requirements R11).

    Raises:
        UnsupportedStoreError: It is no NFS version.
    """
    text = (version or "").strip()
    if text.lower() in {"", "null"}:
        return None
    if text not in _NFS_VERSIONS:
        raise UnsupportedStoreError(
            f"NFS version {text[:20]!r} is not supported; use 3, 4, 4.0, 4.1 or 4.2"
        )
    return text


def nfs_options(version: str | None) -> str:
    """The options of an NFS mount (storage-commands.md 8).

    Args:
        version: As :func:`check_nfs_version` returns it.
    """
    return f"{_NFS_OPTIONS},vers={version}" if version else _NFS_OPTIONS


def device(url: StoreUrl, address: str) -> str:
    """What to mount: ``address:/path`` for NFS, ``//address/path`` for CIFS."""
    literal = f"[{address}]" if ":" in address else address
    return f"{literal}:{url.path}" if url.scheme == "nfs" else f"//{literal}{url.path}"


class Mounter:
    """Mounts and unmounts through the programs of the system.

    Args:
        runner: Starts them.
        local: Threads for small files of this machine.
        mountinfo: The kernel's mount table.
        mount_deadline_s: How long a mount may take.
    """

    def __init__(
        self,
        runner: Runner,
        local: WorkPool,
        *,
        mountinfo: Path = MOUNTINFO,
        mount_deadline_s: float = MOUNT_DEADLINE_S,
    ) -> None:
        self._runner = runner
        self._local = local
        self._mountinfo = mountinfo
        self._mount_deadline_s = mount_deadline_s

    def find(self, directory: Path) -> MountEntry | None:
        """What is mounted at a directory; see :func:`find_mount`."""
        return find_mount(directory, mountinfo=self._mountinfo)

    def entries(self) -> list[MountEntry]:
        """The whole mount table."""
        return parse_mountinfo(
            self._mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
        )

    async def mount(
        self, url: StoreUrl, address: str, directory: Path, version: str | None
    ) -> None:
        """Mount a network store at an existing directory.

        Args:
            url: The store; an ``nfs`` or ``cifs`` URL.
            address: Literal address of its host.
            directory: Where.
            version: NFS version, or None.

        Raises:
            MountFailedError: With what the program said.
        """
        target = device(url, address)
        try:
            if url.scheme == "nfs":
                await self._mount("nfs", nfs_options(version), target, directory)
            else:
                await self._mount_cifs(url, target, directory)
        except HostError as error:
            said = error.output if isinstance(error, ProgramFailedError) else error.message
            raise MountFailedError(
                f"Unable to mount {target} at {directory} due to {said or 'no stated reason'}"
            ) from error

    async def _mount_cifs(self, url: StoreUrl, target: str, directory: Path) -> None:
        # Differs: storage-commands.md 8: a password in the options would be in the process list.
        credentials = await self._local.call(_write_credentials, url)
        plain = (
            f"{name}={value}" for name, value in url.query.items() if name not in _CREDENTIAL_NAMES
        )
        options = ",".join([f"credentials={credentials}", *plain, _CIFS_OPTIONS])
        try:
            await self._mount("cifs", options, target, directory)
        finally:
            await self._local.call(credentials.unlink, missing_ok=True)

    async def _mount(self, kind: str, options: str, target: str, directory: Path) -> None:
        await self._runner.run(
            ["mount", "-t", kind, "-o", options, target, directory],
            deadline_s=self._mount_deadline_s,
        )

    async def unmount(self, directory: Path) -> None:
        """Detach a mount whose server is gone, and fail what still waits for it.

        Forced, so that requests in flight return an error; lazy, so that open files do not matter;
        without helper programs and path resolution, which would ask the dead server.

        Raises:
            HostError: It is still mounted.
        """
        await self._runner.run(
            ["umount", "--internal-only", "--no-canonicalize", "--force", "--lazy", directory],
            deadline_s=UNMOUNT_DEADLINE_S,
        )


def _write_credentials(url: StoreUrl) -> Path:
    """A file that only we can read, for as long as the mount program runs."""
    values = {name: url.query[key] for key, name in _CREDENTIAL_NAMES.items() if key in url.query}
    descriptor, name = tempfile.mkstemp(prefix="ssvm-cifs-")
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        file.writelines(f"{key}={value}\n" for key, value in values.items())
    return Path(name)
