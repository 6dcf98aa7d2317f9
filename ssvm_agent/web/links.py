# SPDX-License-Identifier: Apache-2.0
"""Which files are published for download, under which key, until when (requirement R19).

A key is the path below ``/userdata/``: ``<uuid>/<name>.<ext>``, or ``<uuid>.<ext>`` from 4.5
servers. The server withdraws a link itself after its interval; our expiry is only the net below
that, for the links nobody withdrew (storage-commands.md 3.8, 11.11). No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ssvm_agent.web.errors import PublishError

# R36; the server's own names are [A-Za-z0-9-] plus an extension.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,250}")
_AREA: Final = "/userdata/"


class BadLinkError(PublishError):
    """A name for a link is not one we publish under."""

    code = "bad-link"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One published file.

    Attributes:
        key: Path below ``/userdata/``, one or two names.
        store: Directory name of the store below the mount root (``parent``).
        path: The file, relative to the store's root.
    """

    key: str
    store: str
    path: str
    created: datetime
    expires: datetime

    @property
    def file_name(self) -> str:
        """What the downloaded file is called."""
        return self.key.rpartition("/")[2]


def link_key(*names: str) -> str:
    """The key of one or two names (``filepathInExtractURL``, ``filenameInExtractURL``).

    Raises:
        BadLinkError: A name is empty, too long or holds characters no link has.
    """
    if not 1 <= len(names) <= 2 or any(not _NAME.fullmatch(name) for name in names):
        raise BadLinkError(f"A file cannot be published as {'/'.join(names)!r}.")
    return "/".join(names)


def key_of_url(url: str) -> str | None:
    """The key inside an extract URL; ``None`` when the URL is none of ours."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return None
    _, found, rest = path.partition(_AREA)
    if not found:
        return None
    try:
        return link_key(*unquote(rest).split("/"))
    except BadLinkError:
        return None


class LinkTable:
    """All links, by key."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    def __len__(self) -> int:
        return len(self._links)

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links.values()))

    def add(self, link: Link) -> None:
        """Publish; an existing link of this key is replaced."""
        self._links[link.key] = link

    def find(self, key: str, now: datetime) -> Link | None:
        """The link of a key unless it has expired."""
        link = self._links.get(key)
        return None if link is None or link.expires <= now else link

    def remove(self, key: str) -> Link | None:
        """Withdraw a link; ``None`` when there is none."""
        return self._links.pop(key, None)

    def expired(self, now: datetime) -> tuple[Link, ...]:
        """The links whose time is over."""
        return tuple(link for link in self._links.values() if link.expires <= now)

    def to_document(self) -> dict[str, object]:
        """All links as JSON values."""
        return {
            "links": [
                {
                    "key": link.key,
                    "store": link.store,
                    "path": link.path,
                    "created": link.created.isoformat(),
                    "expires": link.expires.isoformat(),
                }
                for link in self._links.values()
            ]
        }

    def load(self, document: Mapping[str, Any]) -> None:
        """Take over a document of :meth:`to_document`; entries that make no sense are left out."""
        for entry in document.get("links", ()):
            try:
                link = Link(
                    key=link_key(*entry["key"].split("/")),
                    store=str(entry["store"]),
                    path=str(entry["path"]),
                    created=datetime.fromisoformat(entry["created"]),
                    expires=datetime.fromisoformat(entry["expires"]),
                )
            except (KeyError, TypeError, ValueError, AttributeError, BadLinkError):
                continue
            self.add(link)
