# SPDX-License-Identifier: Apache-2.0
"""SecStorageSetupCommand: mount a store, take certificate and upload key (storage-commands 3.1).

Sent once for each NFS store at every connect, so every step is idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final

from ssvm_agent import log
from ssvm_agent.appliance.base import WebCertificate
from ssvm_agent.errors import AgentError
from ssvm_agent.handlers.base import REGISTRY, Services
from ssvm_agent.handlers.mapping import url_ref
from ssvm_agent.masking import Secret, mask_url
from ssvm_agent.messages.base import Answer, Command
from ssvm_agent.messages.setup import (
    Certificates,
    SecStorageSetupAnswer,
    SecStorageSetupCommand,
)
from ssvm_agent.messages.stores import NfsTO
from ssvm_agent.storage.errors import UnsupportedStoreError
from ssvm_agent.storage.stores import Store

_LOGGER: Final = logging.getLogger(__name__)


def setup_failure(command: Command | None, error: AgentError) -> Answer:
    """A plain Answer: of the answers with ``result`` false the server takes any class (3.1)."""
    url = command.sec_url if isinstance(command, SecStorageSetupCommand) else None
    text = f"GetRootDir for {mask_url(url or 'a store')} failed due to {error.message}"
    return Answer(result=False, details=text)


@REGISTRY.command(SecStorageSetupCommand, SecStorageSetupAnswer, on_error=setup_failure)
async def handle(command: SecStorageSetupCommand, services: Services) -> Answer:
    """The mount directory's name, which the server keeps as the store's parent.

    Certificate and key are taken even when the mount fails (storage-commands.md 3.1).
    """
    try:
        store = await _open(command, services)
    finally:
        await _take_upload_key(command.post_upload_key, services)
        await _take_certificate(command.certs, services)
    return SecStorageSetupAnswer(dir=store.directory_name, details="success")


async def _open(command: SecStorageSetupCommand, services: Services) -> Store:
    match command.store:
        case NfsTO(url=url, nfs_version=of_store):
            version = command.nfs_version or of_store
            ref = url_ref(command.sec_url or url, nfs_version=version)
        case other:
            # Differs: storage-commands.md 3.1 answers true, which the server cannot cast.
            kind = type(other).__name__.removesuffix("TO") if other else "no"
            raise UnsupportedStoreError(f"a store to set up must be NFS or SMB; this is {kind}")
    store = await services.stores.open(ref)
    if store.address:
        await services.appliance.remember_store_address(store.address)
    return store


async def _take_upload_key(text: str | None, services: Services) -> None:
    if text:
        key = Secret(text)
        await _attempt("upload key", services.appliance.set_upload_key(key))
        if services.web is not None:
            await _attempt("upload key", services.web.set_upload_key(key))


async def _take_certificate(certs: Certificates | None, services: Services) -> None:
    certificate = web_certificate(certs)
    if services.web is not None:
        await _attempt("certificate", services.web.install_certificate(certificate))


def web_certificate(certs: Certificates | None) -> WebCertificate | None:
    """The command's ``certs``; ``None`` unless both key and certificate are there."""
    if certs is None or not certs.priv_key or not certs.priv_cert:
        return None
    return WebCertificate(
        key=Secret(certs.priv_key),
        certificate=certs.priv_cert,
        chain=certs.cert_chain or "",
        root=certs.root_ca_cert or "",
    )


async def _attempt(what: str, step: Awaitable[object]) -> None:
    """Failures of these steps are logged only: the store is usable without (3.1)."""
    try:
        await step
    except AgentError as error:
        log.event(_LOGGER, logging.ERROR, "set-up step failed", step=what,
                  reason=error.for_operators())  # fmt: skip
