# SPDX-License-Identifier: Apache-2.0
"""The ``authorized_keys`` file in a system VM: read, and replaced in one step.

The new text is written beside the file with its mode and owner, compared, synced and renamed over
it. A cut connection, a full disk or a kill at any moment leaves the old file or the new one. Needs
nothing there but a POSIX shell, coreutils and ``flock``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from ssvm_agent.delivery.errors import ConflictError, RemoteError
from ssvm_agent.delivery.session import QUICK_S, Session

_READ: Final = """
set -eu
file=$HOME/.ssh/authorized_keys
if [ -e "$file" ]; then cat "$file"; fi
"""
# $1 sha256 of the file as it was read, $2 sha256 of the new text, which comes on standard input.
_REPLACE: Final = """
set -eu
umask 077
sum() { sha256sum | cut -d ' ' -f 1; }
mkdir -p "$HOME/.ssh"
file=$(readlink -f "$HOME/.ssh/authorized_keys")
directory=$(dirname "$file")
exec 9<"$directory"
flock -w 20 9
rm -f "$file".ssvm-deliver.*
new=$file.ssvm-deliver.$$
trap 'rm -f "$new"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$new"
[ "$(sum <"$new")" = "$2" ] || { echo 'the text arrived incomplete' >&2; exit 1; }
if [ -e "$file" ]; then
    chmod --reference="$file" "$new"
    chown --reference="$file" "$new"
fi
sync "$new"
[ "$( { cat "$file" 2>/dev/null || :; } | sum)" = "$1" ] || exit 75
mv -f "$new" "$file"
sync "$directory"
"""
_CHANGED: Final = 75
_TRIES: Final = 3


async def read(session: Session) -> bytes:
    """The text of the file, empty when there is none."""
    return await session.sh(_READ)


async def change(session: Session, edit: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """Replace the file by what ``edit`` makes of it.

    When something else writes to it at the same time, it is read and edited again.

    Returns:
        The text before and after.

    Raises:
        RemoteError: It cannot be written; it is as it was.
        ConflictError: It changes all the time.
        ConnectionLostError: It is as it was, or as it should be.
    """
    for _ in range(_TRIES):
        before = await read(session)
        after = edit(before)
        if after == before or await _replace(session, before, after):
            return before, after
    raise ConflictError(f"{session.target.name}: something else keeps changing authorized_keys")


async def _replace(session: Session, before: bytes, after: bytes) -> bool:
    sums = (hashlib.sha256(text).hexdigest() for text in (before, after))
    outcome = await session.run(
        ["/bin/sh", "-c", _REPLACE, "sh", *sums], stdin=after, deadline_s=QUICK_S
    )
    if outcome.code not in (0, _CHANGED):
        raise RemoteError(
            f"{session.target.name}: authorized_keys cannot be written: {outcome.said()}",
            detail="the file is as it was",
        )
    return outcome.code == 0
