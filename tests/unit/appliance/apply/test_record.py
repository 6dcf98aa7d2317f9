# SPDX-License-Identifier: Apache-2.0
"""What was applied in which boot outlives the process, not the boot."""

from __future__ import annotations

import json
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from ssvm_agent.appliance.apply import record
from ssvm_agent.appliance.apply.changes import Owned
from ssvm_agent.appliance.apply.record import BusyError, Record

OWNED = Owned(
    addresses=frozenset({("eth1", ip_interface("10.1.34.20/24")),
                         ("eth2", ip_interface("2001:db8::1/64"))}),
    routes=frozenset({(ip_network("0.0.0.0/0"), "203.0.113.1", "eth2")}),
)  # fmt: skip


def some_record() -> Record:
    return Record(
        boot_id="this", plan_sha256="p", text_sha256="t", phase="all", result="applied",
        addresses=record.addresses_of(OWNED), routes=record.routes_of(OWNED),
        passwords={"root": "digest"}, user_data_ran_in="this:x",
    )  # fmt: skip


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "var/machine.json"
    record.write(path, some_record())
    assert record.read(path) == some_record()
    assert record.read(path).owned_in("this") == OWNED
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_ours_after_another_start() -> None:
    assert some_record().owned_in("next") == Owned()
    assert Record().owned_in("") == Owned()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", json.dumps({"boot_id": 1, "addresses": 3}),
     json.dumps({**dict.fromkeys(("boot_id", "plan_sha256", "text_sha256", "phase", "result",
                                  "user_data_ran_in"), "x"), "passwords": {},
                 "addresses": [["eth0", "nonsense"]], "routes": []})],
)  # fmt: skip
def test_a_record_nobody_can_read_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "machine.json"
    path.write_text(text)
    assert record.read(path) == Record()


def test_only_one_apply_runs(tmp_path: Path) -> None:
    path = tmp_path / "run/lock"
    with record.lock(path), pytest.raises(BusyError), record.lock(path):
        pass
    with record.lock(path):
        pass
