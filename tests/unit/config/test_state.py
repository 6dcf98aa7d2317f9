# SPDX-License-Identifier: Apache-2.0
"""What agent.properties remembers, and how little of it we touch (agent-lifecycle.md 1.1, 4.1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.config.state import AgentState
from ssvm_agent.errors import ConfigError
from ssvm_agent.masking import Secret

_RESOURCE = "PremiumSecondaryStorageResource"
_BEFORE = """\
# stock comment
guid=s-1-VM
host=10.1.32.5
keystore_password=QWJj
PremiumSecondaryStorageResource.id=4
"""


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    file = tmp_path / "agent.properties"
    file.write_text(_BEFORE)
    return file


def test_the_host_identity_survives_a_restart(file: Path) -> None:
    AgentState(file, _RESOURCE).save_host(5, "c2b0", "s-1-VM")
    again = AgentState(file, _RESOURCE)
    assert (again.host_id, again.host_uuid, again.host_name) == (5, "c2b0", "s-1-VM")
    assert again.persisted().server_list == "10.1.32.5"


def test_only_our_keys_change(file: Path) -> None:
    state = AgentState(file, _RESOURCE)
    state.save_host(5, "c2b0", "s-1-VM")
    state.save_servers(["10.1.32.6", "10.1.32.5"], "roundrobin")
    assert (
        file.read_text()
        == """\
# stock comment
guid=s-1-VM
host=10.1.32.6,10.1.32.5@roundrobin
keystore_password=QWJj
PremiumSecondaryStorageResource.id=5
PremiumSecondaryStorageResource.uuid=c2b0
PremiumSecondaryStorageResource.name=s-1-VM
"""
    )


@pytest.mark.parametrize("host_id", [0, -1])
def test_an_id_that_is_none_is_never_stored(file: Path, host_id: int) -> None:
    """agent-lifecycle.md 0 fact 3: the first StartupAnswer says 0."""
    state = AgentState(file, _RESOURCE)
    state.save_host(host_id, "", "")
    assert file.read_text() == _BEFORE
    assert state.host_id == 4


@pytest.mark.parametrize("text", ["0", "", "x", "-5", "٣", "9" * 30])
def test_a_stored_id_that_is_no_id_counts_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "agent.properties"
    file.write_bytes(f"{_RESOURCE}.id={text}\n".encode())
    assert AgentState(file, _RESOURCE).host_id is None


def test_an_unchanged_identity_is_not_written_again(file: Path) -> None:
    state = AgentState(file, _RESOURCE)
    state.save_host(5, "c2b0", "s-1-VM")
    before = file.stat().st_ino
    state.save_host(5, "c2b0", "s-1-VM")
    assert file.stat().st_ino == before


def test_what_others_wrote_meanwhile_is_kept(file: Path) -> None:
    state = AgentState(file, _RESOURCE)
    file.write_text(_BEFORE + "keystore.passphrase=fromscript\n")
    state.save_host(5, "u", "n")
    assert "keystore.passphrase=fromscript" in file.read_text()
    assert state.passphrase() == Secret("fromscript")


def test_line_ends_and_latin_1_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "agent.properties"
    file.write_bytes(b"a=\xe9\r\nhost=x\r\n")
    AgentState(file, _RESOURCE).save_servers(["y"], "static")
    assert file.read_bytes() == b"a=\xe9\r\nhost=y@static\r\n"


def test_the_file_is_private_and_no_temporary_is_left(file: Path) -> None:
    AgentState(file, _RESOURCE).save_host(5, "u", "n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_a_missing_file_and_directory_are_made_at_the_first_write(tmp_path: Path) -> None:
    state = AgentState(tmp_path / "conf" / "agent.properties", _RESOURCE)
    assert state.host_id is None
    assert state.server_list is None
    state.save_host(5, "u", "n")
    assert AgentState(tmp_path / "conf" / "agent.properties", _RESOURCE).host_id == 5


def test_an_existing_passphrase_wins_over_an_offered_one(file: Path) -> None:
    """agent-lifecycle.md 4.1."""
    state = AgentState(file, _RESOURCE)
    assert state.passphrase() == Secret("vmops.com")
    assert state.keep_passphrase(Secret("first")) == Secret("first")
    assert state.keep_passphrase(Secret("second")) == Secret("first")
    assert AgentState(file, _RESOURCE).passphrase() == Secret("first")


def test_a_directory_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be"):
        AgentState(tmp_path / "file" / "agent.properties", _RESOURCE)


def test_a_failed_replacement_leaves_no_temporary(tmp_path: Path) -> None:
    file = tmp_path / "agent.properties"
    state = AgentState(file, _RESOURCE)
    (file / "in-the-way").mkdir(parents=True)
    with pytest.raises(ConfigError):
        state.save_host(5, "u", "n")
    assert list(tmp_path.iterdir()) == [file]
