# SPDX-License-Identifier: Apache-2.0
"""What a module of scenarios needs and how it runs."""

from __future__ import annotations

import pytest


def scenarios(*, timeout_s: int, short: bool = False) -> list[pytest.MarkDecorator]:
    """The marks of a module whose tests share one lab.

    Args:
        timeout_s: Of each test, with what it waits for.
        short: Whether ``make test`` runs it too; it then makes the image by itself.
    """
    programs = ("qemu-system-x86_64", "ganesha.nfsd", "rpcbind", "nginx", "qemu-img")
    return [
        pytest.mark.vm(short=short),
        pytest.mark.needs_root,
        pytest.mark.needs(*programs, *(("mmdebstrap",) if short else ())),
        pytest.mark.asyncio(loop_scope="module"),
        pytest.mark.timeout(timeout_s),
    ]
