# SPDX-License-Identifier: Apache-2.0
"""The ``template.properties`` of a system VM template (boot-and-system.md 6.1). Pure.

The same keys in the same order as the stock installer writes them, without a comment in front.

Differs: boot-and-system.md 6.1; the virtual size is that of the disk for every format, where the
stock installer writes the length of the file for all but qcow2 (requirements R20).
"""

from __future__ import annotations

from ssvm_agent import javaproperties
from ssvm_agent.images.formats import ImageFormat

DESCRIPTION = "SystemVM Template"


def unique_name(template_id: int) -> str:
    """What the template is called on the store."""
    return f"routing-{template_id}"


def render(
    *,
    template_id: int,
    file_name: str,
    image_format: ImageFormat,
    size_bytes: int,
    virtual_size_bytes: int,
) -> bytes:
    """The content of the file."""
    extension = image_format.extension
    return javaproperties.render(
        {
            "filename": file_name,
            "description": DESCRIPTION,
            "hvm": "false",
            "size": str(size_bytes),
            extension: "true",
            "id": str(template_id),
            "public": "true",
            f"{extension}.filename": file_name,
            "uniquename": unique_name(template_id),
            f"{extension}.virtualsize": str(virtual_size_bytes),
            "virtualsize": str(virtual_size_bytes),
            f"{extension}.size": str(size_bytes),
        }
    ).encode("latin-1")
