# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench``: run the benchmarks and print measured against limit."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench.cases import CASES
from tests.bench.rig import Measurement

os.environ["PATH"] += os.pathsep + "/usr/sbin"


def main() -> int:
    """Run what was asked for; 1 when a limit was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--scale", type=float, default=float(os.environ.get("BENCH_SCALE", "1")))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"no case is called {', '.join(sorted(unknown))}")
    rows = asyncio.run(_measure(options.cases or list(CASES), options.scale, quiet=options.json))
    if options.json:
        print(json.dumps([asdict(row) | {"passed": row.passed} for row in rows], indent=2))
    missed = [row for row in rows if not row.passed]
    if missed and not options.json:
        print(f"\n{len(missed)} of {len(rows)} limits missed")
    return 1 if missed else 0


async def _measure(names: list[str], scale: float, *, quiet: bool) -> list[Measurement]:
    rows = []
    if not quiet:
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        print(f"{'':44}{'measured':>10}  {'limit':>8}  {'of it':>6}")
    for name in names:
        with tempfile.TemporaryDirectory(prefix=f"ssvm-bench-{name}-") as folder:
            async for row in CASES[name](Path(folder), scale):
                rows.append(row)
                if not quiet:
                    _print(row)
    return rows


def _print(row: Measurement) -> None:
    share = row.measured / row.limit
    measured, limit = f"{row.measured:.2f} {row.unit}", f"{row.limit:g} {row.unit}"
    verdict = "" if row.passed else "   MISSED"
    print(f"{row.what:<44}{measured:>10}  {limit:>8}  {share:>5.0%}{verdict}", flush=True)
    if row.yardstick:
        print(f"    {row.yardstick}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
