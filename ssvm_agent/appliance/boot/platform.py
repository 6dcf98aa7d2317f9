# SPDX-License-Identifier: Apache-2.0
"""Which hypervisor the machine runs on, from what the machine shows of it.

The facts are files, read below a root that tests can choose; the decision is pure. No program is
started: what ``virt-what`` and its kin know stands in the same files (boot-and-system.md 1.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.plan.model import Hypervisor

# The longest of these files is a few KiB; a device of the same name must not be read for ever.
_READ_LIMIT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """What the machine shows of its platform.

    Attributes:
        dmi: DMI identity strings (vendor, product, board, BIOS) joined by blanks, lower case.
        xen_type: Content of ``/sys/hypervisor/type``.
        xen_guest_type: Content of ``/sys/hypervisor/guest_type`` (``PV``, ``PVH``, ``HVM``).
        has_proc_xen: Whether ``/proc/xen`` is a directory.
        cpuinfo: ``/proc/cpuinfo``.
        has_hyperv_bus: Whether the kernel has a VMBus.
        has_guest_agent_port: Whether a QEMU guest agent channel is attached.
    """

    dmi: str = ""
    xen_type: str = ""
    xen_guest_type: str = ""
    has_proc_xen: bool = False
    cpuinfo: str = ""
    has_hyperv_bus: bool = False
    has_guest_agent_port: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The verdict and the fact it rests on, as a sentence."""

    hypervisor: Hypervisor | None
    reason: str


def gather(root: Path = Path("/")) -> PlatformFacts:
    """Read the facts; whatever cannot be read counts as not there."""
    dmi = " ".join(
        text
        for name in ("sys_vendor", "product_name", "board_vendor", "bios_vendor", "chassis_vendor")
        if (text := read_text(root / "sys/class/dmi/id" / name).strip())
    )
    ports = root / "dev/virtio-ports"
    return PlatformFacts(
        dmi=dmi.lower(),
        xen_type=read_text(root / "sys/hypervisor/type").strip(),
        xen_guest_type=read_text(root / "sys/hypervisor/guest_type").strip(),
        has_proc_xen=(root / "proc/xen").is_dir(),
        cpuinfo=read_text(root / "proc/cpuinfo"),
        has_hyperv_bus=(root / "sys/bus/vmbus/devices").is_dir()
        and any((root / "sys/bus/vmbus/devices").iterdir()),
        has_guest_agent_port=(ports / "org.qemu.guest_agent.0").exists(),
    )


def detect(facts: PlatformFacts) -> Detection:
    """The hypervisor, by the strongest fact first."""
    if facts.xen_type == "xen" or (facts.has_proc_xen and not facts.xen_type):
        if facts.xen_guest_type.upper() in {"PV", "PVH"}:
            return Detection(
                hypervisor=Hypervisor.XEN_PV, reason="/sys/hypervisor/guest_type says PV"
            )
        if facts.xen_guest_type.upper() == "HVM" or "hvm domu" in facts.dmi:
            return Detection(hypervisor=Hypervisor.XEN_HVM, reason="the machine is a Xen HVM guest")
        return Detection(hypervisor=Hypervisor.XEN_PV, reason="/proc/xen is there, HVM is not said")
    vendors = (
        ("vmware", Hypervisor.VMWARE, "DMI names VMware"),
        ("virtualbox", Hypervisor.VIRTUALBOX, "DMI names VirtualBox"),
        ("innotek", Hypervisor.VIRTUALBOX, "DMI names VirtualBox"),
        ("hvm domu", Hypervisor.XEN_HVM, "DMI names a Xen HVM guest"),
    )
    for word, hypervisor, reason in vendors:
        if word in facts.dmi:
            return Detection(hypervisor=hypervisor, reason=reason)
    if facts.has_hyperv_bus or ("microsoft" in facts.dmi and "virtual" in facts.dmi):
        return Detection(hypervisor=Hypervisor.HYPERV, reason="the machine has a Hyper-V bus")
    # Differs: boot-and-system.md 1.4. QEMU without acceleration is the same machine to us.
    for word in ("qemu", "kvm", "rhev", "ovirt", "openstack", "seabios", "bochs"):
        if word in facts.dmi:
            return Detection(hypervisor=Hypervisor.KVM, reason=f"DMI names {word}")
    if "QEMU" in facts.cpuinfo:
        return Detection(hypervisor=Hypervisor.KVM, reason="/proc/cpuinfo names QEMU")
    if facts.has_guest_agent_port:
        return Detection(hypervisor=Hypervisor.KVM, reason="a QEMU guest agent channel is attached")
    return Detection(hypervisor=None, reason="nothing on this machine names a hypervisor")


def read_text(path: Path) -> str:
    """The beginning of a file as text; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_READ_LIMIT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
