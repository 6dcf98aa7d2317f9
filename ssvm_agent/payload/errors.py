# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a payload, or stop it from being installed."""

from __future__ import annotations

from typing import ClassVar

from ssvm_agent.errors import AgentError


class PayloadError(AgentError):
    """The root of this room's errors."""

    code: ClassVar[str] = "payload"


class BundleError(PayloadError):
    """A bundle is not what its manifest or its signature says."""

    code = "payload-bundle"


class WrongMachineError(PayloadError):
    """A bundle is for another kind of machine."""

    code = "payload-machine"


class BuildError(PayloadError):
    """A bundle cannot be made from what is there."""

    code = "payload-build"


class NothingToUndoError(PayloadError):
    """There is no installation to take back."""

    code = "payload-undo"
