# SPDX-License-Identifier: Apache-2.0
"""OVF descriptors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OvfFacts:
    """What an OVF descriptor says."""

    name: str
    virtual_size_bytes: int
