# SPDX-License-Identifier: Apache-2.0
import pytest

from ssvm_agent.web.errors import UploadBrokenError
from ssvm_agent.web.multipart import FileEnd, FilePart, FormFileParser, boundary_of

FILE = b'--b\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\nX: y\r\n\r\n%s\r\n'
FIELD = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n%s\r\n'
END = b"--b--\r\n"


def read(body: bytes, *, step: int = 0) -> tuple[list[str], bytes, FormFileParser]:
    parser = FormFileParser(b"b")
    names: list[str] = []
    content = b""
    pieces = [body[i : i + step] for i in range(0, len(body), step)] if step else [body]
    for piece in pieces:
        for event in parser.feed(piece):
            match event:
                case FilePart():
                    names.append(event.file_name)
                case FileEnd():
                    names.append("end")
                case _:
                    content += event
    return names, content, parser


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\r\n", b"\r\n--", b"\r\n--ab\r\n--", b"-b", b"a\r\n--\r\n-", b"\r" * 50],
)
def test_the_file_comes_out_byte_for_byte_however_it_is_cut(content: bytes, step: int) -> None:
    names, found, parser = read(FIELD % b"v" + FILE % (b"a.iso", content) + END, step=step)
    assert (names, found) == (["a.iso", "end"], content)
    assert parser.finished
    assert parser.seen_file


def test_the_first_file_counts() -> None:
    """storage-commands.md 5.2."""
    names, found, parser = read(FILE % (b"1", b"one") + FILE % (b"2", b"two") + FIELD % b"v" + END)
    assert (names, found, parser.finished) == (["1", "end"], b"one", True)


def test_a_preamble_and_an_epilogue_are_read_over() -> None:
    names, found, _ = read(b"hello\r\n" + FILE % (b"1", b"one") + END + b"more")
    assert (names, found) == (["1", "end"], b"one")


@pytest.mark.parametrize("missing", [1, 4, 5, 6, 20])
def test_a_body_without_its_end_is_not_finished(missing: int) -> None:
    _, _, parser = read((FILE % (b"1", b"one") + END.rstrip())[:-missing])
    assert not parser.finished


def test_a_form_of_fields_has_no_file() -> None:
    _, _, parser = read(FIELD % b"v" + END)
    assert parser.finished
    assert not parser.seen_file


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b'form-data; name="f"; filename="a b.iso"', "a b.iso"),
        (b"form-data; name=f; filename=plain.iso", "plain.iso"),
        (b"form-data; filename*=UTF-8''x.iso; name=f", "UTF-8''x.iso"),
        (b'form-data; name="f"; filename=""', ""),
        (b'form-data; name="f"; filename="\xff"', "\ufffd"),
    ],
)
def test_names_are_taken_as_texts(header: bytes, name: str) -> None:
    body = b"--b\r\ncontent-disposition: " + header + b"\r\n\r\nx\r\n" + END
    assert read(body)[0][0] == name


@pytest.mark.parametrize(
    "body",
    [
        b"--b-\r\n",
        b"--bx\r\n",
        b"--b\r\nX: " + b"y" * 9000,
        FIELD % b"" * 101 + END,
        FIELD % (b"x" * ((1 << 20) + 1)) + END,
    ],
    ids=["one dash", "longer boundary", "long header", "many parts", "long field"],
)
def test_damaged_and_oversized_forms_are_refused(body: bytes) -> None:
    with pytest.raises(UploadBrokenError):
        read(body)


def test_a_part_without_disposition_is_read_over() -> None:
    names, _, parser = read(b"--b\r\nX: y\r\n\r\nvalue\r\n" + END)
    assert names == []
    assert parser.finished


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; boundary="a b c"; charset=utf-8', b"a b c"),
        ("Multipart/Form-Data;charset=x;boundary=----WebKitForm", b"----WebKitForm"),
    ],
)
def test_boundaries(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/mixed; boundary=a", "multipart/form-data",
     "multipart/form-data; boundary=", 'multipart/form-data; boundary="a\x00b"',
     "multipart/form-data; boundary=" + "x" * 71, 'multipart/form-data; boundary="ends "'],
)  # fmt: skip
def test_what_names_no_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(UploadBrokenError):
        boundary_of(content_type)
