# SPDX-License-Identifier: Apache-2.0
"""Certificates for the tests of the link."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.link_parts import CertificateFiles


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    """Certificates of a cloud whose agent is provisioned."""
    files = CertificateFiles(tmp_path / "tls")
    files.install()
    return files
