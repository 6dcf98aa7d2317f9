# SPDX-License-Identifier: Apache-2.0
"""What the HTTP side counts, on real uploads."""

from __future__ import annotations

from tests.net.web.rig import Order, Rig
from tests.net.web.test_uploads import start_half, until


def counted(rig: Rig) -> dict[str, float]:
    """The counters of uploads; outcomes in place of names where there are some."""
    return {
        dict(row.labels).get("outcome", row.name): row.value
        for row in rig.web.counters.rows()
        if row.name in {"ssvm_agent_uploads", "ssvm_agent_received_bytes"}
    }


async def test_bytes_count_as_they_arrive_and_uploads_as_they_end(builtin: Rig) -> None:
    order = Order(rig=builtin)
    writer = await start_half(builtin, order)
    upload = builtin.web.uploads.find(order.uuid)
    assert upload is not None
    assert counted(builtin) == {"ssvm_agent_received_bytes": upload.body_bytes}
    writer.close()
    await until(lambda: upload.ended is not None)
    assert counted(builtin) == {"ERROR": 1, "ssvm_agent_received_bytes": upload.body_bytes}
