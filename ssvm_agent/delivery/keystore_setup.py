# SPDX-License-Identifier: Apache-2.0
"""``keystore-setup PROPERTIES KEYSTORE PASSPHRASE DAYS REQUEST``: a key and its signing request.

The request is written and printed. The present pair stays in use until the certificate comes
(agent-lifecycle.md 4.4).
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ssvm_agent.appliance.keystore import KEYSTORE_FILE, REQUEST_FILE
from ssvm_agent.delivery.conf_dir import conf_dir_of, keystore_in, script, wait_for
from ssvm_agent.delivery.errors import UsageError
from ssvm_agent.host.clock import Clock, SystemClock
from ssvm_agent.host.network import interface
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.masking import Secret

USAGE: Final = "keystore-setup PROPERTIES KEYSTORE PASSPHRASE DAYS REQUEST"
_ARGUMENTS: Final = 5
# A payload takes some minutes to come and be unpacked.
_CONF_DIR_DEADLINE_S: Final = 300.0


async def make_request(
    arguments: Sequence[str],
    *,
    clock: Clock | None = None,
    deadline_s: float = _CONF_DIR_DEADLINE_S,
) -> str:
    """Make the key, write the request and return its PEM text.

    Raises:
        UsageError: The arguments are wrong.
        AgentError: The directory did not come, or a file cannot be written.
    """
    if len(arguments) != _ARGUMENTS:
        raise UsageError(f"usage: {USAGE}")
    properties, keystore, passphrase, _, request = arguments
    directory = conf_dir_of(
        [(properties, "agent.properties"), (keystore, KEYSTORE_FILE), (request, REQUEST_FILE)]
    )
    pool = WorkPool("local disk", threads=1)
    await wait_for(directory, pool=pool, clock=clock or SystemClock(), deadline_s=deadline_s)
    return await pool.call(_make, directory, Secret(passphrase))


def _make(directory: Path, passphrase: Secret) -> str:
    name = socket.gethostname()
    facts = (interface(device) for _, device in socket.if_nameindex())
    addresses = (one.address for one in facts if one is not None)
    return keystore_in(directory).make_request(
        name=name, names=(name, *addresses), offered=passphrase
    )


def main() -> int:
    """The script."""
    return script("keystore-setup", make_request)


if __name__ == "__main__":
    sys.exit(main())
