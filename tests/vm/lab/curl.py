# SPDX-License-Identifier: Apache-2.0
"""Users outside, who fetch from the guest's public side."""

from __future__ import annotations

import asyncio
import subprocess


async def curl(*argv: str, deadline_s: float = 60) -> bytes:
    """What a user outside fetches."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-k", "-f", *argv, stdout=subprocess.PIPE
    )
    async with asyncio.timeout(deadline_s):
        output, _ = await process.communicate()
    assert process.returncode == 0, argv
    return output
