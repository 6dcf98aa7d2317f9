# SPDX-License-Identifier: Apache-2.0
"""What can go wrong at an HTTP entrance on purpose.

An entrance turns these into a status and a text, once (:mod:`ssvm_agent.web.entrance`).
"""

from __future__ import annotations

from http import HTTPStatus

from ssvm_agent.errors import AgentError


class WebError(AgentError):
    """A request is refused, or the web side could not do what it was asked."""

    code = "web"


class RequestRefusedError(WebError):
    """A request is answered with an error status.

    Attributes:
        status: The HTTP status of the answer; ``message`` is its text.
    """

    code = "request-refused"

    def __init__(self, status: HTTPStatus, message: str, *, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.status = status


class UploadRefusedError(RequestRefusedError):
    """An upload is refused; texts are those of storage-commands.md 5.5."""

    code = "upload-refused"


class UploadBrokenError(WebError):
    """The body of an accepted upload ended early or is no usable form."""

    code = "upload-broken"

    def __init__(
        self,
        message: str,
        *,
        status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR,
        detail: str = "",
    ) -> None:
        super().__init__(message, detail=detail)
        self.status = status


class CertificateRefusedError(WebError):
    """A certificate was checked before use and found wanting; the message says why."""

    code = "certificate"


class PublishError(WebError):
    """A file cannot be published, or no longer withdrawn."""

    code = "publish"


class PortInUseError(WebError):
    """A port of an entrance cannot be listened on."""

    code = "port"
