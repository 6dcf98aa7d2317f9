# SPDX-License-Identifier: Apache-2.0
"""What users are told of the public addresses of system VMs."""

from __future__ import annotations

from typing import Any

import pytest

from ssvm_agent.simulator.zone import Zone

ADDRESS = "203.0.113.21"
NAME = "203-0-113-21.example.com"


@pytest.mark.parametrize(
    ("configured", "upload", "extract"),
    [
        ({}, f"https://{ADDRESS}", f"http://{ADDRESS}"),
        ({"https_uploads": False}, f"http://{ADDRESS}", f"http://{ADDRESS}"),
        ({"certificate_domain": "example.com"}, f"https://{NAME}", f"http://{ADDRESS}"),
        ({"certificate_domain": "*.example.com"}, f"https://{NAME}", f"http://{ADDRESS}"),
        # Without a domain no certificate could be right.
        ({"encrypt_copy": True}, f"https://{ADDRESS}", f"http://{ADDRESS}"),
        (
            {"encrypt_copy": True, "certificate_domain": "example.com"},
            f"https://{NAME}",
            f"https://{NAME}",
        ),
    ],
)
def test_urls_follow_the_settings_of_the_zone(
    configured: dict[str, Any], upload: str, extract: str
) -> None:
    """storage-commands.md 3.7, 5.1; boot-and-system.md 2.1: sslcopy."""
    zone = Zone(**configured)
    assert zone.upload_base(ADDRESS) == upload
    assert zone.extract_base(ADDRESS) == extract
