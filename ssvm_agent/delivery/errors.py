# SPDX-License-Identifier: Apache-2.0
"""What can go wrong when keys, certificates and the payload are brought to a system VM."""

from __future__ import annotations

from ssvm_agent.errors import AgentError


class DeliveryError(AgentError):
    """Something could not be brought to a system VM."""

    code = "delivery"


class UsageError(DeliveryError):
    """The arguments are not what the script takes."""

    code = "usage"


class KeyFileError(DeliveryError):
    """A key file cannot be used."""

    code = "key_file"


class HostKeyError(DeliveryError):
    """A server is not the one it was, or nobody has said that it may be believed."""

    code = "host_key"


class UnreachableError(DeliveryError):
    """No SSH connection came about."""

    code = "unreachable"


class LoginRefusedError(DeliveryError):
    """The server answered, and does not accept the key."""

    code = "login_refused"


class ConnectionLostError(DeliveryError):
    """A connection broke, or something took longer over it than it may."""

    code = "connection_lost"


class RemoteError(DeliveryError):
    """A command in the system VM ended with an error."""

    code = "remote"


class ConflictError(DeliveryError):
    """Something else changed it, or works on it, at the same time."""

    code = "conflict"


class BundleError(DeliveryError):
    """A bundle is damaged, or not for this machine."""

    code = "bundle"


class UnfinishedError(DeliveryError):
    """Work goes on in the system VM, out of sight."""

    code = "unfinished"
