# SPDX-License-Identifier: Apache-2.0
"""Where an installation lies in a machine, and the switch from one release to another.

Everything of ours is below one directory that no delivery of the cloud's own payload touches; what
has to lie elsewhere is in :mod:`ssvm_agent.payload.outfit`. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.host.files import atomic_write, fsync_directory

_STAGING: Final = ".staging-"


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of one machine.

    Attributes:
        root: ``/``, or the directory of a machine that is not running.
    """

    root: Path = Path("/")

    @property
    def home(self) -> Path:
        """Everything that is installed."""
        return self.root / "opt/ssvm-agent"

    @property
    def releases(self) -> Path:
        """One directory for each installed release."""
        return self.home / "releases"

    @property
    def state(self) -> Path:
        """The agent's state directory."""
        return self.root / "var/lib/ssvm-agent"

    @property
    def journal(self) -> Path:
        """What the last installation did."""
        return self.state / "payload.json"

    @property
    def originals(self) -> Path:
        """Files of the machine that ours stand in for."""
        return self.home / "originals"

    @property
    def enablement(self) -> Path:
        """Which units the machine itself did not start at boot."""
        return self.home / "enablement.json"

    @property
    def link_status(self) -> Path:
        """Where a running agent tells about its link."""
        return self.state / "status.json"

    def release(self, link: str) -> str | None:
        """Name of the release ``current`` or ``previous`` leads to; None when there is none."""
        try:
            target = (self.home / link).readlink()
        except FileNotFoundError:
            return None
        return target.name if (self.home / target).is_dir() else None

    def switch(self, link: str, release: str | None) -> None:
        """Point a link at a release, or remove it, in one step."""
        path = self.home / link
        if release is None:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        else:
            fresh = unfinished(path)
            drop_unfinished(path)
            # Relative: it also leads to the right place from outside a machine that is not running.
            fresh.symlink_to(Path("releases") / release)
            fresh.replace(path)
        fsync_directory(self.home)

    def stage(self, bundle: Path, release: str) -> Path:
        """Copy an unpacked bundle to where nothing uses it yet.

        Returns:
            The copy; :meth:`admit` makes it durable, and a release.

        Raises:
            OSError: The disk refuses; nothing is left.
        """
        self.releases.mkdir(parents=True, exist_ok=True)
        staging = self.releases / f"{_STAGING}{release}"
        try:
            shutil.copytree(bundle, staging, symlinks=True)
        except (shutil.Error, OSError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            # copytree collects; the first is the cause.
            if isinstance(error, shutil.Error):
                raise OSError(str(error.args[0][0][2])) from error
            raise
        return staging

    def admit(self, staging: Path, release: str) -> None:
        """Give a finished copy its name; one of that name which was damaged makes way."""
        # Thousands of small files: one sync of everything is far quicker than one for each.
        os.sync()
        target = self.releases / release
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
        fsync_directory(self.releases)

    def drop_stagings(self) -> None:
        """Remove copies that an interrupted installation left."""
        for left in self.releases.glob(f"{_STAGING}*"):
            shutil.rmtree(left)

    def prune(self) -> None:
        """Remove releases that neither link leads to."""
        kept = {self.release("current"), self.release("previous")}
        for release in self.releases.glob("*"):
            if release.name not in kept:
                shutil.rmtree(release)


def replace_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file in one step; what a cut-off run left beside it goes."""
    drop_unfinished(path)
    atomic_write(path, data, mode=mode, temporary_name=unfinished(path).name)


def drop_unfinished(path: Path) -> None:
    """Remove what a cut-off run left beside a file."""
    unfinished(path).unlink(missing_ok=True)


def unfinished(path: Path) -> Path:
    """Where a file or link lies until it gets its name; always the same, so it can be found."""
    return path.with_name(f".{path.name}.new")
