# SPDX-License-Identifier: Apache-2.0
from datetime import UTC, datetime, timedelta

import pytest

from ssvm_agent.web.links import BadLinkError, Link, LinkTable, key_of_url, link_key

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def link(key: str = "u1/a.ova", life: timedelta = timedelta(hours=1)) -> Link:
    return Link(key=key, store="s", path="volumes/2/5/a.ova", created=NOW, expires=NOW + life)


def test_keys_are_one_or_two_plain_names() -> None:
    """storage-commands.md 3.7, 12 (4.5)."""
    assert link_key("0f-1", "ROOT-5.qcow2") == "0f-1/ROOT-5.qcow2"
    assert link_key("0f-1.iso") == "0f-1.iso"


@pytest.mark.parametrize(
    "names",
    [(), ("a", "b", "c"), ("",), ("..", "x"), ("a", ".htaccess"), ("a/b",), ("a", "x\n"),
     ("a" * 252,)],
)  # fmt: skip
def test_other_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(BadLinkError):
        link_key(*names)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://1-2-3-4.example.com/userdata/u1/a.ova", "u1/a.ova"),
        ("http://1.2.3.4/userdata/u1.iso", "u1.iso"),
        ("https://h/userdata/u1/a%2Eova", "u1/a.ova"),
        ("https://h/userdata/../x", None),
        ("https://h/other/u1", None),
        ("https://[::1/userdata/x", None),
        ("", None),
    ],
)
def test_the_key_of_a_url(url: str, key: str | None) -> None:
    """storage-commands.md 3.8."""
    assert key_of_url(url) == key


def test_a_link_ends_at_its_time() -> None:
    """Requirement R19."""
    table = LinkTable()
    table.add(link())
    assert table.find("u1/a.ova", NOW) == link()
    assert table.find("u1/a.ova", NOW + timedelta(hours=1)) is None
    assert table.expired(NOW + timedelta(hours=1)) == (link(),)
    assert table.expired(NOW) == ()
    assert table.find("other", NOW) is None
    assert link().file_name == "a.ova"


def test_removal_is_idempotent() -> None:
    table = LinkTable()
    table.add(link())
    assert table.remove("u1/a.ova") == link()
    assert table.remove("u1/a.ova") is None
    assert len(table) == 0


def test_the_table_survives_a_restart_without_what_makes_no_sense() -> None:
    table, again = LinkTable(), LinkTable()
    table.add(link())
    table.add(link("u2.iso"))
    document = table.to_document()
    entries = document["links"]
    assert isinstance(entries, list)
    entries += [{}, {"key": 5}, None, {"key": "../x", "store": "s", "path": "p"}]
    again.load(document)
    assert list(again) == list(table)
