# SPDX-License-Identifier: Apache-2.0
"""One good command of every kind that touches a store, and the store they are good for."""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

from ssvm_agent.storage.properties import ImageProperties, write_file
from tests.fakes.machine import FakeClock
from tests.fixtures import hostile_images as make

Order = tuple[str, dict[str, Any]]

API = "com.cloud.agent.api."
STORAGE_API = "com.cloud.agent.api.storage."
STORAGE = "org.apache.cloudstack.storage.command."
TO = "org.apache.cloudstack.storage.to."

QCOW2 = make.qcow2(size=10 << 20)
OVF = make.ovf(files=[("f1", "boot.vmdk")], disks=[("d1", "f1", "10")])
OVA = make.tar_archive(make.tar_member("vm.ovf", OVF), make.tar_member("boot.vmdk", make.vmdk()))

# What the store holds: path -> content. Images get their properties files besides.
FILES = {
    "template/tmpl/2/205/a.qcow2": QCOW2,
    "template/tmpl/2/206/u.ova": OVA,
    "template/tmpl/2/206/vm.ovf": OVF,
    "template/tmpl/2/206/boot.vmdk": make.vmdk(),
    "template/tmpl/2/2050/b.qcow2": QCOW2,
    "volumes/2/5/v.qcow2": QCOW2,
    "volumes/2/50/w.qcow2": QCOW2,
    "volumes/2/6/of-a-host.qcow2": QCOW2,
    "snapshots/2/5/snap": QCOW2,
    "snapshots/2/5/snap-daily": QCOW2,
    "snapshots/2/50/snap": QCOW2,
    "checkpoints/2/5/one": b"<checkpoint/>",
    "configdrive/i-2-5-VM.iso": b"iso",
    "systemvm/systemvm.iso": b"iso",
    "backups/2/i-2-5-VM/delta": b"backup",
}
_INSTALLED = {
    "template/tmpl/2/205/a.qcow2": "205-2-x",
    "template/tmpl/2/206/u.ova": "206-2-y",
    "template/tmpl/2/2050/b.qcow2": "2050-2-z",
    "volumes/2/5/v.qcow2": "vol-5",
    "volumes/2/50/w.qcow2": "vol-50",
}
LINKS = {
    "template/tmpl/2/link": "../../../../outside",
    "template/tmpl/2/2050/link.qcow2": "../../../../../outside/secret",
    "volumes/2/link": "/etc",
    "volumes/link": "../outside",
    "volumes/2/5/link": "../50",
    "snapshots/2/link": "5",
    "snapshots/2/5/link": "../50/snap",
    "configdrive/link.iso": "../../outside/secret",
}
"""Planted by somebody with access to the export."""


def fill(root: Path) -> None:
    """Make a store, and beside it what nobody may touch."""
    for path, content in FILES.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        if path in _INSTALLED:
            _install(place, _INSTALLED[path])
    for path, target in LINKS.items():
        (root / path).symlink_to(target)
    outside = root.parent / "outside"
    (outside / "2/5").mkdir(parents=True, exist_ok=True)
    (outside / "secret").write_bytes(b"secret")
    (outside / "2/5/file").write_bytes(b"secret")


def _install(place: Path, name: str) -> None:
    marker = "template.properties" if "template" in place.parts else "volume.properties"
    properties = ImageProperties(
        unique_name=name, id=int(place.parent.name), file_name=place.name,
        size_bytes=place.stat().st_size, virtual_size_bytes=10 << 20,
        formats=(place.suffix.removeprefix("."),),
    )  # fmt: skip
    write_file(place.parent / marker, properties, now=FakeClock().now())


def _template(path: str, **more: Any) -> dict[str, Any]:
    fields = {"id": 205, "accountId": 2, "name": "205-2-x", "format": "QCOW2", "path": path}
    return {f"{TO}TemplateObjectTO": {**fields, "imageDataStore": "$STORE", **more}}


def _volume(path: str, **more: Any) -> dict[str, Any]:
    fields = {"id": 5, "accountId": 2, "name": "vol-5", "path": path, "dataStore": "$STORE"}
    return {f"{TO}VolumeObjectTO": {**fields, **more}}


def _snapshot(path: str = "snapshots/2/5/snap") -> dict[str, Any]:
    fields = {
        "id": 9, "path": path, "hypervisorType": "KVM", "dataStore": "$STORE",
        "volume": {"format": "QCOW2", "id": 5},
    }  # fmt: skip
    return {f"{TO}SnapshotObjectTO": fields}


_DOWNLOAD: dict[str, Any] = {
    "url": "$SITE/image.qcow2", "name": "300-2-n", "format": "QCOW2", "id": 300, "accountId": 2,
    "resourceType": "TEMPLATE", "installPath": "template/tmpl/2/300", "_store": "$STORE",
    "checksum": None, "maxDownloadSizeInBytes": 1 << 30, "description": "text", "hvm": True,
    "followRedirects": False,
}  # fmt: skip

