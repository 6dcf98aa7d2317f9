# SPDX-License-Identifier: Apache-2.0
"""The ``<name>.ova.meta`` file: from which files an OVA is packed when somebody asks for it.

Written beside a data disk template (storage-commands.md 3.18), read when its OVA is wanted (3.20).
"""

from __future__ import annotations

from dataclasses import dataclass

from ssvm_agent import javaproperties
from ssvm_agent.images.errors import CorruptImageError
from ssvm_agent.images.names import plain_name

_MAX_DISKS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OvaMeta:
    """The parts of an OVA.

    Attributes:
        file_name: Name of the OVA.
        ovf: Name of its descriptor.
        disks: Names of its disks.
    """

    file_name: str
    ovf: str
    disks: tuple[str, ...]

    @property
    def members(self) -> tuple[str, ...]:
        """The files in the order they are packed."""
        return (self.ovf, *self.disks)


def parse(text: str) -> OvaMeta:
    """Read a meta file.

    Raises:
        CorruptImageError: It is incomplete.
        ArchiveRefusedError: It names something that is not a plain file name.
    """
    values = javaproperties.parse(text)
    count = values.get("numDisks", "")
    names = [values.get("ova.filename", ""), values.get("ovf", "")]
    if not count.isascii() or not count.isdigit() or not 1 <= int(count[:9]) <= _MAX_DISKS:
        raise CorruptImageError("The .ova.meta file does not say how many disks there are.")
    names += [values.get(f"disk{number}.name", "") for number in range(1, int(count) + 1)]
    if not all(names):
        raise CorruptImageError("The .ova.meta file is not complete.")
    file_name, ovf, *disks = map(plain_name, names)
    return OvaMeta(file_name=file_name, ovf=ovf, disks=tuple(disks))


def render(file_name: str, ovf: str, disk: str, disk_size_bytes: int) -> str:
    """Write the meta file of an OVA with one disk."""
    return javaproperties.render(
        {
            "ova.filename": file_name,
            "version": "1.0",
            "ovf": ovf,
            "numDisks": "1",
            "disk1.name": disk,
            "disk1.size": str(disk_size_bytes),
        }
    )
