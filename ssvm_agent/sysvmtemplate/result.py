# SPDX-License-Identifier: Apache-2.0
"""What was installed, or would be; and the same as an object for programs. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult:
    """One store.

    Attributes:
        mount: Where it is mounted.
        directory: Of the template, absolute.
        replaces: Whether another template was, or would be, replaced there.
        free_bytes: Before the installation.
    """

    mount: Path
    directory: Path
    replaces: bool
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One installation.

    Attributes:
        template_id: Of the template.
        template_name: In the database; empty without one.
        hypervisor: As the database has it.
        extension: Of the image file.
        source: The file or URL, masked.
        stores: Where it is.
        dry_run: Nothing was done; the following attributes are empty.
        uuid: New, of the template.
        file_name: Of the image.
        size_bytes: Length of the image.
        virtual_size_bytes: Size of its disk.
        checksum: ``{ALG}hex`` of the file as it was given or downloaded.
        database_updated: Whether uuid and URL were written.
    """

    template_id: int
    template_name: str
    hypervisor: str
    extension: str
    source: str
    stores: tuple[StoreResult, ...]
    dry_run: bool = False
    uuid: str = ""
    file_name: str = ""
    size_bytes: int = 0
    virtual_size_bytes: int = 0
    checksum: str = ""
    database_updated: bool = False

    def as_object(self) -> dict[str, object]:
        """The result for programs (docs/cloud-install-sys-tmplt.md, "Output for programs")."""
        return {
            "schema": SCHEMA,
            "result": "dry-run" if self.dry_run else "installed",
            "template": {
                "id": self.template_id,
                "name": self.template_name,
                "hypervisor": self.hypervisor,
                "extension": self.extension,
                "uuid": self.uuid or None,
                "file": self.file_name or None,
                "size": self.size_bytes or None,
                "virtual_size": self.virtual_size_bytes or None,
                "checksum": self.checksum or None,
            },
            "source": self.source,
            "stores": [
                {
                    "mount": str(store.mount),
                    "directory": str(store.directory),
                    "replaces": store.replaces,
                    "free_before": store.free_bytes,
                }
                for store in self.stores
            ],
            "database_updated": self.database_updated,
        }
