# SPDX-License-Identifier: Apache-2.0
"""The two kinds of protocol error: our own mistake, and the peer's."""

from __future__ import annotations

from ssvm_agent.errors import AgentError


class LocalProtocolError(AgentError):
    """We tried something the protocol does not allow: a bug on our side."""

    code = "protocol_local"


class RemoteProtocolError(AgentError):
    """The peer broke the protocol; nothing it sends afterwards can be trusted: close the link."""

    code = "protocol_remote"


class FrameError(RemoteProtocolError):
    """One frame cannot be understood, but the framing around it is intact: the link may stay."""

    code = "bad_frame"
