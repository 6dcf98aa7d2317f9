# SPDX-License-Identifier: Apache-2.0
"""Both encryptions, against values computed independently (storage-commands.md 5.3, vectors)."""

from __future__ import annotations

import base64

import pytest

from ssvm_agent.masking import Secret
from ssvm_agent.sealed import SealedTextError, SealVersion, open_sealed, seal, seal_v1

KEY = Secret("test-psk")
PLAIN = '{"entityId":205}'
V2 = "AAECAwQFBgcICQoL/YAJRQODYuTiZzM5KgguE35g1Vj41vzGDzZWEd5fesw="
V1 = "AQIDBAUGBwj3jjteSx+sGdjFgQH4eNvCUxMnu4siN9Q="


def test_texts_are_sealed_as_the_vectors_say() -> None:
    assert seal(KEY, PLAIN, iv=bytes(range(12))) == V2
    assert seal_v1(KEY, PLAIN, salt=bytes(range(1, 9))) == V1


@pytest.mark.parametrize(("text", "version"), [(V2, SealVersion.V2), (V1, SealVersion.V1)])
def test_texts_of_both_versions_are_opened(text: str, version: SealVersion) -> None:
    assert open_sealed(KEY, text) == (PLAIN, version)


@pytest.mark.parametrize("text", ["", "no base64!", base64.b64encode(bytes(24)).decode()])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(SealedTextError):
        open_sealed(KEY, text)


@pytest.mark.parametrize("text", [V1, V2])
def test_the_wrong_key_opens_nothing(text: str) -> None:
    with pytest.raises(SealedTextError):
        open_sealed(Secret("other"), text)