_ORDERS: dict[str, Order] = {
    "download template": (f"{STORAGE}DownloadCommand", _DOWNLOAD),
    "download volume": (
        f"{STORAGE}DownloadCommand",
        {**_DOWNLOAD, "resourceType": "VOLUME", "installPath": "volumes/2/300"},
    ),
    "download snapshot": (
        f"{STORAGE}DownloadCommand",
        {**_DOWNLOAD, "resourceType": "SNAPSHOT", "installPath": "snapshots/2/300"},
    ),
    "progress": (
        f"{STORAGE}DownloadProgressCommand",
        {**_DOWNLOAD, "jobId": "0b7f", "request": "GET_OR_RESTART"},
    ),
    "list templates": (
        f"{STORAGE_API}ListTemplateCommand",
        {"store": "$STORE", "nfsVersion": "4.1"},
    ),
    "list volumes": (f"{STORAGE_API}ListVolumeCommand", {"store": "$STORE", "secUrl": "$URL"}),
    "statistics": (f"{API}GetStorageStatsCommand", {"store": "$STORE", "nfsVersion": None}),
    "browse": (
        f"{STORAGE}browser.ListDataStoreObjectsCommand",
        {"store": "$STORE", "path": "template/tmpl/2", "startIndex": 0, "pageSize": 10},
    ),
    "delete template": (
        f"{STORAGE}DeleteCommand",
        {"data": _template("template/tmpl/2/205/a.qcow2")},
    ),
    "delete volume": (f"{STORAGE}DeleteCommand", {"data": _volume("volumes/2/5/v.qcow2")}),
    "delete snapshot": (f"{STORAGE}DeleteCommand", {"data": _snapshot()}),
    "delete backup": (
        f"{STORAGE}DeleteCommand",
        {
            "data": {
                f"{TO}BackupDeltaTO": {
                    "id": 7, "path": "backups/2/i-2-5-VM/delta", "dataStoreTO": "$STORE",
                }
            }
        },
    ),
    "delete snapshots": (
        f"{API}DeleteSnapshotsDirCommand",
        {"store": "$STORE", "directory": "snapshots/2/5"},
    ),
    "move template": (
        f"{STORAGE}CopyCommand",
        {
            "srcTO": _template("template/tmpl/2/205/a.qcow2"),
            "destTO": _template("template/tmpl/2/301"),
        },
    ),
    "template of snapshot": (
        f"{STORAGE}CopyCommand",
        {"srcTO": _snapshot(), "destTO": _template("template/tmpl/2/302")},
    ),
    "checksum": (
        f"{API}ComputeChecksumCommand",
        {"store": "$STORE", "templatePath": "template/tmpl/2/205/a.qcow2", "algorithm": "MD5"},
    ),
    "zone copy": (
        f"{STORAGE}QuerySnapshotZoneCopyCommand",
        {"snapshot": _snapshot()[f"{TO}SnapshotObjectTO"]},
    ),
    "move volume": (
        f"{STORAGE}MoveVolumeCommand",
        {
            "srcPath": "volumes/2/5", "destPath": "volumes/3/5", "datastoreUri": "$URL",
            "volumeName": "vol-5", "volumeUuid": "u",
        },
    ),
    "config drive": (
        f"{API}HandleConfigDriveIsoCommand",
        {
            "isoFile": "configdrive/i-2-7-VM.iso", "create": True, "destStore": "$STORE",
            "isoData": base64.b64encode(b"iso" * 99).decode(),
        },
    ),
    "no config drive": (
        f"{API}HandleConfigDriveIsoCommand",
        {"isoFile": "configdrive/i-2-5-VM.iso", "create": False, "destStore": "$STORE"},
    ),
    "disks": (
        f"{STORAGE_API}GetDatadisksCommand",
        {"data": _template("template/tmpl/2/206/u.ova", format="OVA", name="206-2-y", id=206)},
    ),
    "disk template": (
        f"{STORAGE_API}CreateDatadiskTemplateCommand",
        {
            "dataDiskTemplate": _template(
                "template/tmpl/2/303", id=303, uniqueName="303-2-d", format="OVA", size=10 << 20
            ),
            "path": "$ROOT/template/tmpl/2/206/boot.vmdk", "fileSize": 1, "bootable": False,
            "diskId": "d1",
        },
    ),
    "withdraw": (
        f"{STORAGE_API}DeleteEntityDownloadURLCommand",
        {"type": "VOLUME", "path": "volumes/2/6/of-a-host.qcow2", "parentPath": "$NAME"},
    ),
}  # fmt: skip
NAMES = tuple(_ORDERS)


def order(name: str, root: Path, site: str, directory_name: str = "") -> Order:
    """A good command for the store at ``root``."""
    words: dict[str, Any] = {
        "$STORE": {"com.cloud.agent.api.to.NfsTO": {"_url": f"file://{root}", "_role": "Image"}},
        "$URL": f"file://{root}",
        "$NAME": directory_name,
    }

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        if isinstance(value, str) and value in words:
            return copy.deepcopy(words[value])
        if isinstance(value, str):
            return value.replace("$SITE", site).replace("$ROOT", str(root))
        return value

    class_name, fields = _ORDERS[name]
    return class_name, filled(fields)
