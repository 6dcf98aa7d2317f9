# SPDX-License-Identifier: Apache-2.0
"""The command with a real MariaDB: which row it finds, when it changes it, and when it does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import seal, seal_v1
from ssvm_agent.sysvmtemplate.database import TemplateTable
from tests.fixtures.mariadb import PASSWORD, USER, MariaDb
from tests.fixtures.nginx import ServeDirectory
from tests.fixtures.system_templates import SystemTemplates
from tests.net.sysvmtemplate.conftest import Ended, Install, properties_of, tree

pytestmark = [pytest.mark.needs("qemu-img", "mariadbd"), pytest.mark.timeout(120)]

Configure = Callable[..., Path]
KEY = "management key"


@pytest.fixture
def configure(tmp_path: Path, mariadb: MariaDb) -> Configure:
    """Write a ``db.properties`` of the running server; further lines are added."""

    def write(**more: str) -> Path:
        path = tmp_path / "management" / "db.properties"
        path.parent.mkdir(exist_ok=True)
        values = {
            "db.cloud.host": "127.0.0.1",
            "db.cloud.port": str(mariadb.port),
            "db.cloud.username": USER,
            "db.cloud.password": PASSWORD,
            "db.cloud.encryption.type": "none",
        } | {f"db.cloud.{key.replace('_', '.')}": value for key, value in more.items()}
        path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return path

    return write


@pytest.fixture
def install_with(
    install: Install, configure: Configure, system_templates: SystemTemplates
) -> Install:
    """Install the KVM template with the plain ``db.properties``; further words are options."""

    def run(*words: object) -> Ended:
        template = [] if "-u" in words else ["-f", system_templates.of("kvm")]
        hypervisor = [] if "-h" in words else ["-h", "kvm"]
        properties = [] if "--properties" in words else ["--properties", configure()]
        return install(*template, *hypervisor, *properties, *words)

    return run


def test_the_newest_system_template_is_found_and_updated(
    install_with: Install, store: Path, mariadb: MariaDb
) -> None:
    """boot-and-system.md 6.1: max(id) of the hypervisor; with -f the URL is emptied."""
    ended = install_with("--json")
    assert ended.code == 0, ended.err
    found = properties_of(store, 201)
    assert found["uniquename"] == "routing-201"
    uuid = found["filename"].removesuffix(".qcow2")
    assert mariadb.row(201) == (uuid, "")
    assert ended.result["template"]["uuid"] == uuid
    assert ended.result["database_updated"] is True
    assert mariadb.row(3) == ("uuid-3", "http://old/3")


@pytest.mark.needs("nginx")
def test_the_url_is_recorded(
    install_with: Install, mariadb: MariaDb, system_templates: SystemTemplates,
    serve_directory: ServeDirectory,
) -> None:  # fmt: skip
    url = serve_directory(system_templates.root).url(system_templates.of("kvm"))
    assert install_with("-u", url).code == 0
    assert mariadb.row(201)[1] == url


def test_a_template_can_be_named_by_its_id(
    install_with: Install, store: Path, mariadb: MariaDb
) -> None:
    assert install_with("-t", 3).code == 0
    assert mariadb.row(3)[0] == properties_of(store, 3)["filename"].removesuffix(".qcow2")


def test_a_template_that_is_no_system_template_is_remarked(install_with: Install) -> None:
    ended = install_with("-t", 203)
    assert ended.code == 0
    assert "is of type USER" in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-h", "ovm3"], "no system VM template for Ovm3"),
        (["-t", "999"], "no template of id 999"),
        (["-t", "202"], "only a removed template"),
        (["-t", "8"], "is for VMware and not for KVM"),
    ],
)
def test_a_row_that_is_not_there_is_refused(
    install_with: Install, store: Path, words: list[str], says: str
) -> None:
    """boot-and-system.md 6.1: no row answers NULL, which must not become a directory."""
    if "ovm3" in words:
        # The hypervisor decides the format, and the file is looked at first.
        words = [*words, "-u", "http://127.0.0.1:1/x"]
    ended = install_with(*words)
    assert (ended.code, says in ended.err) == (7, True), ended.err
    assert list(store.iterdir()) == []


def test_a_template_that_is_installed_changes_neither_store_nor_database(
    install_with: Install, store: Path, mariadb: MariaDb
) -> None:
    assert install_with().code == 0
    before, row = tree(store), mariadb.row(201)
    assert install_with().code == 5
    assert (tree(store), mariadb.row(201)) == (before, row)
    assert install_with("-F").code == 0
    assert mariadb.row(201)[0] != row[0]


@pytest.mark.parametrize("seal_password", ["V2", "V1"])
@pytest.mark.parametrize("origin", ["file", "env", "web"])
def test_an_encrypted_password_is_opened(
    install_with: Install, configure: Configure, monkeypatch: pytest.MonkeyPatch,
    seal_password: str, origin: str,
) -> None:  # fmt: skip
    sealed = (
        seal(Secret(KEY), PASSWORD, iv=os.urandom(12))
        if seal_password == "V2"
        else seal_v1(Secret(KEY), PASSWORD, salt=os.urandom(8))
    )
    path = configure(password=f"ENC({sealed})", encryption_type=origin)
    words: list[object] = ["--properties", path, "--dry-run"]
    match origin:
        case "file":
            path.with_name("key").write_text(f"{KEY}\n")
        case "env":
            monkeypatch.setenv("CLOUD_SECRET_KEY", KEY)
        case _:
            words += ["-s", KEY]
    ended = install_with(*words)
    assert ended.code == 0, ended.err


def test_the_wrong_key_is_told_and_no_secret_is(
    install_with: Install, configure: Configure
) -> None:
    sealed = seal(Secret(KEY), PASSWORD, iv=bytes(12))
    path = configure(password=f"ENC({sealed})", encryption_type="web")
    ended = install_with("--properties", path, "-s", "another secret")
    assert ended.code == 9
    assert "not made with this key" in ended.err
    assert "another secret" not in ended.err
    assert install_with("--properties", path).code == 9


def test_a_wrong_password_is_told(install_with: Install, store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong-secret\n")
    ended = install_with("--db-password-file", secret)
    assert ended.code == 6
    assert "Check user and password" in ended.err
    assert "wrong-secret" not in ended.err
    assert list(store.iterdir()) == []


def test_the_command_line_counts_more_than_the_file(
    install_with: Install, configure: Configure, mariadb: MariaDb
) -> None:
    path = configure(host="nowhere.invalid", port="1", username="x", password="ENC(x)")
    ended = install_with(
        "--properties", path, "-o", "127.0.0.1", "-p", mariadb.port, "-r", USER, "-d", PASSWORD,
        "--dry-run",
    )  # fmt: skip
    assert ended.code == 0, ended.err


def test_the_local_socket_is_used_when_given(install_with: Install, mariadb: MariaDb) -> None:
    ended = install_with("--db-socket", mariadb.socket_path, "-r", "root", "-d", "", "--dry-run")
    assert ended.code == 0, ended.err


def test_a_database_that_is_down_is_found_before_anything_is_touched(
    install_with: Install, store: Path
) -> None:
    ended = install_with("-o", "127.0.0.1", "-p", 1)
    assert ended.code == 6
    assert "Check that it runs" in ended.err
    assert list(store.iterdir()) == []


def test_a_user_who_may_not_update_is_found_before_anything_is_touched(
    install_with: Install, store: Path, mariadb: MariaDb
) -> None:
    mariadb.execute(f"REVOKE UPDATE ON cloud.* FROM {USER}@'127.0.0.1'")
    ended = install_with()
    assert ended.code == 6
    assert "needs SELECT and UPDATE" in ended.err
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("was_there", [True, False])
def test_files_are_put_back_when_the_database_fails_in_the_end(
    install_with: Install, store: Path, tmp_path: Path, mariadb: MariaDb,
    monkeypatch: pytest.MonkeyPatch, was_there: bool,
) -> None:  # fmt: skip
    other = tmp_path / "other"
    other.mkdir()
    if was_there:
        assert install_with("-m", other).code == 0
    before, row = (tree(store), tree(other)), mariadb.row(201)
    update = TemplateTable.update

    def revoked(self: TemplateTable, template_id: int, *, uuid: str, url: str) -> None:
        assert uuid in properties_of(store, 201)["filename"], "the files come first"
        mariadb.execute(f"REVOKE UPDATE ON cloud.* FROM {USER}@'127.0.0.1'")
        update(self, template_id, uuid=uuid, url=url)

    monkeypatch.setattr(TemplateTable, "update", revoked)
    ended = install_with("-m", other, "-F", "--json")
    assert ended.code == 6
    assert (tree(store), tree(other)) == before
    assert mariadb.row(201) == row
    state = " ".join(ended.result["error"]["state"])
    assert state.count("as it was before") == 2
    assert "The database has not been changed" in state
    assert ("the old template is in place" in state) is was_there


def test_a_commit_that_broke_off_is_looked_after(
    install_with: Install, store: Path, mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymysql.connections import Connection

    commit = Connection.commit

    def torn(self: Connection) -> None:
        commit(self)
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(Connection, "commit", torn)
    assert install_with().code == 0
    assert mariadb.row(201)[0] in properties_of(store, 201)["filename"]
