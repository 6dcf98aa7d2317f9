# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from ssvm_agent.storage import layout
from ssvm_agent.storage.errors import PathEscapeError, UnsupportedStoreError
from ssvm_agent.storage.layout import ImageKind


@pytest.mark.parametrize(
    ("address", "path", "expected"),
    [
        ("10.1.1.5", "/export/secondary", "665d3814-9fdc-3bca-8727-7c2d56b42bd1"),
        ("192.168.1.10", "/export/secondary", "c7d5b623-3906-36e4-827f-eadc9963ae1d"),
        ("10.1.1.5", "/export/secondary/", "9500e77a-c7ff-328e-bbfe-d48b79a321d0"),
        ("10.1.1.5", "//export", "0e646a44-a432-3e28-ac70-839d49751c68"),
    ],
)
def test_mount_directories_are_named_as_ever(address: str, path: str, expected: str) -> None:
    """storage-commands.md 8: the test vectors of the UUID rule."""
    assert layout.mount_directory_name(address, path) == expected


def test_an_ipv6_address_names_one_directory_however_it_is_written() -> None:
    names = {
        layout.mount_directory_name(text, "/e")
        for text in ("2001:db8::5", "2001:DB8:0:0:0:0:0:5", "2001:0db8::0005")
    }
    assert names == {str(layout.name_uuid(b"2001:db8:0:0:0:0:0:5:/e"))}


def test_a_name_instead_of_an_address_is_taken_as_it_is() -> None:
    assert layout.mount_directory_name("nfs", "/e") == str(layout.name_uuid(b"nfs:/e"))


def test_name_uuids_are_version_3_without_a_name_space() -> None:
    """storage-commands.md 6.2."""
    assert str(layout.name_uuid(b"")) == "d41d8cd9-8f00-3204-a980-0998ecf8427e"


def test_an_nfs_url_is_taken_apart() -> None:
    url = layout.parse_store_url("nfs://Server.example:2049/export%20one/?x=1")
    assert (url.scheme, url.host, url.path) == ("nfs", "server.example", "/export one/")
    assert url.query == {}


def test_a_literal_ipv6_host_loses_its_brackets() -> None:
    assert layout.parse_store_url("nfs://[2001:db8::1]/e").host == "2001:db8::1"


def test_a_double_slash_in_the_path_is_kept() -> None:
    assert layout.parse_store_url("nfs://10.1.1.5//export").path == "//export"


def test_cifs_parameters_are_read_and_do_not_print() -> None:
    url = layout.parse_store_url(
        "cifs://10.1.1.9/share?user=cloud&password=p%26s+1&domain=d&vers=3.0"
    )
    assert url.query == {"user": "cloud", "password": "p&s+1", "domain": "d", "vers": "3.0"}
    assert "p&s" not in repr(url)


def test_a_directory_store_is_a_path_of_this_machine() -> None:
    assert layout.parse_store_url("file:///srv/store").path == "/srv/store"
    assert layout.parse_store_url("file://localhost/srv/store").path == "/srv/store"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "export/secondary",
        "s3://bucket/x",
        "nfs:///export",
        "nfs://10.1.1.5",
        "nfs://[::1/export",
        "nfs://10.1.1.5/a%00b",
        "nfs://10.1.1.5/a%0Ab",
        "nfs://10.1.1.5/\u0085",
        "cifs://10.1.1.9/share",
        "cifs://10.1.1.9/share?user=cloud",
        "cifs://10.1.1.9/share?user=&password=x",
        "cifs://10.1.1.9/share?user=a&password=b%0Adomain=c",
        "cifs://10.1.1.9/share?user=a&password=b&uid=0,suid",
        "cifs://10.1.1.9/share?user=a&password=b&-o=x",
        "file://elsewhere/srv",
        "file:srv",
        "file:///srv/../etc",
    ],
)
def test_unusable_urls_are_refused(url: str) -> None:
    with pytest.raises(UnsupportedStoreError):
        layout.parse_store_url(url)


