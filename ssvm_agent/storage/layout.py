# SPDX-License-Identifier: Apache-2.0
"""Names and paths on a secondary store, as pure functions.

Everything that turns ids, names and URLs into directories and files is here; nothing else in the
package builds store paths. Knows nothing of file systems: what exists is the business of
:mod:`ssvm_agent.storage.paths`. docs/storage-layout.md draws the tree.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit
from uuid import UUID

from ssvm_agent.storage.errors import PathEscapeError, UnsupportedStoreError

TEMPLATES: Final = PurePosixPath("template/tmpl")
VOLUMES: Final = PurePosixPath("volumes")
SNAPSHOTS: Final = PurePosixPath("snapshots")
CHECKPOINTS: Final = PurePosixPath("checkpoints")
CONFIG_DRIVES: Final = PurePosixPath("configdrive")

# Temporaries of every agent begin and end like this (storage-commands.md 6.1).
TEMPORARY_PREFIX: Final = "dnld"
TEMPORARY_SUFFIX: Final = "tmp_"
# Temporaries of browser uploads made by other agents (storage-commands.md 6.1, 11.11).
UPLOAD_TEMPORARY_PREFIX: Final = "FUp_"

# NAME_MAX is 255 bytes; four are kept for what a file system or an editor of names may append
# (requirements R36).
MAX_NAME_BYTES: Final = 251
_NAME_MAX: Final = 255
_PATH_MAX: Final = 4095

_UNSAFE_IN_NAME: Final = re.compile(r"[^A-Za-z0-9._+@-]")
_TEMPORARY: Final = re.compile(
    rf"{TEMPORARY_PREFIX}\.(?P<owner>[A-Za-z0-9_-]+)\.(?P<job>[A-Za-z0-9_-]+)\.{TEMPORARY_SUFFIX}"
    r"(\.[a-z]+)?"
)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# What the parts of one snapshot are called besides its name (storage-commands.md 6.1).
_SNAPSHOT_TAIL: Final = re.compile(r"(_temp)?(-(disk|file)-?\d+)?(\.[A-Za-z0-9]+)*")
_CIFS_CREDENTIALS: Final = frozenset({"user", "password", "domain"})


class ImageKind(StrEnum):
    """What an image on a store is; travels as ``resourceType`` of downloads."""

    TEMPLATE = "TEMPLATE"
    VOLUME = "VOLUME"
    SNAPSHOT = "SNAPSHOT"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUrl:
    """A store URL taken apart.

    Attributes:
        scheme: ``nfs``, ``cifs`` or ``file``.
        host: Name or literal address, without brackets; empty for ``file``.
        path: Percent-decoded, with its leading slash; a trailing slash is kept.
        query: Parameters by name; those of a CIFS URL hold credentials, so they do not print.
    """

    scheme: str
    host: str
    path: str
    query: Mapping[str, str] = field(repr=False, default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporaryName:
    """Who writes a temporary file: the agent (its host name) and the job."""

    owner: str
    job_id: str


def name_uuid(data: bytes) -> UUID:
    """The version 3 UUID of some bytes, without a name space (storage-commands.md 6.2)."""
    return UUID(bytes=hashlib.md5(data, usedforsecurity=False).digest(), version=3)


def mount_directory_name(address: str, path: str) -> str:
    """The name of a store's directory below the mount root (storage-commands.md 8).

    Args:
        address: Literal address of the server. An IPv6 address may be written in any form.
        path: Exported path, percent-decoded, trailing slash kept.
    """
    return str(name_uuid(f"{_key_address(address)}:{path}".encode()))


def local_directory_name(path: str) -> str:
    """The name of a plain directory store: the same rule on its path, as it has no address."""
    return str(name_uuid(path.encode()))


def _key_address(address: str) -> str:
    """An address as it enters the key: IPv6 with eight groups, none shortened to ``::``."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    # Compat: storage-commands.md 8, "text form; IPv6 possible": groups without leading zeros.
    return ":".join(f"{int(group, 16):x}" for group in parsed.exploded.partition("%")[0].split(":"))


