# SPDX-License-Identifier: Apache-2.0
"""Reading, listing and reducing OVF descriptors of several vendors (storage-commands.md 7.3)."""

from __future__ import annotations

import gzip
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ssvm_agent.images.errors import ArchiveRefusedError, CorruptImageError
from ssvm_agent.images.ovf import OvfFacts, OvfGuestOs, OvfNetwork, OvfProperty, resource_type_name
from ssvm_agent.images.ovf_disks import DataDisk, data_disks, reduce_to_disk
from ssvm_agent.images.ovf_reading import read_ovf
from ssvm_agent.images.xmltree import parse_xml
from tests.fixtures import hostile_images as make

DATA = Path(__file__).parents[2] / "data" / "ovf"
VMWARE = (DATA / "vmware-prefixed.ovf").read_bytes()
VIRTUALBOX = (DATA / "virtualbox-default-namespace.ovf").read_bytes()
SIZES = {"app-disk1.vmdk": 70_000, "app-disk2.vmdk": 80_000, "tools.iso": 4096, "app.ovf": 1}
GIB = 1 << 30


@pytest.fixture
def facts() -> OvfFacts:
    """The descriptor with everything in it."""
    return read_ovf(VMWARE, "app.ovf")


def test_the_virtual_size_is_the_sum_over_all_disks(facts: OvfFacts) -> None:
    assert facts.virtual_size_bytes == 8 * GIB + (512 << 20) + (1 << 20)
    assert read_ovf(VIRTUALBOX, "box.ovf").virtual_size_bytes == 20 * GIB


def test_properties_a_user_may_set_are_listed_with_their_category(facts: OvfFacts) -> None:
    """storage-commands.md 7.3: only userConfigurable ones; category = last Category seen."""
    assert facts.properties == (
        OvfProperty(
            key="hostname", type="string", value="web", qualifiers="MinLen(1),MaxLen(63)",
            label="Host name", description="The <b>name</b> & domain", password=False, index=0,
            category="Network",
        ),
        OvfProperty(
            key="rootpw", type="string", value=None, qualifiers=None, label=None, description=None,
            password=True, index=1, category="Secrets",
        ),
    )  # fmt: skip


def test_networks_are_joined_with_their_adapters(facts: OvfFacts) -> None:
    assert facts.networks == (
        OvfNetwork(
            name="VM Network", network_description="management", address_on_parent=7,
            automatic_allocation=True, nic_description="VmxNet3 adapter",
            element_name="Network adapter 1", instance_id=10, resource_sub_type="VMXNET3",
            resource_type="10",
        ),
        OvfNetwork(name="Unused", network_description="nobody is here"),
        OvfNetwork(
            address_on_parent=8, automatic_allocation=False, element_name="Network adapter 2",
            instance_id=11, resource_type="10",
        ),
    )  # fmt: skip


def test_hardware_is_split_into_configurations_and_what_they_share(facts: OvfFacts) -> None:
    hardware = facts.hardware
    assert hardware is not None
    assert hardware.minimum_hardware_version == "vmx-9"
    small, large = hardware.configurations
    assert (small.id, small.label, small.description, small.index) == (
        "small", "Small", "one processor", 0,
    )  # fmt: skip
    assert [item.element_name for item in small.hardware_items] == ["1 virtual CPU"]
    assert [item.element_name for item in large.hardware_items] == ["4 virtual CPUs", "Hard Disk 2"]
    (processor, _) = large.hardware_items
    assert (processor.limit, processor.reservation, processor.virtual_quantity) == (2000, 1000, 4)
    assert processor.resource_type == "Processor"
    assert len(hardware.common_items) == 6
    assert hardware.common_items[0].allocation_units == "byte * 2^20"


@pytest.mark.parametrize(
    ("number", "name"),
    [(1, "Other"), (3, "Processor"), (10, "EthernetAdapter"), (17, "DiskDrive"),
     (33, "EthernetConnection"), (35, "DMTF_reserved"), (32768, "VendorReserved"),
     (0, "VendorReserved")],
)  # fmt: skip
def test_resource_types_have_the_names_answers_use(number: int, name: str) -> None:
    assert resource_type_name(number) == name


def test_licences_are_compressed(facts: OvfFacts) -> None:
    (eula,) = facts.eulas
    assert (eula.info, eula.index) == ("End-user licence", 0)
    assert gzip.decompress(eula.compressed_license).decode() == "You may use this “as is”."


def test_the_guest_is_named(facts: OvfFacts) -> None:
    assert facts.guest_os == OvfGuestOs(
        type="debian10_64Guest", description="Debian GNU/Linux 10 (64-bit)"
    )
    assert read_ovf(VIRTUALBOX, "x").guest_os == OvfGuestOs(type=None, description="RedHat_64")


