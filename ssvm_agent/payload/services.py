# SPDX-License-Identifier: Apache-2.0
"""The service manager of the machine, as far as an installation needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ssvm_agent.host.run import Runner
from ssvm_agent.payload.places import Places

AGENT: Final = "cloud.service"
_DEADLINE_S: Final = 30.0


class Services:
    """systemd, through ``systemctl``.

    Args:
        places: The machine.
        runner: Starts the program.
        is_running: Whether the machine runs; otherwise only what is on its disk is changed.
    """

    def __init__(self, places: Places, runner: Runner, *, is_running: bool) -> None:
        self._places = places
        self._runner = runner
        self.is_running = is_running

    async def enable(self, units: Sequence[str]) -> None:
        """Start units at boot."""
        await self._set("enable", units)

    async def disable(self, units: Sequence[str]) -> None:
        """No longer start units at boot."""
        if units:
            await self._set("disable", units)

    async def disabled(self, units: Sequence[str]) -> list[str]:
        """Those of the units that are there and not started at boot."""
        return [unit for unit in units if await self._state_of(unit) == "disabled"]

    async def _state_of(self, unit: str) -> str:
        # It also fails to say that a unit is not enabled.
        result = await self._runner.run(
            ["systemctl", *self._where(), "is-enabled", unit], deadline_s=_DEADLINE_S, check=False
        )
        return result.text.strip()

    def _where(self) -> list[str]:
        return [] if self.is_running else [f"--root={self._places.root}"]

    async def _set(self, what: str, units: Sequence[str]) -> None:
        await self._runner.run(
            ["systemctl", *self._where(), "--quiet", what, *units], deadline_s=_DEADLINE_S
        )

    async def reload(self) -> None:
        """Have unit files read again."""
        if self.is_running:
            await self._runner.run(["systemctl", "daemon-reload"], deadline_s=_DEADLINE_S)

    async def invocation(self) -> str:
        """Which start of the agent is the last one of this boot; empty when there was none."""
        if not self.is_running:
            return ""
        result = await self._runner.run(
            ["systemctl", "show", "--property=InvocationID", "--value", AGENT],
            deadline_s=_DEADLINE_S,
            check=False,
        )
        return result.text.strip()

    async def restart(self) -> None:
        """Have the agent started anew, and wait for nothing; whether it comes up others see."""
        if self.is_running:
            await self._runner.run(
                ["systemctl", "--no-block", "restart", AGENT],
                deadline_s=_DEADLINE_S,
                check=False,
            )
