# SPDX-License-Identifier: Apache-2.0
"""A mixture of work that goes on while the agent is killed: each piece is tried until it is done.

It asks again as users and management servers do, and at the end tells the lab what must lie where.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ssvm_agent.simulator.errors import DownloadFailedError
from ssvm_agent.simulator.model import Fields
from tests.vm.lab.objects import copy, transfer_object
from tests.vm.lab.report import Scenario
from tests.vm.lab.sites import Published
from tests.vm.lab.steps import eventually
from tests.vm.lab.uploads import Upload
from tests.vm.lab.world import World

# An emulated guest that is killed every few seconds gets little done in between.
_PATIENCE_S: Final = 1200.0
_SOURCES: Final = 1000


class Mixture:
    """Downloads, uploads and copies between stores.

    Attributes:
        kinds: What :meth:`do` can do.
        done: How many of each were done.
    """

    def __init__(self, lab: World, scenario: Scenario) -> None:
        self._lab = lab
        self._scenario = scenario
        self._ways: dict[str, Callable[[int], Awaitable[None]]] = {
            "downloads": self._download,
            "uploads": self._upload,
            "copies": self._copy,
        }
        self.kinds = sorted(self._ways)
        self.done: Counter[str] = Counter()

    async def do(self, kind: str, image_id: int) -> None:
        """Have one object made."""
        await self._ways[kind](image_id)
        self.done[kind] += 1
        self._scenario.note(f"{kind}: {image_id} is there")

    async def _download(self, image_id: int) -> None:
        made = self._lab.images
        images = (made.template(), made.qcow2(), made.iso())
        await self._bring_in(f"mix-{image_id}", images[image_id % 3], image_id, image_id % 2)

    async def _bring_in(self, name: str, image: Published, image_id: int, store: int) -> None:
        async def attempt() -> bool:
            try:
                fields = await self._lab.bring_in(
                    name, image, image_id=image_id, store=store, deadline_s=_PATIENCE_S
                )
            except DownloadFailedError as error:
                self._scenario.note(f"download {image_id}: {error}")
                return False
            return bool(fields)

        await eventually(attempt, _PATIENCE_S)

    async def _upload(self, image_id: int) -> None:
        content = self._lab.images.qcow2().path
        attempts = itertools.count(image_id * 100)

        async def attempt() -> bool:
            # One that failed is over: the user asks for another template.
            upload = Upload.of(self._lab, next(attempts))
            code = await upload.send(content)
            state = await self._ended(upload)
            self._scenario.note(f"upload {upload.order.entity_id}: curl {code}, {state['status']}")
            if state["status"] != "COMPLETED":
                return False
            self._lab.expect(0, state["installPath"], content)
            return True

        await eventually(attempt, _PATIENCE_S)

    async def _ended(self, upload: Upload) -> Fields:
        """What became of an upload, asked for until it is known."""
        state: Fields = {}

        async def known() -> bool:
            nonlocal state
            state = await upload.state()
            return state["status"] in ("COMPLETED", "ERROR", "UNKNOWN")

        await eventually(known, _PATIENCE_S)
        return state

    async def _copy(self, image_id: int) -> None:
        lab, image = self._lab, self._lab.images.qcow2()
        # Lists tell templates by their names, which a copy keeps: each has a source of its own.
        source_id = _SOURCES + image_id
        await self._bring_in(f"source-{source_id}", image, source_id, 0)
        source = next(path for path in lab.expected[0] if f"/{source_id}/" in path)
        name = f"{image_id}-2-copy"

        def template(store: int, path: str, **more: Any) -> dict[str, Any]:
            return transfer_object(lab, "Template", store, path, id=image_id, name=name, **more)

        async def attempt() -> bool:
            answer = await lab.server.ask(
                copy(template(0, source), template(1, f"template/tmpl/2/{image_id}"))
            )
            if not answer.result:
                self._scenario.note(f"copy {image_id}: {answer.details}")
                return False
            (data,) = answer.fields["newData"].values()
            lab.expect(1, data["path"], image.plain)
            return True

        await eventually(attempt, _PATIENCE_S)
