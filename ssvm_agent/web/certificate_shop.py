# SPDX-License-Identifier: Apache-2.0
"""Has certificates made and checked by :mod:`ssvm_agent.web.certificate_tool`, not in here."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import ssvm_agent
from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.host.errors import HostError
from ssvm_agent.host.run import Runner
from ssvm_agent.web.certificates import ServerCertificate
from ssvm_agent.web.errors import CertificateRefusedError

_TOOL: Final = (sys.executable, "-m", "ssvm_agent.web.certificate_tool")
# A second on a busy machine; the rest is for one that swaps.
_DEADLINE_S: Final = 60.0


class CertificateShop:
    """Orders certificates.

    Args:
        runner: Starts the program.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def make(self, hosts: Sequence[str], now: datetime) -> ServerCertificate:
        """A new self-signed certificate for these addresses and names.

        Raises:
            CertificateRefusedError: It could not be made.
        """
        return await self._order({"hosts": list(hosts), "now": now.isoformat()})

    async def check(self, certificate: WebCertificate, now: datetime) -> ServerCertificate:
        """A certificate of the cloud, proven fit for use.

        Raises:
            CertificateRefusedError: With the first reason found.
        """
        return await self._order(
            {
                "key": certificate.key.reveal(),
                "certificate": certificate.certificate,
                "chain": certificate.chain,
                "root": certificate.root,
                "now": now.isoformat(),
            }
        )

    async def _order(self, order: Mapping[str, object]) -> ServerCertificate:
        package = Path(ssvm_agent.__file__).parent.parent
        try:
            result = await self._runner.run(
                _TOOL,
                deadline_s=_DEADLINE_S,
                input=json.dumps(order).encode(),
                env={"PYTHONPATH": str(package)},
            )
            answer: dict[str, Any] = json.loads(result.stdout)
        except (HostError, ValueError) as error:
            raise CertificateRefusedError(
                "The certificate could not be checked.", detail=str(error)
            ) from error
        if "refused" in answer:
            raise CertificateRefusedError(answer["refused"], detail=answer["detail"])
        return ServerCertificate.from_document(answer)
