# SPDX-License-Identifier: Apache-2.0
"""The running agent: start, essential tasks, signals, order of stopping.

Theory of operation
    One root TaskGroup holds the essential services: the link, the working rooms, the status file,
    the watchdog, the watch over the event loop. One of them failing ends the process, and the
    service manager starts it anew.
    The link starts first, because the Startup must leave at once; the working rooms are loaded
    once it has, or once it is clear that no server answers for now. Requests that come meanwhile
    wait at the :class:`~ssvm_agent.app.sink.LateSink`.

    Stopping goes the other way round: the server is told (ShutdownCommand), the link ends, running
    commands may finish, jobs keep what can be continued, stores and threads are let go. A second
    signal skips the waiting.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from ssvm_agent import __version__, log
from ssvm_agent.app.exits import ExitCode
from ssvm_agent.app.facts import startup_facts
from ssvm_agent.app.sink import LateSink
from ssvm_agent.app.status_file import StatusFile
from ssvm_agent.appliance.base import Appliance
from ssvm_agent.appliance.recording import RecordingAppliance
from ssvm_agent.config.settings import ApplianceKind, Settings
from ssvm_agent.config.state import AgentState
from ssvm_agent.host.clock import SystemClock
from ssvm_agent.host.pools import WorkPool
from ssvm_agent.host.run import SystemRunner
from ssvm_agent.host.stalls import tell_of_stalls
from ssvm_agent.host.systemd import notify, watchdog_interval_s
from ssvm_agent.link.status import LinkState, LinkStatus
from ssvm_agent.link.supervisor import Supervisor

_LOGGER: Final = logging.getLogger(__name__)
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# The machine is prepared before the first connect, but a hanging program must not keep us from it.
_PREPARE_DEADLINE_S: Final = 30.0
# Loading the rest waits this long for the Startup to leave: a server that does not answer must not
# keep the agent from being complete.
_STARTUP_GRACE_S: Final = 1.0
_SIGNAL_BASE: Final = 128
# Some senders signal the process and its group: what comes this soon is not meant as a second word.
_SAME_SIGNAL_S: Final = 1.0


class Application:
    """One agent process; run it once.

    Args:
        settings: Everything configured.
        state: What outlives a restart.
    """

    def __init__(self, settings: Settings, state: AgentState) -> None:
        self._settings = settings
        self._state = state
        self._clock = SystemClock()
        self._runner = SystemRunner()
        self._disk = WorkPool("this machine's disk", threads=4)
        self._link_pool = WorkPool("link", threads=2)
        self._appliance = self._make_appliance()
        self._status_file = StatusFile(settings.state_dir / "status.json", self._disk)
        self._sink = LateSink()
        self._link = Supervisor(
            settings,
            facts=lambda: startup_facts(settings, state),
            memory=state,
            pool=self._link_pool,
            clock=self._clock,
            on_change=self._link_changed,
        )
        self._startup_left = asyncio.Event()
        self._stop = asyncio.Event()
        self._exit_code: int = ExitCode.DONE

    async def run(self) -> int:
        """Run until a signal, until the server sends the agent away, or until a part fails.

        Returns:
            The exit code of the process (see :class:`~ssvm_agent.app.exits.ExitCode`).
        """
        self._greet()
        try:
            with self._signals():
                await self._prepare()
                async with asyncio.TaskGroup() as group:
                    helpers = [
                        group.create_task(self._status_file.run(), name="status file"),
                        group.create_task(self._watchdog(), name="watchdog"),
                        group.create_task(tell_of_stalls(), name="stalls"),
                    ]
                    link = group.create_task(self._run_link(), name="link")
                    rooms = group.create_task(self._run_rooms(), name="rooms")
                    await self._stop.wait()
                    await self._stop_parts(link, rooms)
                    for helper in helpers:
                        helper.cancel()
        except asyncio.CancelledError:
            # Only the second signal cancels the root task.
            _LOGGER.warning("stopped without waiting")
        except BaseExceptionGroup as failure:
            log_failure(failure)
            self._exit_code = ExitCode.CRASHED
        finally:
            self._disk.close()
            self._link_pool.close()
        log.event(_LOGGER, logging.INFO, "agent ended", exit_code=int(self._exit_code))
        return int(self._exit_code)

    def _greet(self) -> None:
        settings = self._settings
        log.event(_LOGGER, logging.INFO, "agent starts", version=__version__, name=settings.name,
                  guid=settings.full_guid, zone=settings.zone, pod=settings.pod,
                  servers=",".join(settings.management_servers))  # fmt: skip
        for oddity in settings.oddities:
            _LOGGER.warning("%s", oddity)

    def _make_appliance(self) -> Appliance:
        if self._settings.appliance is ApplianceKind.RECORDING:
            return RecordingAppliance()
        from ssvm_agent.appliance.systemvm import SystemVmAppliance

        return SystemVmAppliance(settings=self._settings, runner=self._runner, disk=self._disk)

    async def _prepare(self) -> None:
        try:
            async with asyncio.timeout(_PREPARE_DEADLINE_S):
                await self._appliance.prepare()
        except TimeoutError:
            _LOGGER.warning("preparing the machine took too long; going on without")

    async def _run_link(self) -> None:
        await self._link.run(self._sink)
        self._end()

    def _end(self) -> None:
        self._stop.set()
        self._startup_left.set()  # nobody needs to wait for it any more

    async def _run_rooms(self) -> None:
        try:
            async with asyncio.timeout(_STARTUP_GRACE_S):
                await self._startup_left.wait()
        except TimeoutError:
            _LOGGER.debug("no server reached yet; loading the rest")
        if self._stop.is_set():
            return
        # In a thread: the link keeps answering while most of the package is loaded.
        rooms = await self._disk.call(_load_rooms)
        machine = rooms.Machine(
            settings=self._settings,
            state=self._state,
            clock=self._clock,
            runner=self._runner,
            disk=self._disk,
            appliance=self._appliance,
            link=self._link,
            link_status=self._link.status,
        )
        async with rooms.open_domain(machine) as executor:
            self._sink.open(executor)
            notify("READY=1")
            await self._stop.wait()

    async def _stop_parts(self, link: asyncio.Task[None], rooms: asyncio.Task[None]) -> None:
        notify("STOPPING=1")
        await self._link.stop()
        await asyncio.wait([link])
        await asyncio.wait([rooms])

    async def _watchdog(self) -> None:
        interval_s = watchdog_interval_s()
        while interval_s is not None:
            notify("WATCHDOG=1")
            await self._clock.sleep(interval_s)

    def _link_changed(self, status: LinkStatus) -> None:
        self._status_file.update(self._link.status())
        if status.state is not LinkState.CONNECTING and status.state is not LinkState.HANDSHAKE:
            self._startup_left.set()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        root = asyncio.current_task()
        assert root is not None

        first_at_s = 0.0

        def received(number: signal.Signals) -> None:
            nonlocal first_at_s
            if self._exit_code:
                if loop.time() - first_at_s > _SAME_SIGNAL_S:
                    root.cancel()
                return
            first_at_s = loop.time()
            log.event(_LOGGER, logging.INFO, "agent stops", signal=number.name)
            self._exit_code = _SIGNAL_BASE + number
            self._end()

        for number in _SIGNALS:
            loop.add_signal_handler(number, received, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)


def _load_rooms() -> ModuleType:
    domain = importlib.import_module("ssvm_agent.app.domain")
    domain.load_handlers()
    return domain


def log_failure(failure: BaseExceptionGroup[BaseException]) -> None:
    """Log each failed part once, with its stack."""
    for error in failure.exceptions:
        if isinstance(error, BaseExceptionGroup):
            log_failure(error)
        else:
            _LOGGER.error("a part of the agent failed", exc_info=error)
