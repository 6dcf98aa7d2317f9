# SPDX-License-Identifier: Apache-2.0
"""How to log in to the database: the command line first, then ``db.properties`` (blocking).

Values of the command line count; the file of the management server fills what is missing. Its
password may be ``ENC(…)``, whose key lies where ``db.cloud.encryption.type`` says.

Differs: boot-and-system.md 6.1; a password given on the command line is used, also when the file
has an encrypted one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent import javaproperties
from ssvm_agent.masking import Secret
from ssvm_agent.sealed import SealedTextError, open_sealed
from ssvm_agent.sysvmtemplate.database_tls import DatabaseTls
from ssvm_agent.sysvmtemplate.errors import DatabaseAccessError
from ssvm_agent.sysvmtemplate.request import DatabaseRequest

DEFAULT_PORT: Final = 3306
_DEFAULT_USER: Final = "root"
_DEFAULT_NAME: Final = "cloud"
_LOCALHOST: Final = "localhost"
# The database clients of Debian and Red Hat look for "localhost" there.
_SOCKETS: Final = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock")
# Where a management server of encryption type "env" has its key.
KEY_VARIABLE: Final = "CLOUD_SECRET_KEY"
_KEY_FILE: Final = "key"
_ENCRYPTED: Final = re.compile(r"ENC\((.*)\)", re.DOTALL)
_MAX_FILE_BYTES: Final = 1 << 20
# What can be given in place of an encrypted value.
_OTHERWISE: Final = {
    "db.cloud.password": ", or the password itself with --db-password-file",
    "db.cloud.trustStorePassword": ", or certificates in PEM form with --db-ca",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAccess:
    """Everything that is needed to log in.

    Attributes:
        socket: Unix socket; counts instead of host and port when set.
        name: Of the database that has the table ``vm_template``.
        tls: Set when the connection has to be encrypted; otherwise it is where the server can.
    """

    host: str
    port: int
    user: str
    password: Secret
    name: str
    socket: str | None = None
    tls: DatabaseTls | None = None

    @property
    def display(self) -> str:
        """Where the database is, for messages."""
        return f"{self.user}@{self.socket or f'{self.host}:{self.port}'}/{self.name}"


def resolve(request: DatabaseRequest) -> DatabaseAccess:
    """Put command line, ``db.properties`` and defaults together.

    Raises:
        DatabaseAccessError: A file cannot be read, a value makes no sense, or the password cannot
            be decrypted.
    """
    values = _read_properties(request)
    host = request.host or values.get("db.cloud.host") or _LOCALHOST
    socket = request.socket or _local_socket(request, host)
    return DatabaseAccess(
        host=host,
        port=request.port or _port(values) or DEFAULT_PORT,
        user=request.user or values.get("db.cloud.username") or _DEFAULT_USER,
        password=_password(request, values),
        name=request.name or values.get("db.cloud.name") or _DEFAULT_NAME,
        socket=socket,
        tls=None if socket else _tls(request, values),
    )


def _read_properties(request: DatabaseRequest) -> Mapping[str, str]:
    path = request.properties
    try:
        return javaproperties.parse(_read(path))
    except FileNotFoundError as error:
        if not request.properties_required:
            return {}
        raise DatabaseAccessError(f"There is no file {path}") from error
    except OSError as error:
        raise DatabaseAccessError(
            f"{path} cannot be read: {error.strerror}. Run as root, or give host, user and "
            "password by options and another file with --properties."
        ) from error


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_FILE_BYTES).decode("latin-1")


def _port(values: Mapping[str, str]) -> int | None:
    text = values.get("db.cloud.port", "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 1 << 16:
        raise DatabaseAccessError(f"db.cloud.port is {text[:20]!r}, which is no port")
    return int(text)


def _local_socket(request: DatabaseRequest, host: str) -> str | None:
    """The local socket, when "localhost" is meant as database clients mean it.

    A port or certificates that were asked for mean TCP.
    """
    if host != _LOCALHOST or request.port is not None or request.ca_file is not None:
        return None
    return next((path for path in _SOCKETS if Path(path).is_socket()), None)


def _password(request: DatabaseRequest, values: Mapping[str, str]) -> Secret:
    if request.password is not None:
        return request.password
    return _opened("db.cloud.password", request, values)


def _tls(request: DatabaseRequest, values: Mapping[str, str]) -> DatabaseTls | None:
    """What option or file ask for; a local socket needs none."""
    if request.ca_file is not None:
        return DatabaseTls(ca_file=request.ca_file)
    if values.get("db.cloud.useSSL", "").strip().lower() != "true":
        return None
    trust_store = values.get("db.cloud.trustStore", "").strip()
    if not trust_store:
        return DatabaseTls()
    return DatabaseTls(
        trust_store=Path(trust_store),
        trust_store_password=_opened("db.cloud.trustStorePassword", request, values),
    )


def _opened(name: str, request: DatabaseRequest, values: Mapping[str, str]) -> Secret:
    """A value that may be encrypted."""
    text = values.get(name, "")
    encrypted = _ENCRYPTED.fullmatch(text.strip())
    if encrypted is None:
        return Secret(text)
    key, origin = _key(name, request, values)
    try:
        opened, _ = open_sealed(key, encrypted[1].strip())
    except SealedTextError as error:
        reason = error.message.rstrip(".")
        raise DatabaseAccessError(
            f"The {name} of {request.properties} {reason} ({origin}). Give the right key"
            f" with --key-file or -s{_OTHERWISE.get(name, '')}."
        ) from error
    return Secret(opened)


def _key(name: str, request: DatabaseRequest, values: Mapping[str, str]) -> tuple[Secret, str]:
    """The key, and where it is from."""
    if request.key is not None:
        return request.key, "the key given"
    kind = values.get("db.cloud.encryption.type", "").strip().lower()
    match kind:
        case "file":
            path = request.properties.with_name(_KEY_FILE)
            return read_secret(path, "key"), str(path)
        case "env" if KEY_VARIABLE in os.environ:
            return Secret(os.environ[KEY_VARIABLE]), f"the variable {KEY_VARIABLE}"
        case "env":
            missing = f"The variable {KEY_VARIABLE} is not set"
        case "web":
            missing = "The management server asked for its key when it was started"
        case _:
            missing = f"db.cloud.encryption.type is {kind or 'missing'!r}"
    raise DatabaseAccessError(
        f"The {name} of {request.properties} is encrypted. {missing}: give the key with "
        "--key-file or -s."
    )


def read_secret(path: Path, what: str) -> Secret:
    """The first line of a file.

    Raises:
        DatabaseAccessError: It cannot be read, or has nothing in it.
    """
    try:
        lines = _read(path).splitlines()
    except OSError as error:
        raise DatabaseAccessError(
            f"The {what} file {path} cannot be read: {error.strerror}"
        ) from error
    if not lines or not lines[0].strip():
        raise DatabaseAccessError(f"The {what} file {path} is empty")
    return Secret(lines[0].strip())
