# SPDX-License-Identifier: Apache-2.0
"""The qemu-img program, behind one door (requirements S3).

It only ever sees images that were inspected, is told their format explicitly so that it probes
nothing, and runs under kernel limits and without a network. Paths are absolute, so no name can be
taken for a protocol.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssvm_agent.host.errors import HostError
from ssvm_agent.host.run import ResourceLimits, Runner
from ssvm_agent.images.errors import ConversionError
from ssvm_agent.images.formats import ImageFormat

_NAMES = {
    ImageFormat.QCOW2: "qcow2",
    ImageFormat.RAW: "raw",
    ImageFormat.ISO: "raw",
    ImageFormat.VHD: "vpc",
    ImageFormat.VHDX: "vhdx",
    ImageFormat.VMDK: "vmdk",
    ImageFormat.VDI: "vdi",
}
_INFO_DEADLINE_S = 30.0
_INFO_MEMORY_BYTES = 1 << 30
_CONVERT_MEMORY_BYTES = 2 << 30
_OPEN_FILES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class QemuInfo:
    """What qemu-img says about an image.

    Attributes:
        format: Its own word for the format.
        virtual_size_bytes: Size of the disk.
        backing_file: Name of a backing file; None without one.
    """

    format: str
    virtual_size_bytes: int
    backing_file: str | None


class QemuImg:
    """Runs qemu-img.

    Args:
        runner: Starts programs.
        no_network: Whether to run it in an empty network namespace, which needs root.
    """

    def __init__(self, runner: Runner, *, no_network: bool) -> None:
        self._runner = runner
        self._no_network = no_network

    async def info(self, path: Path, image_format: ImageFormat) -> QemuInfo:
        """Ask about an image that was inspected.

        Raises:
            ConversionError: The program failed, or its answer cannot be read.
        """
        limits = ResourceLimits(
            address_space_bytes=_INFO_MEMORY_BYTES,
            cpu_s=int(_INFO_DEADLINE_S),
            file_size_bytes=0,
            open_files=_OPEN_FILES,
            no_network=self._no_network,
        )
        argv = ["qemu-img", "info", "-f", _name(image_format), "--output=json", _absolute(path)]
        output = await self._run(argv, _INFO_DEADLINE_S, limits)
        try:
            answer = json.loads(output)
            backing = answer.get("backing-filename")
            return QemuInfo(
                format=str(answer["format"]),
                virtual_size_bytes=int(answer["virtual-size"]),
                backing_file=None if backing is None else str(backing),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConversionError(
                "The answer of qemu-img cannot be read.", detail=repr(error)
            ) from error

    async def convert(
        self,
        source: Path,
        source_format: ImageFormat,
        target: Path,
        target_format: ImageFormat,
        *,
        deadline_s: float,
        max_output_bytes: int,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Convert an image that was inspected; the caller removes a target left by a failure.

        Args:
            source: The image; absolute.
            source_format: What the inspection found.
            target: The new image; absolute.
            target_format: What to make of it.
            deadline_s: For the whole conversion.
            max_output_bytes: The longest target allowed.
            options: Options of the target format.

        Raises:
            ConversionError: It failed.
        """
        limits = ResourceLimits(
            address_space_bytes=_CONVERT_MEMORY_BYTES,
            file_size_bytes=max_output_bytes,
            open_files=_OPEN_FILES,
            no_network=self._no_network,
        )
        argv = ["qemu-img", "convert", "-q", "-f", _name(source_format)]
        argv += ["-O", _name(target_format)]
        for key, value in (options or {}).items():
            argv += ["-o", f"{key}={value}"]
        await self._run([*argv, _absolute(source), _absolute(target)], deadline_s, limits)

    async def _run(self, argv: list[str], deadline_s: float, limits: ResourceLimits) -> bytes:
        try:
            result = await self._runner.run(argv, deadline_s=deadline_s, limits=limits)
        except HostError as error:
            raise ConversionError(
                f"The image could not be read or converted by qemu-img: {error.message}",
                detail=error.detail,
            ) from error
        return result.stdout


def _name(image_format: ImageFormat) -> str:
    try:
        return _NAMES[image_format]
    except KeyError:
        raise ConversionError(f"Images of format {image_format} cannot be converted.") from None


def _absolute(path: Path) -> str:
    if not path.is_absolute():
        raise ConversionError(f"The path {str(path)!r} is not absolute.")
    return str(path)
