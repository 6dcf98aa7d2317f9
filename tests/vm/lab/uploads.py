# SPDX-License-Identifier: Apache-2.0
"""An upload by a browser: the order the management server signs, and the form that is sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ssvm_agent.masking import Secret
from ssvm_agent.simulator.model import Fields
from ssvm_agent.simulator.uploads import FIELD, UploadOrder
from tests.vm.lab.network import GUESTS
from tests.vm.lab.world import World

_LIFE: Final = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload to the guest's public side."""

    lab: World
    order: UploadOrder

    @classmethod
    def of(cls, lab: World, image_id: int, *, store: int = 0) -> Upload:
        """A template's upload to a store."""
        name = f"{image_id}-2-upload"
        return cls(lab, UploadOrder(entity_id=image_id, name=name, store_url=lab.store(store).url))

    async def send(self, content: Path, deadline_s: float = 180) -> int:
        """Send the file as curl sends a form; curl's exit code, 22 for an answer that refuses."""
        base = f"https://{self.lab.networks.public.address(GUESTS[0])}"
        ticket = self.order.ticket(
            Secret(self.lab.zone.upload_key), base, datetime.now(UTC) + _LIFE
        )
        headers = [word for name, text in ticket.headers().items() for word in ("-H", f"{name}: {text}")]  # fmt: skip  # noqa: E501
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", "-k", "-f", "-o", "/dev/null", *headers, "-H", "Expect:",
            "-F", f"{FIELD}=@{content}", ticket.post_url,
        )  # fmt: skip
        try:
            async with asyncio.timeout(deadline_s):
                return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()

    async def installed(self) -> str | None:
        """Where it lies once it is completed; None as long as it is not."""
        fields = await self.state()
        return fields["installPath"] if fields["status"] == "COMPLETED" else None

    async def state(self) -> Fields:
        """What the agent says of it."""
        return (await self.lab.server.ask(self.order.status_command())).fields
