# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from uuid import UUID

from ssvm_agent.simulator.extracts import ExtractLink
from ssvm_agent.simulator.model import ImageStore

STORE = ImageStore(url="nfs://10.1.1.5/export/secondary", parent="665d3814")


def link(name: str, path: str, kind: str = "TEMPLATE") -> ExtractLink:
    return ExtractLink(store=STORE, path=path, name=name, base="http://203.0.113.21", kind=kind)


def test_a_link_is_made_and_withdrawn_by_the_same_names() -> None:
    """storage-commands.md 3.7, 3.8."""
    made = link("ROOT 5/x", "volumes/2/55/0f.qcow2", "VOLUME")
    UUID(made.directory)
    assert made.url == f"http://203.0.113.21/userdata/{made.directory}/ROOT-5-x.qcow2"
    create = made.create_command()
    assert create.simple_name == "CreateEntityDownloadURLCommand"
    assert create.fields["installPath"] == "volumes/2/55/0f.qcow2"
    assert create.fields["parent"] == "665d3814"
    assert create.fields["filepathInExtractURL"] == made.directory
    assert create.fields["filenameInExtractURL"] == "ROOT-5-x.qcow2"
    delete = made.delete_command()
    assert delete.simple_name == "DeleteEntityDownloadURLCommand"
    assert delete.fields["path"] == "volumes/2/55/0f.qcow2"
    assert delete.fields["extractUrl"] == made.url
    assert delete.fields["type"] == "VOLUME"
    assert delete.fields["parentPath"] == "665d3814"


def test_no_two_links_share_a_directory() -> None:
    assert link("n", "a/b").directory != link("n", "a/b").directory


def test_a_file_without_an_extension_has_none_in_its_url() -> None:
    assert link("snap", "snapshots/2/9/0f", "SNAPSHOT").file_name == "snap"
