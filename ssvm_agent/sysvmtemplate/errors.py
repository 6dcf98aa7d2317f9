# SPDX-License-Identifier: Apache-2.0
"""What can go wrong while a system VM template is installed.

Messages are for the person at the terminal: they name the cause and the next step.
"""

from __future__ import annotations

from ssvm_agent.errors import AgentError


class TemplateInstallError(AgentError):
    """A system VM template was not installed."""

    code = "template-install"


class SourceUnreadableError(TemplateInstallError):
    """The local template file is missing or cannot be read."""

    code = "source-unreadable"


class StoreUnusableError(TemplateInstallError):
    """A mount point cannot take a template."""

    code = "store-unusable"


class TemplateExistsError(TemplateInstallError):
    """The store has a template of this id already, and nobody said to replace it."""

    code = "template-exists"


class BusyError(TemplateInstallError):
    """Another installation of the same template is under way on the store."""

    code = "busy"


class DatabaseAccessError(TemplateInstallError):
    """What is needed to log in to the database is missing or cannot be decrypted."""

    code = "database-access"


class DatabaseFailedError(TemplateInstallError):
    """The database cannot be reached, or refuses.

    Attributes:
        maybe_done: The connection broke while the change was being committed.
    """

    code = "database"

    def __init__(self, message: str, *, detail: str = "", maybe_done: bool = False) -> None:
        super().__init__(message, detail=detail)
        self.maybe_done = maybe_done


class NoTemplateRowError(TemplateInstallError):
    """The database has no system VM template that could be meant."""

    code = "no-template-row"
