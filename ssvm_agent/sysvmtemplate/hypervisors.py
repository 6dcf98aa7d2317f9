# SPDX-License-Identifier: Apache-2.0
"""The hypervisors a system VM template can be for, and what follows from each. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ssvm_agent.images.formats import ImageFormat


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """One kind of hypervisor.

    Attributes:
        word: As it is given on the command line.
        database_word: As the column ``hypervisor_type`` has it.
        image_format: Of its templates.
    """

    word: str
    database_word: str
    image_format: ImageFormat


# boot-and-system.md 6.1. Raw images of ovm3 have the extension "raw".
HYPERVISORS: Final = {
    one.word: one
    for one in (
        Hypervisor("kvm", "KVM", ImageFormat.QCOW2),
        Hypervisor("vmware", "VMware", ImageFormat.OVA),
        Hypervisor("xenserver", "XenServer", ImageFormat.VHD),
        Hypervisor("hyperv", "Hyperv", ImageFormat.VHD),
        Hypervisor("lxc", "LXC", ImageFormat.QCOW2),
        Hypervisor("ovm3", "Ovm3", ImageFormat.RAW),
    )
}

# What may be said with -e.
EXTENSIONS: Final = {
    image_format.extension: image_format
    for image_format in (
        ImageFormat.QCOW2,
        ImageFormat.OVA,
        ImageFormat.VHD,
        ImageFormat.RAW,
        ImageFormat.VHDX,
        ImageFormat.VMDK,
    )
}
