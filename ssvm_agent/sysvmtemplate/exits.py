# SPDX-License-Identifier: Apache-2.0
"""From what went wrong to an exit code and to the next step. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ssvm_agent.errors import AgentError
from ssvm_agent.images.errors import ImageError
from ssvm_agent.ingest.errors import IngestError, SourceFailedError
from ssvm_agent.storage.errors import (
    AccessDeniedError,
    NoSpaceError,
    QuotaExceededError,
    ReadOnlyStoreError,
    StorageError,
    StoreUnavailableError,
)
from ssvm_agent.sysvmtemplate.errors import (
    BusyError,
    DatabaseAccessError,
    DatabaseFailedError,
    NoTemplateRowError,
    SourceUnreadableError,
    StoreUnusableError,
    TemplateExistsError,
)


class Exit(IntEnum):
    """Exit codes, one for each cause. Ends by a signal are 128 and the signal's number."""

    DONE = 0
    USAGE = 2
    SOURCE = 3
    NO_SPACE = 4
    EXISTS = 5
    DATABASE = 6
    NO_ROW = 7
    CONTENT = 8
    ACCESS = 9
    STORE = 10
    BUSY = 11
    CRASHED = 70


# Compat: boot-and-system.md 6.1: 2 for nearly everything, 4 for disk space, 0 for usage.
_STOCK_FAILURE: Final = 2
_STOCK_NO_SPACE: Final = 4
_STOCK_USAGE: Final = 0

# The first that fits counts, so classes come before their bases.
_BY_CLASS: Final[tuple[tuple[type[AgentError], Exit, str], ...]] = (
    (NoSpaceError, Exit.NO_SPACE, "Free space on the store, or use another one."),
    (QuotaExceededError, Exit.NO_SPACE, "Raise the quota, or free space on the store."),
    (TemplateExistsError, Exit.EXISTS, ""),
    (DatabaseAccessError, Exit.ACCESS, ""),
    (DatabaseFailedError, Exit.DATABASE, ""),
    (NoTemplateRowError, Exit.NO_ROW, ""),
    (BusyError, Exit.BUSY, ""),
    (StoreUnusableError, Exit.STORE, ""),
    (SourceUnreadableError, Exit.SOURCE, ""),
    (SourceFailedError, Exit.SOURCE, "Check the URL from this machine, for example with curl -I."),
    (ImageError, Exit.CONTENT, "Get the template again, and the one for this hypervisor."),
    (AccessDeniedError, Exit.STORE, "Run as root, and check how the store is exported."),
    (ReadOnlyStoreError, Exit.STORE, "Mount the store read-write."),
    (StoreUnavailableError, Exit.STORE, "Check the mount and the server of the store."),
    (StorageError, Exit.STORE, "Check the mount point and what is in it."),
)
# Errors of the pipeline that need a class of their own nowhere else.
_BY_CODE: Final = {
    "checksum-mismatch": (
        Exit.CONTENT,
        "Get the template again; the given checksum is that of the file as it is downloaded.",
    ),
    "unsupported-content": (
        Exit.CONTENT,
        "Get the template again, and the one for this hypervisor.",
    ),
    "too-big": (Exit.CONTENT, "No system VM template is as large; check what the file is."),
    "bad-url": (Exit.SOURCE, "Give an http or https URL; other files are given with -f."),
    "blocked-address": (Exit.SOURCE, "Download the file by other means and give it with -f."),
}


def exit_of(error: AgentError) -> Exit:
    """The exit code of a cause."""
    return _verdict(error)[0]


def next_step(error: AgentError) -> str:
    """What to do about it; empty when the message says so itself."""
    return _verdict(error)[1]


def stock_exit(code: int) -> int:
    """The code the stock script ends with for the same cause."""
    match code:
        case Exit.DONE:
            return Exit.DONE
        case Exit.USAGE:
            return _STOCK_USAGE
        case Exit.NO_SPACE:
            return _STOCK_NO_SPACE
        case _:
            # An end by a signal stays one.
            return code if code > 128 else _STOCK_FAILURE


def _verdict(error: AgentError) -> tuple[Exit, str]:
    for kind, code, step in _BY_CLASS:
        if isinstance(error, kind):
            return code, step
    if isinstance(error, IngestError):
        return _BY_CODE.get(error.code, (Exit.SOURCE, ""))
    return Exit.CRASHED, ""