def test_data_disks_follow_the_hardware_and_isos_come_last(facts: OvfFacts) -> None:
    """storage-commands.md 7.3: each drive item in order, then every ISO file."""
    assert data_disks(facts, SIZES) == (
        DataDisk(
            file_name="app-disk2.vmdk", virtual_size_bytes=512 << 20, file_size_bytes=80_000,
            disk_id="vmdisk10", is_iso=False, bootable=False, controller="SCSI Controller 1",
            controller_sub_type="lsilogic", number=0, configuration="large",
        ),
        DataDisk(
            file_name="app-disk1.vmdk", virtual_size_bytes=8 * GIB, file_size_bytes=69_120,
            disk_id="vmdisk1", is_iso=False, bootable=True, controller="SCSI Controller 1",
            controller_sub_type="lsilogic", number=1, configuration=None,
        ),
        DataDisk(
            file_name="tools.iso", virtual_size_bytes=4096, file_size_bytes=4096, disk_id="file3",
            is_iso=True, bootable=False, controller="", controller_sub_type="", number=2,
            configuration=None,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("configuration", "names"),
    [
        ("small", ["app-disk1.vmdk", "tools.iso"]),
        ("large", ["app-disk2.vmdk", "app-disk1.vmdk", "tools.iso"]),
        (" ", ["app-disk2.vmdk", "app-disk1.vmdk", "tools.iso"]),
    ],
)
def test_data_disks_of_one_configuration(
    facts: OvfFacts, configuration: str, names: list[str]
) -> None:
    assert [disk.file_name for disk in data_disks(facts, SIZES, configuration)] == names


def test_a_default_namespace_and_plain_host_resources_are_read() -> None:
    (disk,) = data_disks(read_ovf(VIRTUALBOX, "box.ovf"), {"box-disk001.vmdk": 5})
    assert (disk.file_name, disk.file_size_bytes, disk.bootable) == ("box-disk001.vmdk", 5, True)
    assert (disk.controller, disk.controller_sub_type) == ("ideController0", "PIIX4")


def test_a_missing_file_is_an_error(facts: OvfFacts) -> None:
    with pytest.raises(ArchiveRefusedError, match=r"does not exists tools\.iso"):
        data_disks(facts, {name: 1 for name in SIZES if name != "tools.iso"})


def test_hardware_on_an_unknown_disk_is_an_error() -> None:
    data = VIRTUALBOX.replace(b"/disk/vmdisk1", b"/disk/other")
    with pytest.raises(CorruptImageError, match="'other'"):
        data_disks(read_ovf(data, "x"), {"box-disk001.vmdk": 5})


def test_an_empty_disk_has_no_file() -> None:
    data = VIRTUALBOX.replace(b' ovf:fileRef="file1"', b"")
    (disk,) = data_disks(read_ovf(data, "x"), {})
    assert (disk.file_name, disk.file_size_bytes) == (None, 0)


def test_controllers_in_a_circle_end() -> None:
    circle = VIRTUALBOX.replace(
        b"<rasd:InstanceID>3</rasd:InstanceID>",
        b"<rasd:InstanceID>3</rasd:InstanceID><rasd:Parent>8</rasd:Parent>",
    )
    assert read_ovf(circle, "x").disks[0].controller


def names_in(data: bytes, tag: str, attribute: str) -> list[str | None]:
    """Attributes of all elements with a tag, as another parser sees them."""
    envelope = "{http://schemas.dmtf.org/ovf/envelope/1}"
    root = ET.fromstring(data)
    return [element.get(envelope + attribute) for element in root.iter(envelope + tag)]


@pytest.mark.parametrize(
    ("kept", "file", "disk"),
    [("app-disk1.vmdk", "file1", ["vmdisk1"]), ("app-disk2.vmdk", "file2", ["vmdisk10"]),
     ("tools.iso", "file3", [])],
)  # fmt: skip
def test_a_reduced_descriptor_has_one_file_and_its_disk(
    kept: str, file: str, disk: list[str]
) -> None:
    """storage-commands.md 3.18: other files, disks and the items on them are gone."""
    reduced = reduce_to_disk(VMWARE, kept)
    assert names_in(reduced, "File", "id") == [file]
    assert names_in(reduced, "Disk", "diskId") == disk
    resources = [line for line in reduced.decode().splitlines() if "HostResource" in line]
    assert len(resources) == 1
    assert (disk[0] if disk else file) in resources[0]
    assert b"1 virtual CPU" in reduced
    assert b"Network adapter 1" in reduced


def test_what_stays_of_a_reduced_descriptor_stays_byte_for_byte() -> None:
    assert reduce_to_disk(VIRTUALBOX, "box-disk001.vmdk") == VIRTUALBOX
    original = iter(VMWARE)
    assert all(byte in original for byte in reduce_to_disk(VMWARE, "tools.iso"))


def test_a_file_that_is_not_referred_to_cannot_be_kept() -> None:
    with pytest.raises(ArchiveRefusedError, match=r"other\.vmdk"):
        reduce_to_disk(VMWARE, "other.vmdk")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_descriptors_in_other_encodings_are_read_and_reduced(encoding: str) -> None:
    text = make.ovf(files=[("file1", "disk1.vmdk"), ("file2", "dïsk2.vmdk")]).decode()
    data = text.replace("UTF-8", encoding).encode(encoding)
    assert read_ovf(data, "x").files[1].name == "dïsk2.vmdk"
    reduced = reduce_to_disk(data, "disk1.vmdk").decode(encoding)
    assert "file2" not in reduced
    assert reduced.endswith("</Envelope>")


def test_elements_know_which_bytes_they_are() -> None:
    data = b'<a><b x=">"/>text<c><d/></c><!-- c --><e></e>\n</a>'
    root = parse_xml(data, "It")
    pieces = {
        child.name: data[child.start : child.end]
        for child in [*root.children, *root.descendants("d")]
    }
    assert pieces == {"b": b'<b x=">"/>', "c": b"<c><d/></c>", "d": b"<d/>", "e": b"<e></e>"}
