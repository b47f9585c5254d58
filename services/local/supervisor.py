"""Starts the stack's components as soon as what they need serves, keeps them alive, and stops them in reverse.

Every component has a keeper: it waits for what the component needs, starts the child, waits until it serves, waits for
its death, and starts it again after a pause that doubles while it keeps dying. A component that cannot serve at the
stack's start ends the start with what its log says. Our own death takes the children along (see `tether.py`); should
one survive even that, its footprint in the state folder lets the next start end it first.
"""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Protocol

from services.local.child import Child, Footprint, end_leftover
from services.local.component import Component
from services.local.state import StateFolder

READY_TIMEOUT_S = 120.0  # Postgres replaying a gigabyte of log on a slow disk; everything else takes seconds
# At the stack's start: what came a moment too early deserves another try, a broken setup does not.
FIRST_ATTEMPTS = 3
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
    """Runs `components`, each named once, none before those that it needs.

    `release` is called with a component's name right before its start, to free what was kept for it. Call all this
    from the main thread; `stop` it whatever became of `start`.
    """

    def __init__(
        self,
        state: StateFolder,
        components: Sequence[Component],
        reporter: Reporter,
        release: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._state = state
        self._components = {component.name: component for component in components}
        self._reporter = reporter
        self._release = release
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, Child] = {}

    async def start(self) -> None:
        """Start everything; return when all of it serves. Raises ComponentFailed at the first that does not."""
        await asyncio.to_thread(self._end_leftovers)
        new = asyncio.get_running_loop().create_future
        serving: dict[str, asyncio.Future[None]] = {name: new() for name in self._components}
        for name, component in self._components.items():
            self._keepers[name] = asyncio.create_task(self._keep(component, serving))
        await asyncio.gather(*serving.values())

    def pid(self, name: str) -> int | None:
        """Return the process id of a component's present run, or None between two runs."""
        child = self._children.get(name)
        return child.pid if child else None

    async def stop(self) -> None:
        """Stop everything, nothing before what needs it. A second call does nothing."""
        stopping: dict[str, asyncio.Task[None]] = {}
        for name in reversed(self._in_order()):
            users = [
                stopping[user] for user, component in self._components.items() if name in component.needs
            ]
            stopping[name] = asyncio.create_task(self._stop(self._components[name], users))
        await asyncio.gather(*stopping.values())

    def _in_order(self) -> list[str]:
        """Return the names so that each comes after what it needs."""
        needs = {name: set(component.needs) for name, component in self._components.items()}
        return [name for name in TopologicalSorter(needs).static_order() if name in needs]

    async def _stop(self, component: Component, users: Sequence["asyncio.Task[None]"]) -> None:
        """Stop a component once its `users` have stopped; never start it again."""
        if users:
            await asyncio.wait(users)
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

    async def _keep(self, component: Component, everybody: "Mapping[str, asyncio.Future[None]]") -> None:
        """Keep one component alive; its future is set at its first readiness, or fails with the start."""
        serving = everybody[component.name]
        # Shielded: stopping this keeper must not cancel what others wait for, too.
        await asyncio.gather(
            *(asyncio.shield(everybody[name]) for name in component.needs if name in everybody)
        )
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
        self._release(component.name)
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
