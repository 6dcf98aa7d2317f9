# SPDX-License-Identifier: Apache-2.0
"""From what an OVF descriptor says to what an answer carries (storage-commands.md 7.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssvm_agent.messages.ovf import OVFInformationTO

if TYPE_CHECKING:
    from ssvm_agent.images.ovf_types import OvfFacts


def ovf_information(facts: OvfFacts) -> OVFInformationTO:
    """The OVF information of a deploy-as-is template."""
    raise AssertionError(facts)
