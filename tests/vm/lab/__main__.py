# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.vm.lab``: the lab with a guest, to look around in until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from pathlib import Path

from tests.vm.lab.boot_line import boot_line
from tests.vm.lab.guest import Guest
from tests.vm.lab.image import Image, system_vm_image
from tests.vm.lab.world import world


async def main(image: Image) -> None:
    """Boot, say how to get in, wait."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    folder = Path(tempfile.mkdtemp(prefix="lab", dir="/var/tmp"))
    try:
        async with world(folder) as lab:
            line = boot_line(lab.networks, lab.shell.authorized_key)
            nics = lab.networks.nics()
            async with Guest(image, folder / "guest", boot_line=line, nics=nics):
                print(f"console: tail -f {folder}/guest/console", flush=True)
                await lab.up()
                key, address = lab.shell.key, lab.networks.control.address(10)
                print(f"Up. ssh -i {key} -p 3922 root@{address}", flush=True)
                await asyncio.Event().wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError), system_vm_image() as built:
        asyncio.run(main(built))
