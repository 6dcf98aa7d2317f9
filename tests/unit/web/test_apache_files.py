# SPDX-License-Identifier: Apache-2.0
"""What the virtual hosts of Apache say; that it understands them is tested with a real one."""

from __future__ import annotations

from pathlib import Path

from ssvm_agent.web.apache_files import ApacheLayout, Patience, virtual_hosts


def test_a_body_may_wait_for_a_slow_store_longer_than_a_head(tmp_path: Path) -> None:
    """Debian's own ten seconds would end an upload whose store takes a while to answer."""
    text = virtual_hosts(
        ApacheLayout(conf_dir=tmp_path),
        address="203.0.113.21",
        name="s-1-VM",
        http_port=80,
        https_port=443,
        upload_https=True,
        has_chain=False,
        patience=Patience(head_s=20, body_s=60),
    )
    limits = "RequestReadTimeout header=20-40,MinRate=500 body=60,MinRate=500\n"
    assert text.count(limits) == 2
