# SPDX-License-Identifier: Apache-2.0
"""Errors of secondary storage, and the one table from ``errno`` to them."""

from __future__ import annotations

import errno
from typing import ClassVar, Final

from ssvm_agent.errors import AgentError


class StorageError(AgentError):
    """Something about a secondary store did not work."""

    code: ClassVar[str] = "storage"


class UnsupportedStoreError(StorageError):
    """The store is of a kind, or is described in a way, that this agent does not serve."""

    code = "store-unsupported"


class MountFailedError(StorageError):
    """A store could not be mounted."""

    code = "mount-failed"


class StoreUnavailableError(StorageError):
    """A store does not answer, or answers that it is gone; the same command may work later."""

    code = "store-unavailable"


class PathEscapeError(StorageError):
    """A path from outside is malformed or would leave its store (requirements S8)."""

    code = "path-refused"


class NoSpaceError(StorageError):
    """The store is full."""

    code = "no-space"


class QuotaExceededError(StorageError):
    """A quota of the store is used up."""

    code = "quota-exceeded"


class ReadOnlyStoreError(StorageError):
    """The store cannot be written to."""

    code = "read-only"


class AccessDeniedError(StorageError):
    """The store's server does not let us."""

    code = "access-denied"


class NotFoundError(StorageError):
    """What a command names is not on the store."""

    code = "not-found"


class ConflictError(StorageError):
    """Something is in the way: the target exists, or the object is being written by somebody."""

    code = "conflict"


class CorruptPropertiesError(StorageError):
    """A properties file does not say what it must; its object can be neither listed nor skipped."""

    code = "properties-corrupt"


class IncompletePropertiesError(CorruptPropertiesError):
    """A properties file of an image whose installation has not finished."""

    code = "properties-incomplete"


_UNAVAILABLE: Final = "the secondary storage does not respond properly"
_BY_ERRNO: Final[dict[int, tuple[type[StorageError], str]]] = {
    errno.ENOSPC: (NoSpaceError, "no space is left on the secondary storage"),
    errno.EDQUOT: (QuotaExceededError, "the quota of the secondary storage is used up"),
    errno.EFBIG: (NoSpaceError, "the file is too large for the secondary storage"),
    errno.EROFS: (ReadOnlyStoreError, "the secondary storage is mounted read-only"),
    errno.EACCES: (AccessDeniedError, "the secondary storage denies access"),
    errno.EPERM: (AccessDeniedError, "the secondary storage does not permit it"),
    errno.ENOENT: (NotFoundError, "it does not exist"),
    errno.ENOTDIR: (NotFoundError, "a part of its path is not a directory"),
    errno.EISDIR: (ConflictError, "it is a directory"),
    errno.EEXIST: (ConflictError, "it exists already"),
    errno.ENOTEMPTY: (ConflictError, "the directory is not empty"),
    errno.EBUSY: (ConflictError, "it is in use"),
    errno.ETXTBSY: (ConflictError, "it is in use"),
    errno.ENAMETOOLONG: (PathEscapeError, "the name is too long"),
    errno.ELOOP: (PathEscapeError, "a symbolic link is in its path"),
    errno.ESTALE: (StoreUnavailableError, "the mount of the secondary storage is stale"),
    errno.EIO: (StoreUnavailableError, "the secondary storage reports an input/output error"),
    errno.ENOTCONN: (StoreUnavailableError, _UNAVAILABLE),
    errno.ENODEV: (StoreUnavailableError, _UNAVAILABLE),
    errno.ENXIO: (StoreUnavailableError, _UNAVAILABLE),
    errno.EHOSTDOWN: (StoreUnavailableError, _UNAVAILABLE),
    errno.EHOSTUNREACH: (StoreUnavailableError, _UNAVAILABLE),
    errno.ETIMEDOUT: (StoreUnavailableError, _UNAVAILABLE),
    errno.ESHUTDOWN: (StoreUnavailableError, _UNAVAILABLE),
    errno.EREMOTEIO: (StoreUnavailableError, _UNAVAILABLE),
}


def from_os_error(error: OSError, what: str) -> StorageError:
    """The storage error that an ``OSError`` means.

    Args:
        error: What the system call raised.
        what: What was being done, as the end of "Unable to …": ``"read template/tmpl/2/205"``.
    """
    number = error.errno or 0
    kind, reason = _BY_ERRNO.get(number, (StorageError, error.strerror or "of an unknown error"))
    name = errno.errorcode.get(number, type(error).__name__)
    place = f" at {error.filename}" if error.filename else ""
    return kind(f"Unable to {what}: {reason}", detail=f"{name}{place}")
