# SPDX-License-Identifier: Apache-2.0
"""The few statements about the table ``vm_template`` (blocking).

Each call has a connection of its own, because minutes of copying lie between them. All values are
parameters.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ssvm_agent.sysvmtemplate.access import DatabaseAccess
from ssvm_agent.sysvmtemplate.database_tls import context_of
from ssvm_agent.sysvmtemplate.errors import DatabaseFailedError, NoTemplateRowError
from ssvm_agent.sysvmtemplate.hypervisors import Hypervisor

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor

_CONNECT_TIMEOUT_S: Final = 10
_ANSWER_TIMEOUT_S: Final = 30
# Shorter than the time an answer may take, so that the server says what is the matter.
_LOCK_WAIT_S: Final = 20
_SYSTEM: Final = "SYSTEM"

_UNTRUSTED_STEP: Final = (
    "Check the certificates it is verified with (--db-ca, or db.cloud.trustStore), and that"
    " the host is given by a name in its certificate (-o)."
)

# What servers answer (MariaDB "Error Codes"), and what to do about it.
_NEXT_STEPS: Final = {
    1044: "Check the privileges of this user.",
    1045: "Check user and password (-r, --db-password-file).",
    1049: "Check the name of the database (--db-name).",
    1142: "The user needs SELECT and UPDATE on vm_template.",
    1143: "The user needs SELECT and UPDATE on vm_template.",
    1146: "Check that this is the database of a management server (--db-name).",
    1205: "Somebody else is changing this template; try again.",
    1290: "The server is read-only: give the primary one with -o.",
    1698: "Check user and password (-r, --db-password-file).",
    2003: "Check that it runs, and host and port (-o, -p).",
    2026: "TLS is wanted by db.cloud.useSSL or --db-ca: check that the server has a certificate.",
    2013: "Check that it runs, and the network to it.",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRow:
    """A row of ``vm_template``."""

    id: int
    name: str
    uuid: str
    type: str
    hypervisor: str


class TemplateTable:
    """The table ``vm_template`` of one management server."""

    def __init__(self, access: DatabaseAccess) -> None:
        self._access = access

    def newest(self, hypervisor: Hypervisor) -> TemplateRow:
        """The system VM template of a hypervisor with the highest id.

        Raises:
            NoTemplateRowError: There is none.
            DatabaseFailedError: The database does not answer, or refuses.
        """
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT MAX(id) FROM vm_template"
                " WHERE type = %s AND hypervisor_type = %s AND removed IS NULL",
                (_SYSTEM, hypervisor.database_word),
            )
            found = cursor.fetchone()
            # Without any row, the answer is one row with NULL in it.
            if found is None or found[0] is None:
                raise NoTemplateRowError(
                    f"The database {self._access.display} has no system VM template for "
                    f"{hypervisor.database_word}. Check -h and the database; a template that is "
                    "registered under another type is given with -t."
                )
            return self._row(cursor, int(found[0]))

    def row(self, template_id: int) -> TemplateRow:
        """The row of one id.

        Raises:
            NoTemplateRowError: There is none, or it is marked as removed.
            DatabaseFailedError: The database does not answer, or refuses.
        """
        with self._cursor() as cursor:
            return self._row(cursor, template_id)

    def _row(self, cursor: Cursor, template_id: int) -> TemplateRow:
        cursor.execute(
            "SELECT id, name, uuid, type, hypervisor_type, removed FROM vm_template WHERE id = %s",
            (template_id,),
        )
        found = cursor.fetchone()
        if found is None or found[5] is not None:
            state = "no template" if found is None else "only a removed template"
            raise NoTemplateRowError(
                f"The database {self._access.display} has {state} of id {template_id}. Check -t; "
                "--no-database installs without looking."
            )
        name, uuid, kind, hypervisor = (str(value or "") for value in found[1:5])
        return TemplateRow(id=int(found[0]), name=name, uuid=uuid, type=kind, hypervisor=hypervisor)

    def check_update(self, template_id: int) -> None:
        """Make sure that an update would be allowed, without making one.

        Raises:
            DatabaseFailedError: It would not.
        """
        with self._cursor() as cursor:
            # Privileges are checked although the condition matches no row.
            cursor.execute(
                "UPDATE vm_template SET uuid = uuid, url = url WHERE id = %s AND 1 = 0",
                (template_id,),
            )

    def update(self, template_id: int, *, uuid: str, url: str) -> None:
        """Set uuid and URL, in one transaction.

        Raises:
            NoTemplateRowError: The row is gone; nothing was changed.
            DatabaseFailedError: Nothing was changed, unless ``maybe_done`` says so.
        """
        with self._connection() as connection:
            with self._translated(), connection.cursor() as cursor:
                changed = cursor.execute(
                    "UPDATE vm_template SET uuid = %s, url = %s WHERE id = %s",
                    (uuid, url, template_id),
                )
            if changed != 1:
                with self._translated():
                    connection.rollback()
                raise NoTemplateRowError(
                    f"The template {template_id} has vanished from the database meanwhile"
                )
            with self._translated(committing=True):
                connection.commit()

    @contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        with self._connection() as connection, self._translated(), connection.cursor() as cursor:
            yield cursor

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        import pymysql

        access = self._access
        with self._translated():
            connection = pymysql.connect(
                host=access.host,
                port=access.port,
                unix_socket=access.socket,
                database=access.name,
                user=access.user,
                password=access.password.reveal(),
                charset="utf8mb4",
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=_ANSWER_TIMEOUT_S,
                write_timeout=_ANSWER_TIMEOUT_S,
                autocommit=False,
                init_command=f"SET SESSION innodb_lock_wait_timeout = {_LOCK_WAIT_S}",
                ssl=context_of(access.tls) if access.tls is not None else None,
            )
        try:
            yield connection
        finally:
            # What was not committed is rolled back by the server when the connection ends.
            with contextlib.suppress(pymysql.MySQLError, OSError):
                connection.close()

    @contextmanager
    def _translated(self, *, committing: bool = False) -> Iterator[None]:
        """Turn what the library raises into our error."""
        import pymysql

        try:
            yield
        except (pymysql.MySQLError, OSError, RuntimeError) as error:
            number, text = _taken_apart(error)
            step = _NEXT_STEPS.get(number, "")
            # The library tells it in the words of a server that cannot be reached.
            cause = getattr(error, "original_exception", None)
            if isinstance(cause, ssl.SSLCertVerificationError):
                reason = cause.verify_message.rstrip(".")
                text, step = f"certificate verify failed: {reason}", _UNTRUSTED_STEP
            raise DatabaseFailedError(
                f"The database {self._access.display} says: {text}{f'. {step}' if step else ''}",
                detail=f"error {number}" if number else "",
                maybe_done=committing,
            ) from error


def _taken_apart(error: Exception) -> tuple[int, str]:
    """Number and text of an error of the library."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if number and len(error.args) > 1 else str(error)
    return number, (text or type(error).__name__).rstrip(".")
