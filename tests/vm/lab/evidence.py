# SPDX-License-Identifier: Apache-2.0
"""What is asked of a guest in which a scenario failed, while it still runs."""

from __future__ import annotations

from typing import Final

from tests.vm.lab.report import Scenario
from tests.vm.lab.shell import Shell

_QUESTIONS: Final = (
    "systemctl --no-pager list-jobs; systemctl --no-pager --failed",
    "ip -brief address; ip route",
    "dmesg | tail -20",
    "journalctl -b -u cloud-preinit -u cloud-early-config -u cloud-postinit -n 40 --no-pager",
    "journalctl -b -u cloud.service -n 80 --no-pager",
)
_ANSWER_S: Final = 60.0
_CONSOLE_CHARACTERS: Final = 6000


async def note_evidence(scenario: Scenario, shell: Shell, console: str) -> None:
    """Write what the guest says of itself into the timeline: by SSH, and on its console.

    Args:
        scenario: The one that failed.
        shell: In the guest; it need not answer.
        console: All that the guest wrote to its serial port.
    """
    try:
        said = await shell.run("; ".join(_QUESTIONS), _ANSWER_S)
        scenario.note(said.output or f"no shell in the guest: ssh ended with {said.code}")
    except TimeoutError:
        scenario.note(f"no shell in the guest within {_ANSWER_S:.0f} s")
    scenario.note(f"the end of the console:\n{console[-_CONSOLE_CHARACTERS:]}")
