# SPDX-License-Identifier: Apache-2.0
"""The hypervisor is named by the strongest fact the machine shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.appliance.boot.platform import PlatformFacts, detect, gather
from ssvm_agent.appliance.plan.model import Hypervisor


@pytest.mark.parametrize(
    ("facts", "hypervisor"),
    [
        (PlatformFacts(xen_type="xen", xen_guest_type="PV"), Hypervisor.XEN_PV),
        (PlatformFacts(xen_type="xen", xen_guest_type="PVH"), Hypervisor.XEN_PV),
        (PlatformFacts(xen_type="xen", xen_guest_type="HVM"), Hypervisor.XEN_HVM),
        (PlatformFacts(has_proc_xen=True), Hypervisor.XEN_PV),
        (PlatformFacts(has_proc_xen=True, dmi="xen hvm domu"), Hypervisor.XEN_HVM),
        (PlatformFacts(dmi="vmware, inc. vmware virtual platform"), Hypervisor.VMWARE),
        (PlatformFacts(dmi="innotek gmbh virtualbox"), Hypervisor.VIRTUALBOX),
        (PlatformFacts(dmi="microsoft corporation virtual machine"), Hypervisor.HYPERV),
        (PlatformFacts(has_hyperv_bus=True), Hypervisor.HYPERV),
        (PlatformFacts(dmi="qemu standard pc"), Hypervisor.KVM),
        (PlatformFacts(dmi="red hat kvm"), Hypervisor.KVM),
        (PlatformFacts(cpuinfo="model name\t: QEMU Virtual CPU"), Hypervisor.KVM),
        (PlatformFacts(has_guest_agent_port=True), Hypervisor.KVM),
        (PlatformFacts(dmi="dell inc. poweredge"), None),
    ],
)
def test_facts_name_a_hypervisor(facts: PlatformFacts, hypervisor: Hypervisor | None) -> None:
    """boot-and-system.md 1.4."""
    detection = detect(facts)
    assert detection.hypervisor is hypervisor
    assert detection.reason


def test_facts_are_read_below_a_root(tmp_path: Path) -> None:
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/sys_vendor").write_text("QEMU\n")
    (tmp_path / "dev/virtio-ports").mkdir(parents=True)
    (tmp_path / "dev/virtio-ports/org.qemu.guest_agent.0").touch()
    facts = gather(tmp_path)
    assert facts.dmi == "qemu"
    assert facts.has_guest_agent_port
    assert not facts.has_hyperv_bus


def test_a_bare_machine_shows_nothing(tmp_path: Path) -> None:
    assert gather(tmp_path) == PlatformFacts()
