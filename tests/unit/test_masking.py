# SPDX-License-Identifier: Apache-2.0
"""Secrets stay out of texts, whichever way they would get in (R25)."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvm_agent.masking import MASK, Secret, is_secret_name, mask_text, mask_url


def test_a_secret_shows_itself_to_nobody_but_its_user() -> None:
    secret = Secret("geheim")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>10}", f"{secret!r}"):
        assert "geheim" not in shown
    assert secret.reveal() == "geheim"


def test_secrets_compare_by_value_and_are_not_pickled() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(Secret("a"))


@pytest.mark.parametrize(
    "text",
    [
        "scp://user:geheim@host/path",
        "http://geheim@proxy:3128/",
        "scp://host/image?password=geheim&x=1",
        "vmpassword=geheim host=10.1.1.1",
        "https://s3.example.com/image?X-Amz-Credential=geheim&X-Amz-Date=1",
        "psk=geheim",
        "ipsec.psk=geheim host=10.1.1.1",
        '{"copyPassword":"geheim"}',
        '"_password": "ge\\"heim"',
        "Authorization: Basic geheim",
        "Authorization: Bearer geheim",
        "X-Signature: geheim",
        "postUploadKey='geheim'",
        "mount -o user=a,password=geheim,soft",
        "-----BEGIN PRIVATE KEY-----\ngeheim\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\ngeheim and cut short",
    ],
)
def test_a_secret_in_a_text_is_masked(text: str) -> None:
    masked = mask_text(text)
    assert "geheim" not in masked
    assert "heim" not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        "nfs://10.1.1.5/export/secondary",
        "host=10.1.1.1 port=8250 name=s-1-VM",
        "the password of the store is missing",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_text(text) == text


def test_a_masked_url_keeps_its_host_and_path() -> None:
    assert (
        mask_url("http://u:p@h/x?password=y&size=3") == f"http://{MASK}@h/x?password={MASK}&size=3"
    )


def test_names_are_secret_in_any_case() -> None:
    assert is_secret_name("KeyStore_Password")
    assert is_secret_name(" passphrase ")
    assert not is_secret_name("host")


@given(st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask_text(mask_text(text)) == mask_text(text)


@pytest.mark.timeout(10)
def test_a_long_word_is_masked_in_time() -> None:
    """A text from outside must not keep the log busy."""
    for word in ("x", "://", "password=", "a+", '"'):
        mask_text(word * (2_000_000 // len(word)))


@pytest.mark.parametrize("text", ["x" * (1 << 20), "a+" * (1 << 19), "password" * (1 << 17)])
@pytest.mark.timeout(20)
def test_long_texts_cost_their_length_only(text: str) -> None:
    """Not its square: a log line or a report may be long, and hold no blank."""
    assert mask_text(text) == text


def test_user_info_behind_a_scheme_of_any_length_is_masked() -> None:
    assert mask_text(f"{'x' * 40}://user:geheim@host/") == f"{'x' * 40}://******@host/"
