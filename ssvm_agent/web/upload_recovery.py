# SPDX-License-Identifier: Apache-2.0
"""What became of an upload whose image was about to become visible when the process ended.

Its store knows: either the properties name the image, and the upload is complete, or they do not,
and what is left of it is removed. A store that does not answer yet is asked again; until then the
upload stays in progress for the server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from ssvm_agent import log
from ssvm_agent.errors import AgentError
from ssvm_agent.host.clock import Clock
from ssvm_agent.ingest.install import Reservation, clean_up
from ssvm_agent.storage.errors import (
    CorruptPropertiesError,
    IncompletePropertiesError,
    NotFoundError,
)
from ssvm_agent.storage.layout import TEMPLATES, ImageKind, properties_name
from ssvm_agent.storage.paths import resolve_inside
from ssvm_agent.storage.properties import read_file
from ssvm_agent.storage.service import StoreService
from ssvm_agent.storage.stores import Store
from ssvm_agent.web.upload_table import (
    KEEP_FINISHED,
    RESTARTED_MESSAGE,
    Upload,
    UploadResult,
    UploadTable,
)

_logger = logging.getLogger(__name__)

# Stores are mounted again when the server sets the agent up, seconds after the connection.
_ASK_AGAIN_S: Final = 5.0


async def settle(
    upload: Upload,
    table: UploadTable,
    stores: StoreService,
    clock: Clock,
    *,
    on_end: Callable[[Upload], None],
) -> None:
    """Bring an expected upload of an earlier process to its end.

    Args:
        upload: In progress, with the result that was expected.
        table: Holds it.
        stores: Finds its store.
        clock: Paces the questions; after a day without an answer the upload has failed.
        on_end: Told about the end.
    """
    result = upload.result
    if result is None:
        return
    if await _is_installed(upload, result, stores, clock):
        table.complete(upload, result, clock.now())
    else:
        table.fail(upload, RESTARTED_MESSAGE, clock.now())
    on_end(upload)
    log.event(
        _logger, logging.INFO, "upload of an earlier process settled",
        upload=upload.uuid, state=upload.state.value, path=result.install_path,
    )  # fmt: skip


async def _is_installed(
    upload: Upload, result: UploadResult, stores: StoreService, clock: Clock
) -> bool:
    give_up: datetime = clock.now() + KEEP_FINISHED
    path = PurePosixPath(result.install_path)
    while clock.now() < give_up and upload.ended is None:
        try:
            store = await stores.find(result.store)
            return await store.run(_finish, store, path, what=f"look at {path.parent}")
        except AgentError as error:
            _logger.debug("store of an upload not there yet reason=%s", error.for_operators())
        await clock.sleep(_ASK_AGAIN_S)
    return False


def _finish(store: Store, path: PurePosixPath) -> bool:
    """Whether the properties name the image; one that they do not name is removed."""
    is_template = path.parts[: len(TEMPLATES.parts)] == TEMPLATES.parts
    kind = ImageKind.TEMPLATE if is_template else ImageKind.VOLUME
    image = resolve_inside(store.root, path)
    try:
        if read_file(image.parent / (properties_name(kind) or "")).file_name == image.name:
            return image.is_file()
    except (IncompletePropertiesError, NotFoundError, FileNotFoundError):
        pass
    except CorruptPropertiesError:
        # Somebody wrote them; what they mean is not for us to decide.
        return False
    clean_up(Reservation(directory=image.parent, temporary=image), kind)
    return False
