# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: steps, progress bars, a table, a tree. Nothing is decided here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.tree import Tree

from ssvm_agent.simulator.downloads import Download
from ssvm_agent.simulator.model import Fields
from ssvm_agent.simulator.server import ManagementServer


class Screen:
    """The terminal, or plain lines when there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def step(self, text: str) -> None:
        """Begin a step."""
        self._console.print(f"\n[bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """One line of what happened."""
        self._console.print(f"  {text}", markup=False)

    def failed(self, text: str, log: str) -> None:
        """The end, when something went wrong."""
        self._console.print(f"\n[bold red]failed:[/bold red] {text}")
        self._console.print("the agent's last words:")
        self._console.print(log, markup=False)

    async def follow(
        self, server: ManagementServer, downloads: Sequence[Download], *, deadline_s: float
    ) -> None:
        """Show progress bars until every download has ended well.

        Raises:
            DownloadFailedError: One ended in an error.
            TimeoutError: Not all ended within the deadline.
        """
        bars = Progress(
            TextColumn("  {task.description:<12}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[status]}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        with bars:
            tasks = [
                bars.add_task(one.image.name, total=100, status=one.status) for one in downloads
            ]
            async with asyncio.timeout(deadline_s):
                while not all(one.is_done for one in downloads):
                    await server.next_change()
                    _update(bars, tasks, downloads)
        for one in downloads:
            await one.result()

    def templates(self, entries: Mapping[str, Fields]) -> None:
        """The entries of a ListTemplateAnswer."""
        table = Table("template", "install path", "size", "virtual size", box=None)
        for name, entry in sorted(entries.items()):
            sizes = (decimal(entry["physicalSize"]), decimal(entry["size"]))
            table.add_row(name, entry["installPath"], *sizes)
        self._console.print(table)

    def tree(self, files: Sequence[tuple[Path, int]]) -> None:
        """Files with their sizes, as a tree."""
        tree = Tree("store")
        branches: dict[Path, Tree] = {Path(): tree}
        for path, size in files:
            for parent in reversed(path.parents):
                if parent not in branches:
                    branches[parent] = branches[parent.parent].add(parent.name)
            branches[path.parent].add(f"{path.name}  [dim]{decimal(size)}[/dim]")
        self._console.print(tree)


def _update(bars: Progress, tasks: Sequence[TaskID], downloads: Sequence[Download]) -> None:
    for task, download in zip(tasks, downloads, strict=True):
        bars.update(task, completed=download.percent, status=download.status.lower())
