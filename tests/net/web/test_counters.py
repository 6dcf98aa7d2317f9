# SPDX-License-Identifier: Apache-2.0
"""What the HTTP side counts, on real uploads."""

from __future__ import annotations

import asyncio

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


async def test_bytes_sent_count_while_a_transfer_lasts(builtin: Rig) -> None:
    """An hour's transfer shows in the rate of that hour."""
    content = bytes(64 << 20)
    path = await builtin.publish(content)
    reader, writer = await asyncio.open_connection("127.0.0.1", builtin.http_port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    await until(lambda: 0 < sent(builtin) < len(content))
    (transfer,) = builtin.web.downloads.running
    assert sent(builtin) == transfer.sent.count
    while await reader.read(1 << 20):
        pass
    writer.close()
    await until(lambda: not builtin.web.downloads.running)
    assert sent(builtin) == len(content)


def sent(rig: Rig) -> float:
    """Bytes of extracts so far."""
    return sum(row.value for row in rig.web.counters.rows() if row.name == "ssvm_agent_sent_bytes")
