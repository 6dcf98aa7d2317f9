# SPDX-License-Identifier: Apache-2.0
"""Echo requests by the system's ``ping``, which has the rights to send them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ssvm_agent.host.errors import HostError, ProgramTimedOutError
from ssvm_agent.host.run import Runner

_WAIT_S: Final = 2
# The program waits for each answer; what is on top is for its own start.
_MARGIN_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PingResult:
    """What came of some echo requests.

    Attributes:
        answered: Whether an answer came; ``None`` when no request could be sent.
        output: What the program printed.
    """

    answered: bool | None
    output: str = ""


async def ping(
    runner: Runner, address: str, *, count: int = 2, payload_bytes: int | None = None
) -> PingResult:
    """Send echo requests.

    Args:
        runner: Starts the program.
        address: Literal address or name.
        count: How many.
        payload_bytes: Size of each, with fragmentation forbidden; ``None``: small ones.
    """
    size = [] if payload_bytes is None else ["-M", "do", "-s", str(payload_bytes)]
    argv = ["ping", "-n", "-c", str(count), "-i", "0.3", "-W", str(_WAIT_S), *size, "--", address]
    try:
        result = await runner.run(argv, deadline_s=count + _WAIT_S + _MARGIN_S, check=False)
    except ProgramTimedOutError:
        return PingResult(answered=False)
    except HostError as error:
        return PingResult(answered=None, output=f"{error.message}\n")
    # 0: answers, 1: none, 2: something else, such as no right to send or no route.
    answered = {0: True, 1: False}.get(result.returncode)
    if answered is None and b"nreachable" in result.stderr:
        answered = False
    output = result.text + result.stderr.decode("utf-8", "replace")
    return PingResult(answered=answered, output=output)
