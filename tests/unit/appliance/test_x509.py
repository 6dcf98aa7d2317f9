# SPDX-License-Identifier: Apache-2.0
"""Self-made certificates (R4) and what the questions about certificates answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509 as crypto

from ssvm_agent.appliance import x509
from ssvm_agent.appliance.errors import BadRequestError

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_self_made_certificate_names_address_and_machine() -> None:
    key_text, text = x509.self_made(address="203.0.113.21", name="s-1-VM", now=NOW, days=365)
    (own,) = x509.parse_certificates(text, "It")
    assert x509.key_fits(x509.parse_key(key_text), own)
    names = own.extensions.get_extension_for_class(crypto.SubjectAlternativeName).value
    assert [str(one) for one in names.get_values_for_type(crypto.IPAddress)] == ["203.0.113.21"]
    assert names.get_values_for_type(crypto.DNSName) == ["s-1-VM"]
    assert own.not_valid_after_utc - NOW == timedelta(days=365)
    x509.check_dates(own, "It", NOW)


def test_a_machine_without_name_is_called_by_its_address() -> None:
    _, text = x509.self_made(address="2001:db8::1", name="", now=NOW, days=1)
    (own,) = x509.parse_certificates(text, "It")
    assert own.subject.rfc4514_string() == "CN=2001:db8::1"


def test_dates_are_judged_with_patience_for_slow_clocks() -> None:
    _, text = x509.self_made(address="203.0.113.21", name="", now=NOW, days=1)
    (own,) = x509.parse_certificates(text, "It")
    x509.check_dates(own, "It", NOW - timedelta(hours=23))
    with pytest.raises(BadRequestError, match="It is not valid before 2026-11-22 12:00 UTC"):
        x509.check_dates(own, "It", NOW - timedelta(hours=25))
    with pytest.raises(BadRequestError, match="It expired at 2026-11-24 00:00 UTC"):
        x509.check_dates(own, "It", NOW + timedelta(days=1, seconds=1))


def test_a_self_signed_certificate_needs_itself_among_the_cas() -> None:
    _, text = x509.self_made(address="203.0.113.21", name="a", now=NOW, days=1)
    _, other = x509.self_made(address="203.0.113.21", name="b", now=NOW, days=1)
    (own,) = x509.parse_certificates(text, "It")
    x509.check_chain(own, (own,))
    with pytest.raises(BadRequestError, match="not among the CAs"):
        x509.check_chain(own, x509.parse_certificates(other, "It"))


def test_several_certificates_come_back_as_they_were() -> None:
    texts = [x509.self_made(address="10.0.0.1", name=name, now=NOW, days=1)[1] for name in "ab"]
    parsed = x509.parse_certificates("noise\n".join(texts), "They")
    assert x509.certificates_pem(parsed) == "".join(texts)