def parse_store_url(url: str) -> StoreUrl:
    """Take a store URL apart.

    Accepts ``nfs://host/path``, ``cifs://host/share?user=…&password=…`` and, for development,
    ``file:///path``. A port is ignored.

    Raises:
        UnsupportedStoreError: Another scheme, or a part is missing or malformed.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise UnsupportedStoreError("The secondary storage URL is malformed") from error
    path = unquote(parts.path)
    if any(unicodedata.category(char) == "Cc" for char in url + path):
        raise UnsupportedStoreError("The secondary storage URL has control characters in it")
    match parts.scheme:
        case "nfs":
            query: dict[str, str] = {}
        case "cifs":
            query = _cifs_query(parts)
        case "file":
            query = {}
        case other:
            raise UnsupportedStoreError(
                f"Unsupported storage device scheme {other or '(none)'} in the store URL"
            )
    if parts.scheme == "file":
        if host not in {"", "localhost"} or not path.startswith("/") or ".." in path.split("/"):
            raise UnsupportedStoreError("A directory store is written file:///absolute/path")
        return StoreUrl(scheme="file", host="", path=path)
    if not host or not path.startswith("/"):
        raise UnsupportedStoreError(f"The {parts.scheme} URL needs a host and a path")
    return StoreUrl(scheme=parts.scheme, host=host, path=path, query=MappingProxyType(query))


def _cifs_query(parts: SplitResult) -> dict[str, str]:
    """The parameters of a CIFS URL; a plus sign in a password stays a plus sign."""
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    query = {unquote(name): unquote(value) for name, _, value in pairs}
    if not query.get("user") or "password" not in query:
        raise UnsupportedStoreError(
            "Missing user and password from URI. Make sure they are in the query string and "
            "separated by '&'. E.g. cifs://example.com/some_share?user=foo&password=bar"
        )
    for name, value in query.items():
        if any(unicodedata.category(char) == "Cc" for char in name + value):
            raise UnsupportedStoreError("The cifs URL has control characters in it")
        if name not in _CIFS_CREDENTIALS and not re.fullmatch(r"\w+=[\w.:/@-]*", f"{name}={value}"):
            raise UnsupportedStoreError(f"The cifs URL has an unusable parameter {name[:40]!r}")
    return query


def check_relative(path: str, *, strip_slash: bool = False) -> PurePosixPath:
    """A path from outside, as a relative path that stays below whatever it is joined to.

    Args:
        path: As it came in.
        strip_slash: Take one leading slash off first, as the commands that name files allow
            (storage-commands.md 3.10, 3.13).

    Raises:
        PathEscapeError: It is empty, absolute, or too long, or has ``..``, NUL, other control
            characters or unpaired surrogates in it.
    """
    if strip_slash:
        path = path.removeprefix("/")
    try:
        raw = path.encode()
    except UnicodeEncodeError as error:
        raise PathEscapeError("The path is not valid text") from error
    if any(unicodedata.category(char) == "Cc" for char in path):
        raise PathEscapeError("The path has control characters in it")
    if path.startswith("/"):
        raise PathEscapeError("The path must be relative to its store")
    if len(raw) > _PATH_MAX or any(len(part) > _NAME_MAX for part in raw.split(b"/")):
        raise PathEscapeError("The path is too long")
    pure = PurePosixPath(path)
    if ".." in pure.parts:
        raise PathEscapeError("The path leaves its store")
    if not pure.parts or str(pure).isspace():
        raise PathEscapeError("The path is empty")
    return pure


def check_depth(path: PurePosixPath, top: PurePosixPath, below: int) -> None:
    """Make sure that a path is deep enough to name one object and nothing above it.

    Args:
        path: Relative to the store.
        top: The tree it must be in.
        below: How many components it needs below ``top``; 2 are an account and an id.

    Raises:
        PathEscapeError: It is elsewhere, or names more than one object (requirements S8).
    """
    if path.parts[: len(top.parts)] != top.parts:
        raise PathEscapeError(f"The path {path} is not below {top}")
    if len(path.parts) < len(top.parts) + below:
        raise PathEscapeError(f"The path {path} names more than one object")


def top_of(kind: ImageKind) -> PurePosixPath:
    """The tree in which images of a kind are kept."""
    return {
        ImageKind.TEMPLATE: TEMPLATES,
        ImageKind.VOLUME: VOLUMES,
        ImageKind.SNAPSHOT: SNAPSHOTS,
    }[kind]


def check_name(name: str) -> str:
    """A single file name from outside, unchanged.

    Raises:
        PathEscapeError: It is no name, or more than one.
    """
    pure = check_relative(name)
    if len(pure.parts) != 1 or str(pure) != name:
        raise PathEscapeError("The name of a file must not contain a path")
    return name


def properties_name(kind: ImageKind) -> str | None:
    """The name of the properties file beside an image; snapshots have none."""
    match kind:
        case ImageKind.TEMPLATE:
            return "template.properties"
        case ImageKind.VOLUME:
            return "volume.properties"
        case ImageKind.SNAPSHOT:
            return None


def belongs_to_snapshot(name: str, snapshot: str) -> bool:
    """Whether a directory entry is a part of the snapshot of this name.

    Parts are called like the snapshot, with an extension, ``_temp``, or the number of a disk behind
    it. A UUID in the name cannot be the beginning of another name, so behind it anything goes that
    does not continue the word.
    """
    bare = name.removeprefix("VHD-")
    if snapshot.startswith("VHD-"):
        bare = name
    if not bare.startswith(snapshot):
        return False
    tail = bare[len(snapshot) :]
    if _SNAPSHOT_TAIL.fullmatch(tail):
        return True
    return _UUID.search(snapshot) is not None and not tail[0].isalnum()


def image_file_name(unique_name: str, extension: str, *, now_ms: int) -> str:
    """The final name of an installed image (storage-commands.md 4.10 step 2).

    Args:
        unique_name: Of the template, or the name of the volume.
        extension: Of the declared format, without the dot.
        now_ms: Milliseconds since 1970; makes names of later installations differ.
    """
    if extension == "iso":
        return f"{safe_name(unique_name, room=len('.iso'))}.iso"
    return f"{name_uuid(f'{unique_name}{now_ms}'.encode())}.{extension}"


def safe_name(text: str, *, room: int = 0) -> str:
    """A file name of a safe alphabet and bounded length (requirements R36).

    Args:
        text: Any text; trimmed, and what is unsafe in it becomes ``_``.
        room: How many characters are needed for what follows.
    """
    name = _UNSAFE_IN_NAME.sub("_", text.strip())[: MAX_NAME_BYTES - room]
    # A leading dot hides a file, a leading dash is an option to many programs.
    return re.sub(r"^[.-]", "_", name) or "_"


def temporary_name(owner: str, job_id: str) -> str:
    """The name of a file on its way into a store (requirements R13).

    Args:
        owner: Host name of the agent that writes it.
        job_id: Unique among the jobs of this owner.
    """
    words = (word_of(part) for part in (owner, job_id))
    return ".".join((TEMPORARY_PREFIX, *words, TEMPORARY_SUFFIX))


def word_of(text: str) -> str:
    """An owner or job id as it stands in the name of a temporary."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:100] or "-"


def parse_temporary(name: str) -> TemporaryName | None:
    """Who writes a file of this name; None when it is no temporary of an agent like this one.

    A further extension, as that of the properties on their way, belongs to the same job.
    """
    found = _TEMPORARY.fullmatch(name)
    return TemporaryName(owner=found["owner"], job_id=found["job"]) if found else None


def is_temporary(name: str) -> bool:
    """Whether this is a file on its way into a store, whoever writes it."""
    others = rf"{TEMPORARY_PREFIX}\w*{TEMPORARY_SUFFIX}(\.tmp)?|{UPLOAD_TEMPORARY_PREFIX}.*"
    return parse_temporary(name) is not None or re.fullmatch(others, name) is not None
