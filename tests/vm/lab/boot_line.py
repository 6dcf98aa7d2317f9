# SPDX-License-Identifier: Apache-2.0
"""The boot line of a guest of the lab, as a 4.22 management server on KVM writes it."""

from __future__ import annotations

import base64

from tests.vm.lab.network import GUESTS, Networks


def boot_line(
    networks: Networks,
    authorized_key: str,
    *,
    guest: int = GUESTS[0],
    name: str = "s-1-VM",
    servers: str | None = None,
    more: str = "",
) -> str:
    """The words for the kernel's command line.

    Args:
        authorized_key: One line, as in a ``.pub`` file.
        guest: Last number of its addresses.
        name: Instance name.
        servers: Management servers, comma-separated; the host's address by default.
        more: Further words.
    """
    control, management, public = networks.control, networks.management, networks.public
    mask = "255.255.255.0"
    words = {
        "template": "domP",
        "type": "secstorage",
        "host": servers or management.host,
        "port": "8250",
        "name": name,
        "zone": "1",
        "pod": "1",
        "guid": name,
        "workers": "5",
        "authorized_key": base64.b64encode(authorized_key.encode()).decode(),
        "resource": "com.cloud.storage.resource.PremiumSecondaryStorageResource",
        "instance": "SecStorage",
        "sslcopy": "false",
        "role": "templateProcessor",
        "mtu": "1500",
        "eth2ip": public.address(guest),
        "eth2mask": mask,
        "gateway": public.host,
        "public.network.device": "eth2",
        "eth0ip": control.address(guest),
        "eth0mask": mask,
        "eth1ip": management.address(guest),
        "eth1mask": mask,
        "mgmtcidr": management.cidr,
        "localgw": management.host,
        "private.network.device": "eth1",
        "internaldns1": management.host,
    }
    if networks.storage is not None:
        address = networks.storage.address(guest)
        words |= {
            "eth3ip": address,
            "eth3mask": mask,
            "storageip": address,
            "storagenetmask": mask,
            "storagegateway": networks.storage.host,
        }
    line = " ".join(f"{key}={value}" for key, value in words.items())
    return f"{line} {more}".strip()
