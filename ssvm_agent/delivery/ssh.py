# SPDX-License-Identifier: Apache-2.0
"""The one door to a system VM: an SSH connection, straight or through a jump host. Blocking.

Nothing secret is sent before the server has shown the pinned host key. Every step has a deadline.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ssvm_agent.delivery.access import Access
from ssvm_agent.delivery.errors import ConnectionLostError, LoginRefusedError, UnreachableError
from ssvm_agent.delivery.keyfile import PrivateKey
from ssvm_agent.delivery.output import Outcome, pieces
from ssvm_agent.delivery.targets import Address, Target
from ssvm_agent.masking import mask_text

if TYPE_CHECKING:
    from paramiko import Channel, SFTPClient, Transport

# A peer that vanished without a word is noticed by these.
_KEEPALIVE_S: Final = 15


class Connection:
    """A login on one system VM.

    Args:
        target: Which one.
        key: The key to log in with.
        access: How to get there.
    """

    def __init__(self, target: Target, key: PrivateKey, access: Access) -> None:
        self._target = target
        self._key = key
        self._access = access
        self._open: list[Transport | socket.socket] = []
        self._transport: Transport | None = None

    def open(self) -> None:
        """Connect, check host keys, log in.

        Raises:
            UnreachableError: There is no way to it, or no SSH server.
            HostKeyError: It is not the server it should be.
            LoginRefusedError: It does not accept the key.
            ConnectionLostError: The connection broke on the way.
        """
        target = self._target
        if target.jump is None:
            link: socket.socket | Channel = self._connect(target.address)
        else:
            jump_key = self._access.jump_key
            if jump_key is None:
                raise UnreachableError(f"There is no key for the jump host {target.jump}")
            jump = self._login(
                self._connect(target.jump),
                target.jump,
                pin=(target.jump.pin_name, self._access.jump_host_key),
                key=jump_key,
            )
            link = self._forward(jump, target)
        pin = (target.pin_name, target.host_key)
        self._transport = self._login(link, target.address, pin=pin, key=self._key)

    def run(
        self,
        arguments: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_s: float,
        limit_bytes: int = 1024 * 1024,
    ) -> Outcome:
        """Run a command and wait for its end.

        Args:
            arguments: The program and what it gets, quoted here for the shell of the other side.
            stdin: What it reads.
            deadline_s: For the whole of it.
            limit_bytes: So much of its output and of its errors is kept; the rest is dropped.

        Raises:
            ConnectionLostError: It was not seen to end.
        """
        until = time.monotonic() + deadline_s
        with self.translated(f"{arguments[0]} was not seen to end on {self._target.name}"):
            channel = self._channel()
            channel.settimeout(deadline_s)
            channel.exec_command(shlex.join(arguments))
            channel.sendall(stdin)
            channel.shutdown_write()
            kept = {False: bytearray(), True: bytearray()}
            # Both ends must be emptied, or a chatty command waits for us while we wait for it.
            for is_errors, piece in pieces(channel, until):
                kept[is_errors] += piece[: limit_bytes - len(kept[is_errors])]
            if not channel.status_event.wait(max(until - time.monotonic(), 0)):
                raise TimeoutError(f"not within {deadline_s:g} s")
            if channel.exit_status < 0:
                raise EOFError("no exit code came")
            channel.close()
        return Outcome(
            code=channel.exit_status, output=bytes(kept[False]), errors=bytes(kept[True])
        )

    def sftp(self) -> SFTPClient:
        """A client for files, over this connection.

        Raises:
            ConnectionLostError: It does not come about.
        """
        import paramiko

        with self.translated(f"{self._target.name} does not offer SFTP"):
            channel = self._channel()
            channel.settimeout(self._access.deadlines.idle_s)
            channel.invoke_subsystem("sftp")
            return paramiko.SFTPClient(channel)

    @contextmanager
    def translated(self, message: str) -> Iterator[None]:
        """Errors of the library and of the network become one.

        Raises:
            ConnectionLostError: With the message, and the error as detail.
        """
        from paramiko import SSHException

        try:
            yield
        except (SSHException, OSError, EOFError) as error:
            raise ConnectionLostError(message, detail=_reason(error)) from error

    def is_alive(self) -> bool:
        """Whether the server was still there a moment ago."""
        return self._transport is not None and self._transport.is_active()

    def close(self) -> None:
        """Drop the connection; a call that still waits on it ends."""
        for link in reversed(self._open):
            with contextlib.suppress(OSError, EOFError):
                link.close()

    def _connect(self, address: Address) -> socket.socket:
        try:
            link = socket.create_connection(
                (address.host, address.port), timeout=self._access.deadlines.connect_s
            )
        except OSError as error:
            raise UnreachableError(
                f"{address} cannot be reached", detail=error.strerror or str(error)
            ) from error
        self._open.append(link)
        return link

    def _forward(self, jump: Transport, target: Target) -> Channel:
        from paramiko import SSHException

        address = target.address
        try:
            return jump.open_channel(
                "direct-tcpip",
                (address.host, address.port),
                ("127.0.0.1", 0),
                timeout=self._access.deadlines.connect_s,
            )
        except (SSHException, OSError, EOFError) as error:
            raise UnreachableError(
                f"{address} cannot be reached from {target.jump}", detail=_reason(error)
            ) from error

    def _login(
        self,
        link: socket.socket | Channel,
        address: Address,
        *,
        pin: tuple[str, str | None],
        key: PrivateKey,
    ) -> Transport:
        from paramiko import SSHException, Transport

        deadlines, known = self._access.deadlines, self._access.known_hosts
        try:
            transport = Transport(link)
            self._open.append(transport)
            transport.banner_timeout = transport.auth_timeout = deadlines.answer_s
            _ask_for(transport, known.kinds(pin[0]) if pin[1] is None else frozenset())
            transport.start_client(timeout=deadlines.answer_s)
        except (SSHException, OSError, EOFError) as error:
            raise UnreachableError(f"{address} does not talk SSH", detail=_reason(error)) from error
        known.verify(pin[0], transport.get_remote_server_key(), expected=pin[1])
        transport.set_keepalive(_KEEPALIVE_S)
        self._authenticate(transport, address, key)
        return transport

    def _authenticate(self, transport: Transport, address: Address, key: PrivateKey) -> None:
        from paramiko import AuthenticationException, BadAuthenticationType

        public = key.public
        refused = f"{address} does not accept the key {public.fingerprint} for {address.user}"
        with self.translated(f"The connection to {address} broke during the login"):
            try:
                transport.auth_publickey(address.user, key.secret)
            except BadAuthenticationType as error:
                raise LoginRefusedError(refused, detail="no login by key") from error
            except AuthenticationException as error:
                # The library says the same for a refusal and for a broken or silent connection.
                # Only a server that still talks has refused.
                if not transport.is_active() or "timeout" in str(error).lower():
                    raise EOFError(str(error)) from error
                raise LoginRefusedError(refused, detail=str(key.path)) from error

    def _channel(self) -> Channel:
        if self._transport is None:
            raise EOFError("not connected")
        return self._transport.open_session(timeout=self._access.deadlines.answer_s)


def _ask_for(transport: Transport, kinds: frozenset[str]) -> None:
    """Ask for a host key of a kind that is on record, where there are any."""
    options = transport.get_security_options()
    wanted = [
        kind
        for kind in options.key_types
        if ("ssh-rsa" if kind.startswith("rsa-sha2-") else kind) in kinds
    ]
    if wanted:
        options.key_types = wanted


def _reason(error: BaseException) -> str:
    return mask_text(str(error)) or type(error).__name__
