"""Starts the stack's components in order, keeps them alive, and stops them in reverse.

Every component has a keeper: it starts the child, waits until it serves, waits for its death, and starts it again
after a pause that doubles while it keeps dying. A component that cannot serve at the stack's start ends the start
with what its log says. Our own death takes the children along (see `tether.py`); should one survive even that, its
footprint in the state folder lets the next start end it first.
"""

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from services.local.child import Child, Footprint, end_leftover
from services.local.component import Component
from services.local.state import StateFolder

READY_TIMEOUT_S = 120.0  # Postgres replaying a gigabyte of log on a slow disk; everything else takes seconds
FIRST_ATTEMPTS = (
    3  # at the stack's start: a port snatched in between deserves another try, a broken setup does not
)
PAUSE_MAX_S = 10.0  # or the component's own least pause, if that is longer
STEADY_S = 20.0  # who served this long starts with a short pause again
POLL_S = 0.02  # readiness is a file or an answer; nothing announces it
LOG_TAIL_LINES = 12
LOG_FRAME = frozenset(("event", "level", "timestamp", "service", "exception"))  # of no use in an obituary


class ComponentFailed(RuntimeError):
    """A component did not come up at the stack's start; the message ends with its log's last lines."""


class Reporter(Protocol):
    """Tells people what happens."""

    def ready(self, component: Component, seconds: float, *, again: bool) -> None:
        """Say that a component serves; `again` after it had died."""
        ...

    def died(self, component: Component, manner: str, pause_s: float) -> None:
        """Say that a component died, how, and when it will be started again."""
        ...

    def stopped(self, component: Component) -> None:
        """Say that a component was stopped, as asked."""
        ...


class Supervisor:
    """Runs `stages` one after the other; what is in one stage starts and stops side by side.

    Call it from the main thread; `stop` it whatever became of `start`.
    """

    def __init__(self, state: StateFolder, stages: Sequence[Sequence[Component]], reporter: Reporter) -> None:
        self._state = state
        self._stages = stages
        self._reporter = reporter
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, Child] = {}

    async def start(self) -> None:
        """Start everything; return when all of it serves. Raises ComponentFailed at the first that does not."""
        await asyncio.to_thread(self._end_leftovers)
        for stage in self._stages:
            await self._start(stage)

    def pid(self, name: str) -> int | None:
        """Return the process id of a component's present run, or None between two runs."""
        child = self._children.get(name)
        return child.pid if child else None

    async def stop(self) -> None:
        """Stop everything, last started first. A second call does nothing."""
        for stage in reversed(self._stages):
            await asyncio.gather(*(self._stop(component) for component in stage))

    async def _start(self, stage: Sequence[Component]) -> None:
        serving = [asyncio.get_running_loop().create_future() for _ in stage]
        for component, future in zip(stage, serving, strict=True):
            self._keepers[component.name] = asyncio.create_task(self._keep(component, future))
        await asyncio.gather(*serving)

    async def _stop(self, component: Component) -> None:
        keeper = self._keepers.pop(component.name, None)
        if keeper is None:
            return
        keeper.cancel()
        await asyncio.wait([keeper])
        child = self._children.pop(component.name, None)
        if child is not None:
            await child.stop()
            self._reporter.stopped(component)
        self._footprint(component).unlink(missing_ok=True)

    async def _keep(self, component: Component, serving: "asyncio.Future[None]") -> None:
        """Keep one component alive; `serving` is set at its first readiness, or fails with the start."""
        pause_s = component.pause_min_s
        attempts = 0
        while True:
            attempts += 1
            began = time.monotonic()
            try:
                child = await self._launch(component)
            except (OSError, RuntimeError) as problem:
                if not serving.done():
                    serving.set_exception(ComponentFailed(f"{component.name}: {problem}"))
                    return
                self._reporter.died(component, str(problem), pause_s)
            else:
                if await self._until_ready(component, child):
                    self._reporter.ready(component, time.monotonic() - began, again=serving.done())
                    if not serving.done():
                        serving.set_result(None)
                status = await child.wait()
                del self._children[component.name]
                if not serving.done() and attempts >= FIRST_ATTEMPTS:
                    serving.set_exception(ComponentFailed(_obituary(child, status)))
                    return
                if time.monotonic() - began > STEADY_S:
                    pause_s = component.pause_min_s
                self._reporter.died(component, _manner(status), pause_s)
            await asyncio.sleep(pause_s)
            pause_s = max(component.pause_min_s, min(pause_s * 2, PAUSE_MAX_S))

    async def _launch(self, component: Component) -> Child:
        spec = await asyncio.to_thread(component.prepare)
        child = await Child.start(spec)
        self._children[component.name] = child
        Footprint.of(child.pid, spec.death_signal).save(self._footprint(component))
        return child

    async def _until_ready(self, component: Component, child: Child) -> bool:
        """Wait until the child serves (True) or is dead (False); one that does neither in time is killed."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while child.process.returncode is None:
            if await component.is_ready(child):
                return True
            if time.monotonic() > deadline:
                await child.stop()
            await asyncio.sleep(POLL_S)
        return False

    def _footprint(self, component: Component) -> Path:
        return self._state.run / f"{component.name}.json"

    def _end_leftovers(self) -> None:
        for path in self._state.run.glob("*.json"):
            footprint = Footprint.load(path)
            if footprint is not None:
                end_leftover(footprint)
            path.unlink(missing_ok=True)


def _manner(status: int) -> str:
    """Say in words how a child ended."""
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name


def _obituary(child: Child, status: int) -> str:
    """Say how a child ended that never served, with the last lines of its log."""
    log = child.spec.log
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    tail = "\n".join(f"  {_readable(line)}" for line in lines)
    return f"{child.spec.name} ended ({_manner(status)}) before it served. {log} ends with:\n{tail}"


def _readable(line: str) -> str:
    """Return a line of a service's JSON log as a person reads it; any other line as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "event" not in entry:
        return line
    cause = str(entry.get("exception", "")).strip().rpartition("\n")[2]  # a traceback ends with what happened
    facts = [f"{name}={value}" for name, value in entry.items() if name not in LOG_FRAME]
    return " ".join(filter(None, [str(entry["event"]), *facts, f"({cause})" if cause else ""]))
