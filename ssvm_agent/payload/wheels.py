# SPDX-License-Identifier: Apache-2.0
"""The libraries of a bundle: chosen, fetched and checked by the project's lock file.

The lock names every file with its checksum, for every platform, so a bundle for another machine is
made the same way as one for this. For the builder only; ``packaging`` is in the development
environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ssvm_agent.host.files import atomic_write
from ssvm_agent.payload.errors import BuildError

# Debian 12: Python 3.11, glibc 2.36.
PYTHON: Final = "3.11"
_GLIBC_MINOR: Final = 36
_OLDEST_GLIBC_MINOR: Final = 5
_AT_ONCE: Final = 4
_DEADLINE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Wheel:
    """One file of the lock.

    Attributes:
        url: Where it is published.
        sha256: What it must be.
    """

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name, which says what it is for."""
        return Path(urlsplit(self.url).path).name


def choose(lock: Path, project: str, architecture: str) -> list[Wheel]:
    """The wheels a project needs at run time on one kind of machine.

    Raises:
        BuildError: The lock has no wheel for that machine, or cannot be read.
    """
    try:
        document = tomllib.loads(lock.read_text())
        packages = {package["name"]: package for package in document["package"]}
        needed = _closure(packages, project, _markers(architecture))
        return [_wheel(packages[name], architecture) for name in sorted(needed - {project})]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise BuildError(f"{lock} cannot be used: {error}") from error


def fetch(wheels: list[Wheel], cache: Path) -> list[Path]:
    """Get wheels, from the cache where it has them (blocking).

    Raises:
        BuildError: One cannot be fetched, or is not what the lock says.
    """
    cache.mkdir(parents=True, exist_ok=True)
    missing = [wheel for wheel in wheels if not _is_cached(wheel, cache)]
    for wheel, data in zip(missing, asyncio.run(_download(missing)), strict=True):
        if _sha256(data) != wheel.sha256:
            raise BuildError(f"{wheel.url} is not the file the lock describes.")
        atomic_write(cache / wheel.file_name, data)
    return [cache / wheel.file_name for wheel in wheels]


def _is_cached(wheel: Wheel, cache: Path) -> bool:
    path = cache / wheel.file_name
    return path.exists() and _sha256(path.read_bytes()) == wheel.sha256


async def _download(wheels: list[Wheel]) -> list[bytes]:
    import aiohttp

    places = asyncio.Semaphore(_AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=_DEADLINE_S)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:

        async def one(wheel: Wheel) -> bytes:
            try:
                async with places, session.get(wheel.url, raise_for_status=True) as answer:
                    return await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise BuildError(f"{wheel.url} cannot be fetched: {error}") from error

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(wheel)) for wheel in wheels]
        except* BuildError as failures:
            # The first says enough; the others are cancelled.
            raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def unpack(wheels: list[Path], site_packages: Path) -> None:
    """Put the libraries' modules where Python looks for them."""
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                top, _, rest = member.filename.partition("/")
                # Files a wheel wants elsewhere: headers and programs, which nobody needs here.
                if top.endswith(".data"):
                    folder, _, name = rest.partition("/")
                    if folder not in {"purelib", "platlib"} or not name:
                        continue
                    member.filename = name
                archive.extract(member, site_packages)


def _closure(packages: dict[str, Any], project: str, markers: dict[str, str]) -> set[str]:
    from packaging.markers import Marker

    seen: set[str] = set()
    waiting = [project]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += [
            needed["name"]
            for needed in packages[name].get("dependencies", ())
            if "marker" not in needed or Marker(needed["marker"]).evaluate(markers)
        ]
    return seen


def _markers(architecture: str) -> dict[str, str]:
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{PYTHON}.2",
        "os_name": "posix",
        "platform_machine": architecture,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{PYTHON}.2",
        "python_version": PYTHON,
        "sys_platform": "linux",
        "extra": "",
    }


def _wheel(package: dict[str, Any], architecture: str) -> Wheel:
    from packaging.utils import parse_wheel_filename

    order = _tags(architecture)
    ranked = []
    for one in package.get("wheels", ()):
        wheel = Wheel(url=one["url"], sha256=one["hash"].removeprefix("sha256:"))
        tags = parse_wheel_filename(wheel.file_name)[3]
        fitting = [order[str(tag)] for tag in tags if str(tag) in order]
        if fitting:
            ranked.append((min(fitting), wheel))
    if not ranked:
        raise BuildError(
            f"{package['name']} {package['version']} has no wheel for Python {PYTHON} on "
            f"{architecture}; choose another version in pyproject.toml and lock again."
        )
    return min(ranked, key=lambda pair: pair[0])[1]


def _tags(architecture: str) -> dict[str, int]:
    """What runs on the machine, best first: tag to rank."""
    from packaging.tags import compatible_tags, cpython_tags

    minors = range(_GLIBC_MINOR, _OLDEST_GLIBC_MINOR - 1, -1)
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in minors]
    platforms += [f"manylinux2014_{architecture}", f"linux_{architecture}"]
    python = tuple(int(part) for part in PYTHON.split("."))
    tags = [
        *cpython_tags(python, platforms=platforms),
        *compatible_tags(python, interpreter="cp311", platforms=platforms),
    ]
    return {str(tag): rank for rank, tag in enumerate(tags)}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
