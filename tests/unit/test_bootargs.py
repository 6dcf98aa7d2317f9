# SPDX-License-Identifier: Apache-2.0
"""The boot text: every real line, and what may be wrong with one (boot-and-system.md 1)."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from ssvm_agent import bootargs

_DATA = Path(__file__).parents[1] / "data" / "cmdlines.txt"


def _cases() -> list[tuple[str, str]]:
    """(title, boot text) for every line of the collection; ``\\r`` stands for a carriage return."""
    cases: list[tuple[str, str]] = []
    title = ""
    for line in _DATA.read_text().splitlines():
        if line.startswith("#"):
            title = line.removeprefix("# ").partition(" | length")[0]
        else:
            cases.append((title, line.replace("\\r", "\r")))
    return cases


CASES = _cases()


@pytest.mark.parametrize("text", [text for _, text in CASES], ids=[title for title, _ in CASES])
def test_every_collected_line_gives_its_words(text: str) -> None:
    args = bootargs.parse(text)
    plain = text.replace("%", " ") if "%type=" in text else text
    words = dict(
        word.split("=", 1)
        for word in plain.split()
        if "=" in word and word.split("=")[0] not in bootargs.KERNEL_KEYS
    )
    assert dict(args.values) == words
    assert args.get("type") == "secstorage"
    assert re.fullmatch(r"s-\d+-\w+", args.get("guid") or "")
    assert args.get("guid") == args.get("name")
    assert (args.get("resource") or "").endswith("SecondaryStorageResource")
    assert args.get("nfsVersion") in {None, "4.1"}


def test_the_collection_is_complete() -> None:
    assert len(CASES) == 17


def _case(beginning: str) -> bootargs.BootArgs:
    return bootargs.parse(next(text for title, text in CASES if title.startswith(beginning)))


def test_kernel_words_before_the_text_are_dropped() -> None:
    args = _case("XenServer PV")
    assert args.ignored == (
        "root=/dev/xvda6", "ro", "console=hvc0", "net.ifnames=0", "biosdevname=0", "quiet",
    )  # fmt: skip
    assert "root" not in args.values
    assert args.get("template") == "domP"


def test_the_key_name_of_a_kvp_record_is_dropped() -> None:
    assert _case("Hyper-V").ignored == ("cloudstack-vm-userdata",)


def test_a_kvp_record_with_its_nul_padding_is_read() -> None:
    text = "cloudstack-vm-userdata" + "\0" * 490 + "template=domP type=secstorage" + "\0" * 2000
    args = bootargs.parse(text)
    assert dict(args.values) == {"template": "domP", "type": "secstorage"}


def test_base64_padding_survives_the_first_equals_sign() -> None:
    password = _case("KVM 4.22 | advanced zone, storage").get("keystore_password")
    assert password is not None
    assert base64.b64decode(password, validate=True) == b"AbcDefGhIjkLmnOp"


def test_null_and_the_unset_address_are_absent() -> None:
    """boot-and-system.md 0 fact 5."""
    args = _case("SYNTHETIC, robustness")
    assert [args.get(key) for key in ("workers", "gateway", "internaldns1", "nfsVersion")] == [
        None
    ] * 4
    assert args.values["workers"] == "null"
    assert _case("VMware 4.22").get("eth0ip") is None


def test_the_last_of_equal_keys_counts_and_is_reported() -> None:
    args = _case("SYNTHETIC, robustness")
    assert args.get("dns1") == "9.9.9.9"
    assert args.oddities == ("dns1 is given twice; the last one counts",)
    assert args.get("futurekey") == "a=b=c"
    assert args.get("useHttpsToUpload") == "true"


def test_a_repeated_equal_value_is_not_odd() -> None:
    assert bootargs.parse("a=1 a=1").oddities == ()


def test_oddities_never_show_values() -> None:
    args = bootargs.parse("vmpassword=first vmpassword=second =third")
    assert "first" not in str(args.oddities) + repr(args.ignored)
    assert "third" not in str(args.oddities)


def test_a_percent_sign_inside_a_value_of_a_plain_text_is_kept() -> None:
    assert bootargs.parse("template=domP vmpassword=a%b%c=d").get("vmpassword") == "a%b%c=d"


@pytest.mark.parametrize("text", ["", " ", "\0\0", "\r\n", "=", "===", "\ufeff", "%%%"])
def test_nothing_useful_gives_nothing(text: str) -> None:
    assert not any(key for key in bootargs.parse(text).values)
