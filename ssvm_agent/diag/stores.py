# SPDX-License-Identifier: Apache-2.0
"""Which stores and which of their servers this machine has to do with. Pure.

Known from three places, none of which is complete: the mount table, the boot text's list of
servers, and the agent's report.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ssvm_agent.bootargs import BootArgs
from ssvm_agent.diag.facts import Facts
from ssvm_agent.storage.mounts import MountEntry

_NETWORK_FILE_SYSTEMS = {"nfs": "nfs", "nfs4": "nfs", "cifs": "cifs", "smb3": "cifs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreServer:
    """A server of stores.

    Attributes:
        host: Name or address.
        kind: ``nfs`` or ``cifs``.
        exports: Paths that are known to be used; may be empty.
    """

    host: str
    kind: str = "nfs"
    exports: tuple[str, ...] = ()


def store_mounts(mounts: Iterable[MountEntry], mount_root: Path) -> list[MountEntry]:
    """The mounted stores: what is below the mount root, by whatever file system, one per place."""
    return list(
        {mount.mount_point: mount for mount in mounts if mount_root in mount.mount_point.parents}
        .values()
    )  # fmt: skip


def kind_of(mount: MountEntry) -> str:
    """``nfs``, ``cifs``, or empty for a file system of this machine."""
    return _NETWORK_FILE_SYSTEMS.get(mount.file_system, "")


def server_of(mount: MountEntry) -> StoreServer | None:
    """The server behind a mount; ``None`` for a file system of this machine."""
    match kind_of(mount):
        case "nfs":
            host, _, path = mount.source.rpartition(":/")
            return StoreServer(host=host.strip("[]"), exports=(f"/{path}",))
        case "cifs":
            host, _, path = mount.source.lstrip("/").partition("/")
            return StoreServer(host=host, kind="cifs", exports=(f"/{path}",))
        case _:
            return None


def listed_servers(boot: BootArgs) -> tuple[str, ...]:
    """The servers the boot text names (boot-and-system.md 1.3)."""
    words = (boot.get("secondaryStorageServerAddress") or "").split(",")
    return tuple(word for word in (word.strip() for word in words) if word)


async def store_servers(facts: Facts) -> tuple[StoreServer, ...]:
    """All servers of stores, each once; what is mounted knows best."""
    mounted = store_mounts(await facts.mounts(), facts.settings.mount_root)
    urls = (str(one.get("url", "")) for one in facts.agent.stores)
    return merge(
        [
            *(server for mount in mounted if (server := server_of(mount))),
            *(server for url in urls if (server := _from_url(url))),
            *(StoreServer(host=host) for host in listed_servers(facts.boot)),
        ]
    )


def merge(servers: Iterable[StoreServer]) -> tuple[StoreServer, ...]:
    """One entry for each host, with all its exports; the kind that was named first counts."""
    merged: dict[str, StoreServer] = {}
    for server in servers:
        known = merged.get(server.host)
        kind = known.kind if known else server.kind
        exports = dict.fromkeys((*(known.exports if known else ()), *server.exports))
        merged[server.host] = StoreServer(host=server.host, kind=kind, exports=tuple(exports))
    return tuple(merged.values())


def _from_url(url: str) -> StoreServer | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in {"nfs", "cifs"} or not host:
        return None
    return StoreServer(host=host, kind=parts.scheme, exports=(parts.path,))
