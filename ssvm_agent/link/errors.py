# SPDX-License-Identifier: Apache-2.0
"""Errors of the connection to the management server; each names the step it failed at."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from ssvm_agent.errors import AgentError


class Step(StrEnum):
    """The steps from nothing to Up, in order: what the connection doctor walks through."""

    ROUTE = "route"
    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    STARTUP = "startup"
    READY = "ready"


class LinkError(AgentError):
    """No link, or no longer one.

    Attributes:
        step: The first step that failed; READY also stands for a link that was up and is lost.
    """

    code = "link"
    default_step: ClassVar[Step] = Step.READY

    def __init__(self, message: str, *, step: Step | None = None, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.step = step or self.default_step


class ConnectError(LinkError):
    """The server could not be reached: no route, no address, or no TCP connection."""

    code = "link_connect"
    default_step = Step.TCP


class TlsError(LinkError):
    """The TLS handshake failed, or the server is not the one we know."""

    code = "link_tls"
    default_step = Step.TLS


class TlsMaterialError(TlsError):
    """Our own certificate files cannot be used."""

    code = "link_certificates"


class RefusedError(LinkError):
    """The server answered, and does not want this agent."""

    code = "link_refused"
    default_step = Step.STARTUP


class LinkLostError(LinkError):
    """The link ended, from either side."""

    code = "link_lost"


class MovedError(LinkError):
    """We left a working link for another server."""

    code = "link_moved"