def test_the_cifs_refusal_does_not_show_the_password() -> None:
    with pytest.raises(UnsupportedStoreError) as caught:
        layout.parse_store_url("cifs://h/s?user=a&password=hush&bad=a,b")
    assert "hush" not in caught.value.for_operators()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("template/tmpl/2/205", "template/tmpl/2/205"),
        ("template//tmpl/./2/", "template/tmpl/2"),
        ("a..b/...", "a..b/..."),
        ("volumes/2/ä", "volumes/2/ä"),
    ],
)
def test_good_paths_pass(text: str, expected: str) -> None:
    assert layout.check_relative(text) == PurePosixPath(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "./.",
        "/",
        "/etc/passwd",
        "..",
        "a/../b",
        "a/..",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "a\ud800b",
        "x" * 256,
        "ä" * 128,
        "/".join(["x" * 200] * 30),
    ],
)
def test_bad_paths_are_refused(text: str) -> None:
    """requirements S8."""
    with pytest.raises(PathEscapeError):
        layout.check_relative(text)


def test_one_leading_slash_is_forgiven_where_the_command_allows_it() -> None:
    """storage-commands.md 3.10, 3.13."""
    assert str(layout.check_relative("/volumes/2/5", strip_slash=True)) == "volumes/2/5"
    with pytest.raises(PathEscapeError):
        layout.check_relative("//volumes/2/5", strip_slash=True)


@pytest.mark.parametrize("name", ["a/b", "a/", "..", ".", "", "/a", "./a"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(PathEscapeError):
        layout.check_name(name)


def test_a_plain_name_passes() -> None:
    assert layout.check_name("disk-1.vmdk") == "disk-1.vmdk"


def test_only_templates_and_volumes_have_properties() -> None:
    assert layout.properties_name(ImageKind.TEMPLATE) == "template.properties"
    assert layout.properties_name(ImageKind.VOLUME) == "volume.properties"
    assert layout.properties_name(ImageKind.SNAPSHOT) is None


def test_an_iso_keeps_its_unique_name() -> None:
    """storage-commands.md 4.10 step 2: trimmed, blanks become underscores."""
    name = layout.image_file_name(" 206-2-my iso ", "iso", now_ms=1)
    assert name == "206-2-my_iso.iso"


def test_other_images_are_named_by_name_and_time() -> None:
    first = layout.image_file_name("205-2-x", "qcow2", now_ms=1764000000000)
    assert first == f"{layout.name_uuid(b'205-2-x1764000000000')}.qcow2"
    assert first != layout.image_file_name("205-2-x", "qcow2", now_ms=1764000000001)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("", "_"),
        ("-rf", "_rf"),
        (".hidden", "_hidden"),
        ("a\tb\nc", "a_b_c"),
        ("größe", "gr__e"),
    ],
)
def test_names_get_a_safe_alphabet(text: str, expected: str) -> None:
    """requirements R36."""
    assert layout.safe_name(text) == expected


def test_names_are_bounded() -> None:
    """requirements R36."""
    assert len(layout.image_file_name("x" * 1000, "iso", now_ms=1)) == 251


def test_temporaries_carry_owner_and_job() -> None:
    """requirements R13; storage-commands.md 6.1 for the pattern dnld*tmp_."""
    name = layout.temporary_name("s-1-VM", "5d0c-77")
    assert name.startswith("dnld")
    assert name.endswith("tmp_")
    assert layout.parse_temporary(name) == layout.TemporaryName(owner="s-1-VM", job_id="5d0c-77")
    assert layout.is_temporary(name)


def test_odd_owners_still_give_one_plain_name() -> None:
    name = layout.temporary_name("host.example/..", "")
    assert layout.parse_temporary(name) == layout.TemporaryName(owner="host-example---", job_id="-")


@pytest.mark.parametrize(
    ("name", "temporary"),
    [
        ("dnld123tmp_", True),
        ("dnld123tmp_.tmp", True),
        ("FUp_x.tmp", True),
        ("dnld.a.b.tmp_", True),
        ("dnld.iso", False),
        ("template.properties", False),
        ("x.qcow2", False),
    ],
)
def test_temporaries_of_all_agents_are_recognised(name: str, temporary: bool) -> None:
    assert layout.is_temporary(name) is temporary


def test_temporaries_of_others_have_no_known_owner() -> None:
    assert layout.parse_temporary("dnld123tmp_") is None
