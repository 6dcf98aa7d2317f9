# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os

import pytest

from ssvm_agent.storage import errors


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.NoSpaceError),
        (errno.EDQUOT, errors.QuotaExceededError),
        (errno.EROFS, errors.ReadOnlyStoreError),
        (errno.EACCES, errors.AccessDeniedError),
        (errno.ENOENT, errors.NotFoundError),
        (errno.EEXIST, errors.ConflictError),
        (errno.ELOOP, errors.PathEscapeError),
        (errno.ESTALE, errors.StoreUnavailableError),
        (errno.EIO, errors.StoreUnavailableError),
        (errno.EXDEV, errors.StorageError),
    ],
)
def test_errno_has_one_meaning(number: int, kind: type[errors.StorageError]) -> None:
    error = errors.from_os_error(OSError(number, os.strerror(number)), "write volumes/2/5/a")
    assert type(error) is kind
    assert error.message.startswith("Unable to write volumes/2/5/a: ")
    assert error.detail == errno.errorcode[number]


def test_an_error_without_number_still_says_something() -> None:
    error = errors.from_os_error(OSError("odd"), "read it")
    assert error.message == "Unable to read it: of an unknown error"
    assert error.detail == "OSError"
