# SPDX-License-Identifier: Apache-2.0
"""The appliance that changes nothing still checks what it is asked."""

from __future__ import annotations

import pytest

from ssvm_agent.appliance.base import Appliance
from ssvm_agent.appliance.errors import BadRequestError
from ssvm_agent.appliance.recording import RecordingAppliance
from ssvm_agent.masking import Secret


async def test_every_request_is_noted_without_secrets() -> None:
    recording = RecordingAppliance()
    appliance: Appliance = recording
    await appliance.prepare()
    await appliance.route_to_storage("10.1.40.2")
    await appliance.remember_store_address("10.1.40.2")
    await appliance.allow_internal_sites(["10.0.0.1/8"])
    await appliance.set_upload_key(Secret("geheim"))
    await appliance.trust_cloud_ca("-----BEGIN CERTIFICATE-----" * 2)
    assert recording.actions == [
        "prepare",
        "route to storage 10.1.40.2",
        "store address 10.1.40.2",
        "allow internal site 10.0.0.0/8",
        "upload key",
        "trust 2 CA certificates",
    ]
    assert appliance.upload_key == Secret("geheim")


async def test_a_bad_site_is_refused_here_too() -> None:
    with pytest.raises(BadRequestError):
        await RecordingAppliance().allow_internal_sites(["everything"])
