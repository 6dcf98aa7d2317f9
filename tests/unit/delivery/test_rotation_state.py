# SPDX-License-Identifier: Apache-2.0
"""The state file of a rotation."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ssvm_agent.delivery import rotation_state
from ssvm_agent.delivery.errors import ConflictError, DeliveryError, UsageError
from ssvm_agent.delivery.rotation_state import Phase, Record, RotationState
from ssvm_agent.delivery.targets import parse_target

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def state(path: Path | None) -> RotationState:
    targets = [parse_target("vm1"), parse_target("vm2 jump=kvm1")]
    records = {target.name: Record(target=target) for target in targets}
    return RotationState(path=path, old="SHA256:o", new="SHA256:n", records=records)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "state"
    made = state(path)
    made.records["vm1:3922"].phase = Phase.DONE
    made.save(NOW)
    loaded = rotation_state.load(path, old="SHA256:o", new="SHA256:n")
    assert {name: one.phase for name, one in loaded.records.items()} == {
        "vm1:3922": Phase.DONE,
        "vm2:3922@kvm1:22": Phase.WAITING,
    }
    assert loaded.unfinished()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "targets": 7}'])
def test_what_is_no_state(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state"
    path.write_text(text)
    with pytest.raises(UsageError):
        rotation_state.load(path, old="SHA256:o", new="SHA256:n")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "made" / "state"
    with (
        rotation_state.locked(path),
        pytest.raises(ConflictError, match="Another run"),
        rotation_state.locked(path),
    ):
        pass
    with rotation_state.locked(path):
        pass


def test_a_state_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="cannot be written"):
        state(tmp_path / "not" / "there").save(NOW)
    state(None).save(NOW)
