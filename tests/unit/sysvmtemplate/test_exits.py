# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.errors import AgentError
from ssvm_agent.images.errors import CompressionError, WrongFormatError
from ssvm_agent.ingest.errors import (
    BadUrlError,
    BlockedAddressError,
    ChecksumMismatchError,
    SourceFailedError,
    UnsupportedContentError,
)
from ssvm_agent.storage.errors import (
    NoSpaceError,
    QuotaExceededError,
    ReadOnlyStoreError,
    StoreUnavailableError,
)
from ssvm_agent.sysvmtemplate.errors import BusyError, DatabaseFailedError, TemplateExistsError
from ssvm_agent.sysvmtemplate.exits import Exit, exit_of, next_step, stock_exit

CAUSES: list[tuple[AgentError, Exit]] = [
    (SourceFailedError("x"), Exit.SOURCE),
    (BadUrlError("x"), Exit.SOURCE),
    (BlockedAddressError("x"), Exit.SOURCE),
    (NoSpaceError("x"), Exit.NO_SPACE),
    (QuotaExceededError("x"), Exit.NO_SPACE),
    (TemplateExistsError("x"), Exit.EXISTS),
    (DatabaseFailedError("x"), Exit.DATABASE),
    (ChecksumMismatchError("x"), Exit.CONTENT),
    (UnsupportedContentError("x"), Exit.CONTENT),
    (WrongFormatError("x"), Exit.CONTENT),
    (CompressionError("x"), Exit.CONTENT),
    (ReadOnlyStoreError("x"), Exit.STORE),
    (StoreUnavailableError("x"), Exit.STORE),
    (BusyError("x"), Exit.BUSY),
    (AgentError("x"), Exit.CRASHED),
]


@pytest.mark.parametrize(("error", "code"), CAUSES, ids=lambda value: type(value).__name__)
def test_every_cause_has_its_code(error: AgentError, code: Exit) -> None:
    assert exit_of(error) is code


def test_causes_from_other_rooms_come_with_a_next_step() -> None:
    """Messages of this room name it themselves."""
    foreign = [e for e, _ in CAUSES if "sysvmtemplate" not in type(e).__module__]
    assert all(next_step(error) for error in foreign if type(error) is not AgentError)


@pytest.mark.parametrize("code", [*Exit, 130])
def test_the_stock_codes_are_those_of_the_script(code: int) -> None:
    """boot-and-system.md 6.1."""
    wanted = (
        {Exit.DONE: 0, Exit.USAGE: 0, Exit.NO_SPACE: 4}.get(Exit(code), 2) if code < 128 else code
    )
    assert stock_exit(code) == wanted


def test_the_page_lists_every_code() -> None:
    page = Path(__file__).parents[3].joinpath("docs/cloud-install-sys-tmplt.md").read_text()
    for code in Exit:
        assert f"| {int(code)} |" in page
