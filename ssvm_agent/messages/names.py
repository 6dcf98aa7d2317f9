# SPDX-License-Identifier: Apache-2.0
"""Constants of the Java enumerations an SSVM meets, and the field types made of them.

A field of these types is a ``str``: a known name in any case reads as the constant's own spelling,
anything else is kept as the text it was (wire-protocol.md 11), and a blank reads as ``None``.
Compare with the members: ``command.format == ImageFormat.QCOW2``.
"""

from enum import StrEnum
from typing import Annotated


class ImageFormat(StrEnum):
    """com.cloud.storage.Storage.ImageFormat."""

    QCOW2 = "QCOW2"
    RAW = "RAW"
    VHD = "VHD"
    ISO = "ISO"
    OVA = "OVA"
    VHDX = "VHDX"
    BAREMETAL = "BAREMETAL"
    EXTERNAL = "EXTERNAL"
    VMDK = "VMDK"
    VDI = "VDI"
    TAR = "TAR"
    ZIP = "ZIP"
    DIR = "DIR"


class HypervisorType(StrEnum):
    """com.cloud.hypervisor.Hypervisor.HypervisorType; operators may add more."""

    NONE = "None"
    XENSERVER = "XenServer"
    KVM = "KVM"
    VMWARE = "VMware"
    HYPERV = "Hyperv"
    VIRTUALBOX = "VirtualBox"
    PARALLELS = "Parralels"
    BAREMETAL = "BareMetal"
    SIMULATOR = "Simulator"
    OVM = "Ovm"
    OVM3 = "Ovm3"
    LXC = "LXC"
    CUSTOM = "Custom"
    EXTERNAL = "External"
    ANY = "Any"


class DataStoreRole(StrEnum):
    """com.cloud.storage.DataStoreRole."""

    PRIMARY = "Primary"
    IMAGE = "Image"
    IMAGE_CACHE = "ImageCache"
    BACKUP = "Backup"
    OBJECT = "Object"


class PoolType(StrEnum):
    """com.cloud.storage.Storage.StoragePoolType, as far as they occur."""

    FILESYSTEM = "Filesystem"
    NETWORK_FILESYSTEM = "NetworkFilesystem"
    SMB = "SMB"
    SHARED_MOUNT_POINT = "SharedMountPoint"
    RBD = "RBD"
    CLVM = "CLVM"
    LVM = "LVM"
    VMFS = "VMFS"
    PRE_SETUP = "PreSetup"
    ISCSI = "Iscsi"
    GLUSTER = "Gluster"
    MANAGED_NFS = "ManagedNFS"
    LINSTOR = "Linstor"
    STORPOOL = "StorPool"
    POWER_FLEX = "PowerFlex"
    DATASTORE_CLUSTER = "DatastoreCluster"


class ResourceType(StrEnum):
    """What a DownloadCommand brings; ISOs are templates."""

    TEMPLATE = "TEMPLATE"
    VOLUME = "VOLUME"
    SNAPSHOT = "SNAPSHOT"


class RequestType(StrEnum):
    """What a progress command asks for."""

    GET_STATUS = "GET_STATUS"
    ABORT = "ABORT"
    RESTART = "RESTART"
    PURGE = "PURGE"
    GET_OR_RESTART = "GET_OR_RESTART"


class DownloadStatus(StrEnum):
    """com.cloud.storage.VMTemplateStorageResourceAssoc.Status."""

    UNKNOWN = "UNKNOWN"
    DOWNLOAD_ERROR = "DOWNLOAD_ERROR"
    NOT_DOWNLOADED = "NOT_DOWNLOADED"
    DOWNLOAD_IN_PROGRESS = "DOWNLOAD_IN_PROGRESS"
    DOWNLOADED = "DOWNLOADED"
    ABANDONED = "ABANDONED"
    NOT_UPLOADED = "NOT_UPLOADED"
    UPLOAD_IN_PROGRESS = "UPLOAD_IN_PROGRESS"
    CREATING = "CREATING"
    CREATED = "CREATED"
    BYPASSED = "BYPASSED"


class FtpUploadStatus(StrEnum):
    """Status of the deprecated upload to an FTP server."""

    UNKNOWN = "UNKNOWN"
    NOT_UPLOADED = "NOT_UPLOADED"
    UPLOAD_IN_PROGRESS = "UPLOAD_IN_PROGRESS"
    UPLOADED = "UPLOADED"
    UPLOAD_ERROR = "UPLOAD_ERROR"


class BrowserUploadStatus(StrEnum):
    """Status of a browser upload (storage-commands.md 5.6)."""

    UNKNOWN = "UNKNOWN"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"


class EntityType(StrEnum):
    """What a browser uploads."""

    VOLUME = "Volume"
    TEMPLATE = "Template"


class ExtractType(StrEnum):
    """What a download link shows (storage-commands.md 3.8)."""

    VOLUME = "VOLUME"
    SNAPSHOT = "SNAPSHOT"
    TEMPLATE = "TEMPLATE"
    ISO = "ISO"


class IsoLocation(StrEnum):
    """Where a config drive ISO lies."""

    PRIMARY = "PRIMARY"
    SECONDARY = "SECONDARY"
    HOST = "HOST"


class HostType(StrEnum):
    """com.cloud.host.Host.Type, as far as an SSVM is concerned."""

    STORAGE = "Storage"
    ROUTING = "Routing"
    SECONDARY_STORAGE = "SecondaryStorage"
    SECONDARY_STORAGE_CMD_EXECUTOR = "SecondaryStorageCmdExecutor"
    SECONDARY_STORAGE_VM = "SecondaryStorageVM"
    CONSOLE_PROXY = "ConsoleProxy"


ImageFormatName = Annotated[str, ImageFormat]
HypervisorName = Annotated[str, HypervisorType]
DataStoreRoleName = Annotated[str, DataStoreRole]
PoolTypeName = Annotated[str, PoolType]
ResourceTypeName = Annotated[str, ResourceType]
RequestTypeName = Annotated[str, RequestType]
DownloadStatusName = Annotated[str, DownloadStatus]
FtpUploadStatusName = Annotated[str, FtpUploadStatus]
BrowserUploadStatusName = Annotated[str, BrowserUploadStatus]
EntityTypeName = Annotated[str, EntityType]
ExtractTypeName = Annotated[str, ExtractType]
IsoLocationName = Annotated[str, IsoLocation]
HostTypeName = Annotated[str, HostType]
