# SPDX-License-Identifier: Apache-2.0
"""Host keys of SSH sources."""

from __future__ import annotations

from pathlib import Path

import paramiko
import pytest

from ssvm_agent.ingest.errors import SourceFailedError
from ssvm_agent.ingest.hostkeys import HostKeys


def test_without_trust_on_first_use_only_recorded_hosts_pass(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    key = paramiko.ECDSAKey.generate()
    strict = HostKeys(path, trust_first_use=False)
    with pytest.raises(SourceFailedError, match="is unknown") as caught:
        strict.verify("images.example", 22, key)
    assert "SHA256:" in caught.value.detail
    assert not path.exists()
    path.write_text(f"images.example {key.get_name()} {key.get_base64()}")
    strict.verify("images.example", 22, key)
    assert strict.known_types("images.example", 22) == (key.get_name(),)
    assert strict.known_types("images.example", 2222) == ()


def test_records_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    first, second = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    keys = HostKeys(path)
    keys.verify("a.example", 22, first)
    keys.verify("b.example", 2222, second)
    keys.verify("a.example", 22, first)
    assert [line.split()[0] for line in path.read_text().splitlines()] == [
        "a.example", "[b.example]:2222",
    ]  # fmt: skip
