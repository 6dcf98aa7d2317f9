# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ssvm_agent.masking import Secret
from ssvm_agent.sysvmtemplate import access
from ssvm_agent.sysvmtemplate.access import resolve
from ssvm_agent.sysvmtemplate.errors import DatabaseAccessError
from ssvm_agent.sysvmtemplate.request import DatabaseRequest


@pytest.fixture(autouse=True)
def no_local_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_SOCKETS", ())


def test_without_any_file_the_stock_defaults_hold(tmp_path: Path) -> None:
    """boot-and-system.md 6.1: localhost 3306 root, no password."""
    found = resolve(DatabaseRequest(properties=tmp_path / "none"))
    assert (found.host, found.port, found.user, found.name) == ("localhost", 3306, "root", "cloud")
    assert found.password == Secret("")


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DatabaseAccessError, match="There is no file"):
        resolve(DatabaseRequest(properties=tmp_path / "none", properties_required=True))


def test_a_properties_file_fills_what_is_not_given(tmp_path: Path) -> None:
    path = tmp_path / "db.properties"
    path.write_text(
        "db.cloud.host=db1\ndb.cloud.port=3307\ndb.cloud.username=cloud\n"
        "db.cloud.password=p\\=w\ndb.cloud.name=cloud2\n"
    )
    found = resolve(DatabaseRequest(properties=path, user="me"))
    assert (found.host, found.port, found.user, found.name) == ("db1", 3307, "me", "cloud2")
    assert found.password == Secret("p=w")
    assert "p=w" not in repr(found)


@pytest.mark.parametrize("port", ["x", "0", "65536"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    path = tmp_path / "db.properties"
    path.write_text(f"db.cloud.port={port}\n")
    with pytest.raises(DatabaseAccessError, match="no port"):
        resolve(DatabaseRequest(properties=path))


def test_localhost_means_the_local_socket_unless_a_port_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boot-and-system.md 6.1: the database clients take it so."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        monkeypatch.setattr(access, "_SOCKETS", (str(tmp_path / "none"), str(path)))
        none = tmp_path / "none"
        assert resolve(DatabaseRequest(properties=none)).socket == str(path)
        assert resolve(DatabaseRequest(properties=none, port=3306)).socket is None
        assert resolve(DatabaseRequest(properties=none, host="127.0.0.1")).socket is None


@pytest.mark.parametrize(
    ("kind", "says"),
    [("file", "key file"), ("env", "CLOUD_SECRET_KEY"), ("web", "asked"), ("", "missing")],
)
def test_a_missing_key_is_told_by_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, says: str
) -> None:
    monkeypatch.delenv("CLOUD_SECRET_KEY", raising=False)
    path = tmp_path / "db.properties"
    path.write_text(f"db.cloud.password=ENC(abcd)\ndb.cloud.encryption.type={kind}\n")
    with pytest.raises(DatabaseAccessError, match=says):
        resolve(DatabaseRequest(properties=path))
