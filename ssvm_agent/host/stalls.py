# SPDX-License-Identifier: Apache-2.0
"""Tells what holds up the event loop.

Everything the agent promises in time depends on a loop that turns. What keeps it from turning is
not to be seen afterwards, so the stacks of all threads are written while it lasts, by a thread that
needs neither the loop nor the interpreter's lock. They name functions and lines, no values.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
from typing import Final

_logger = logging.getLogger(__name__)

_STDERR: Final = 2
# Far above what a busy machine takes for a turn, and soon enough to be written before the watchdog
# of the service ends the process (60 s).
_LIMIT_S: Final = 10.0
# How often a turn is looked for: a wake-up each, while the agent idles too.
_INTERVAL_S: Final = 5.0


async def tell_of_stalls(
    *, limit_s: float = _LIMIT_S, interval_s: float = _INTERVAL_S, file: int = _STDERR
) -> None:
    """Watch the running loop until cancelled.

    A loop that is late by the limit has the stacks of all threads written to ``file``, and a line
    in the log once it turns again.

    Args:
        limit_s: How late a turn may be.
        interval_s: How often one is looked for.
        file: The descriptor the stacks are written to.
    """
    loop = asyncio.get_running_loop()
    try:
        while True:
            faulthandler.dump_traceback_later(interval_s + limit_s, file=file)
            expected = loop.time() + interval_s
            await asyncio.sleep(interval_s)
            late_s = loop.time() - expected
            if late_s >= limit_s:
                _logger.warning("the event loop was held up seconds=%.1f", late_s)
    finally:
        faulthandler.cancel_dump_traceback_later()
