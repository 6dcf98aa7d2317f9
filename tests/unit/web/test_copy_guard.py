# SPDX-License-Identifier: Apache-2.0
import base64

import pytest

from ssvm_agent.masking import Secret
from ssvm_agent.web.copy_guard import Admission, BadAddressError, CopyGuard


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_nobody_gets_in_before_the_server_has_spoken() -> None:
    assert CopyGuard().admit("192.0.2.1", "") is Admission.STRANGER


def test_append_keeps_and_replace_forgets() -> None:
    """storage-commands.md 3.3."""
    guard = CopyGuard()
    guard.allow(["192.0.2.1", "2001:db8::1"], replace=True)
    guard.allow(["192.0.2.2", "192.0.2.1"], replace=False)
    assert list(guard.addresses) == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
    guard.allow(["192.0.2.3"], replace=True)
    assert list(guard.addresses) == ["192.0.2.3"]
    guard.allow([], replace=False)
    assert list(guard.addresses) == ["192.0.2.3"]
    guard.allow([], replace=True)
    assert list(guard.addresses) == []


def test_addresses_are_compared_as_addresses() -> None:
    guard = CopyGuard()
    guard.allow([" 2001:DB8:0::1 ", "192.0.2.0/28", "::ffff:198.51.100.7"], replace=True)
    for peer in ("2001:db8::1", "192.0.2.15", "::ffff:192.0.2.3", "198.51.100.7"):
        assert guard.admit(peer, "") is Admission.GRANTED, peer
    for peer in ("2001:db8::2", "192.0.2.16", "", "x"):
        assert guard.admit(peer, "") is Admission.STRANGER, peer
    assert guard.addresses[0] == "2001:db8::1"
    assert guard.addresses[1] == "192.0.2.0/28"


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "0.0.0.0/0", "::/0", "1.2.3.4; deny"])
def test_a_wrong_address_changes_nothing(text: str) -> None:
    guard = CopyGuard()
    guard.allow(["192.0.2.1"], replace=True)
    with pytest.raises(BadAddressError):
        guard.allow(["192.0.2.9", text], replace=True)
    assert guard.addresses == ("192.0.2.1",)


@pytest.mark.parametrize(
    ("authorization", "admission"),
    [
        (basic("cloud", "geheim"), Admission.GRANTED),
        (basic("cloud", "wrong"), Admission.CREDENTIALS_NEEDED),
        (basic("other", "geheim"), Admission.CREDENTIALS_NEEDED),
        ("", Admission.CREDENTIALS_NEEDED),
        ("Bearer x", Admission.CREDENTIALS_NEEDED),
        ("Basic ***", Admission.CREDENTIALS_NEEDED),
    ],
)
def test_the_copy_user_is_asked_for_where_wanted(authorization: str, admission: Admission) -> None:
    """storage-commands.md 3.2."""
    guard = CopyGuard(require_user=True)
    guard.allow(["192.0.2.1"], replace=True)
    assert guard.admit("192.0.2.1", authorization) is Admission.CREDENTIALS_NEEDED
    guard.set_credentials("cloud", Secret("geheim"))
    assert guard.admit("192.0.2.1", authorization) is admission
    assert guard.admit("192.0.2.9", authorization) is Admission.STRANGER
