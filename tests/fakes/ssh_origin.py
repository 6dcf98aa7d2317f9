# SPDX-License-Identifier: Apache-2.0
"""An SSH server that offers one directory over SFTP to one user, and drops connections on order."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.sftp import SFTP_FAILURE


@dataclass
class SshOrigin:
    """The running server.

    Attributes:
        key: Its host key; may be replaced while it runs.
        drop_after: Drop a connection after this many bytes were read over it.
    """

    root: Path
    port: int
    key: paramiko.PKey
    user: str = "images"
    password: str = "s3cret"
    drop_after: int | None = None
    connections: list[paramiko.Transport] = field(default_factory=list)


class _Login(paramiko.ServerInterface):
    def __init__(self, origin: SshOrigin) -> None:
        self._origin = origin

    def check_auth_password(self, username: str, password: str) -> int:
        if (username, password) == (self._origin.user, self._origin.password):
            return AUTH_SUCCESSFUL
        return AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def get_allowed_auths(self, username: str) -> str:
        return "password"


class _Files(paramiko.SFTPServerInterface):
    def __init__(
        self, server: paramiko.ServerInterface, origin: SshOrigin, transport: paramiko.Transport
    ) -> None:
        super().__init__(server)
        self._origin = origin
        self._transport = transport

    def open(
        self, path: str, flags: int, attr: paramiko.SFTPAttributes
    ) -> paramiko.SFTPHandle | int:
        try:
            file = (self._origin.root / path.lstrip("/")).open("rb")
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        return _File(file.fileno(), file, self._origin, self._transport)


class _File(paramiko.SFTPHandle):
    def __init__(
        self, descriptor: int, file: object, origin: SshOrigin, transport: paramiko.Transport
    ) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._file = file
        self._origin = origin
        self._transport = transport
        self._sent = 0

    def stat(self) -> paramiko.SFTPAttributes:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self._descriptor))

    def read(self, offset: int, length: int) -> bytes | int:
        data = os.pread(self._descriptor, length, offset)
        self._sent += len(data)
        if self._origin.drop_after is not None and self._sent > self._origin.drop_after:
            self._transport.close()
            return SFTP_FAILURE
        return data

    def close(self) -> None:
        self._file.close()  # type: ignore[attr-defined]


def _accept(listener: socket.socket, origin: SshOrigin) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        transport = paramiko.Transport(connection)
        origin.connections.append(transport)
        transport.add_server_key(origin.key)
        transport.set_subsystem_handler(
            "sftp", paramiko.SFTPServer, lambda server, *_, t=transport: _Files(server, origin, t)
        )
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=_Login(origin))


@contextmanager
def ssh_origin(root: Path) -> Iterator[SshOrigin]:
    """A running server over a directory."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = SshOrigin(
            root=root, port=listener.getsockname()[1], key=paramiko.RSAKey.generate(2048)
        )
        thread = threading.Thread(target=_accept, args=(listener, origin), daemon=True)
        thread.start()
        try:
            yield origin
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for transport in origin.connections:
                transport.close()
            thread.join(5)
