# SPDX-License-Identifier: Apache-2.0
import pytest

from ssvm_agent.web.errors import RequestRefusedError
from ssvm_agent.web.target import parse_target


@pytest.mark.parametrize(
    ("raw", "names", "is_directory"),
    [
        ("/", (), True),
        ("/a/b.iso", ("a", "b.iso"), False),
        ("//a///b/", ("a", "b"), True),
        ("/a%20b/%C3%A4", ("a b", "ä"), False),
        ("/a?x=1/2", ("a",), False),
        ("http://host:80/a/b", ("a", "b"), False),
        ("HTTPS://host", (), True),
        ("/...", ("...",), False),
    ],
)
def test_a_path_becomes_names(raw: str, names: tuple[str, ...], is_directory: bool) -> None:
    target = parse_target(raw)
    assert (target.names, target.is_directory) == (names, is_directory)


@pytest.mark.parametrize(
    "raw",
    ["/../a", "/a/..", "/.", "/%2e%2e/a", "/a%2fb", "/a%00b", "/a\\b", "/%ff", "/a%0ab",
     "/" + "x" * 256, "/" + "a/" * 40],
)  # fmt: skip
def test_what_could_lead_elsewhere_names_nothing(raw: str) -> None:
    """Requirement S8."""
    with pytest.raises(RequestRefusedError) as caught:
        parse_target(raw)
    assert caught.value.status == 404


@pytest.mark.parametrize("raw", ["", "*", "a/b", "ftp://x/a", "http://", "/%", "/%4", "/%zz"])
def test_what_is_no_target_is_refused(raw: str) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        parse_target(raw)
    assert caught.value.status == 400


def test_parameters() -> None:
    target = parse_target("/upload?uuid=a%2Db&x=&uuid=c")
    assert target.parameter("uuid") == "a-b"
    assert target.parameter("x") == ""
    assert target.parameter("y") == ""
