# SPDX-License-Identifier: Apache-2.0
"""Any text whatever: an apply never raises and never leaves half a file."""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ssvm_agent.appliance.apply.changes import LinkState, NetworkState
from ssvm_agent.appliance.apply.machine import Apply
from ssvm_agent.appliance.apply.reach import Server
from ssvm_agent.appliance.apply.request import Request, Tools
from ssvm_agent.appliance.boot.search import BootIdentity
from ssvm_agent.appliance.plan.build import build_plan
from ssvm_agent.appliance.plan.keys import KNOWN_KEYS, missing, shown
from ssvm_agent.appliance.plan.model import Hypervisor
from ssvm_agent.bootargs import parse
from ssvm_agent.host.pools import WorkPool
from tests.fakes.kernel import FakeKernel
from tests.fakes.machine import FakeClock, FakeRunner

LINES = [
    line.replace("\\r", "\r")
    for line in (Path(__file__).parents[3] / "data/cmdlines.txt").read_text().splitlines()
    if "template=" in line
]
VALUES = st.one_of(
    st.sampled_from(
        [
            "null",
            "0.0.0.0",
            "",
            "10.1.34.1",
            "10.1.34.20",
            "255.255.255.0",
            "2001:db8::1",
            "fe80::1",
            "10.0.0.0/8",
            "10.1.34.0/24,x",
            "1500",
            "-1",
            "dhcp",
            "true",
            "AAAA",
            "=",
            "%",
            "|",
            "../..",
            "02:00:00:00:00:01|02:00:00:00:00:01",
            "s-1-VM",
            "$(reboot)",
            "a'b\"c\\d",
        ]
    ),
    st.text(max_size=30),
    st.ip_addresses().map(str),
)
WORDS = st.builds("{}={}".format, st.sampled_from(sorted(KNOWN_KEYS)), VALUES)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A recorded line or none, words put in, pieces cut out."""
    text = draw(st.sampled_from(["", "type=secstorage", *LINES]))
    start = draw(st.integers(0, len(text)))
    text = text[:start] + text[draw(st.integers(start, min(len(text), start + 40))) :]
    return " ".join([text, *draw(st.lists(WORDS, max_size=6)), "type=secstorage"])


async def _nobody(_: object) -> frozenset[Server]:
    return frozenset()


def _apply(text: str, hypervisor: Hypervisor, root: Path) -> list[str]:
    boot = parse(text)
    kernel = FakeKernel(
        NetworkState(links={f"eth{number}": LinkState(name=f"eth{number}") for number in range(4)})
    )
    pool = WorkPool("fuzz", threads=1)
    tools = Tools(
        root=root, runner=FakeRunner(), pool=pool, clock=FakeClock(), probe=_nobody,
        identity=BootIdentity(boot_id="this", started_at=1.0), network=kernel,
        proc=root / "proc",
    )  # fmt: skip
    request = Request(boot=boot, plan=build_plan(boot, hypervisor))
    try:
        asyncio.run(Apply(request, tools).run())
        again = asyncio.run(Apply(request, tools).run())
    finally:
        pool.close()
    return [item.name for item in again.items if item.status == "changed"]


@given(text=texts(), hypervisor=st.sampled_from(Hypervisor))
@settings(max_examples=60, deadline=None)
def test_any_text_is_applied_as_far_as_it_makes_sense(text: str, hypervisor: Hypervisor) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        changed = _apply(text, hypervisor, root)
        # The pretended filter of this machine forgets, so it is put in each time.
        assert [name for name in changed if "packet filter" not in name] == []
        assert [path for path in root.rglob("*") if path.name.endswith((".tmp", ".link"))] == []
        for name in ("interfaces", "resolv.conf"):
            for path in root.rglob(name):
                content = path.read_text()
                assert content.endswith("\n")
                assert not re.search(r"[\0$'\"\\]", content)


@given(text=texts())
def test_any_text_can_be_shown_without_its_secrets(text: str) -> None:
    boot = parse(f"{text} vmpassword=geheim-geheim userdata=geheim-geheim")
    assert "geheim" not in str(shown(boot))
    assert "type" not in missing(boot)
