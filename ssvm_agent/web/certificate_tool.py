# SPDX-License-Identifier: Apache-2.0
"""Makes and checks certificates in a process of its own (``python -m``).

One JSON order on standard input, one JSON answer on standard output. The library for certificates
weighs 15 MiB, a third of an idle agent, and is needed once in a year; so it is loaded here and goes
away with the process. :class:`ssvm_agent.web.certificate_shop.CertificateShop` is the other end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.masking import Secret
from ssvm_agent.web.certificates import check, make_own
from ssvm_agent.web.errors import CertificateRefusedError


def carry_out(order: Mapping[str, Any]) -> dict[str, object]:
    """Make one for ``hosts``, or check ``key``, ``certificate``, ``chain`` and ``root``."""
    now = datetime.fromisoformat(order["now"])
    if "hosts" in order:
        return make_own(order["hosts"], now).to_document()
    try:
        checked = check(
            WebCertificate(
                key=Secret(order["key"]),
                certificate=order["certificate"],
                chain=order["chain"],
                root=order["root"],
            ),
            now,
        )
    except CertificateRefusedError as error:
        return {"refused": error.message, "detail": error.detail}
    return checked.to_document()


def main() -> None:
    """Read the order, write the answer."""
    json.dump(carry_out(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
