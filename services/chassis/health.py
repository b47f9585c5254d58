"""Health by component, served as the standard grpc.health.v1.

    runtime.health.component("postgres", pool_answers, critical=True)

Each component has a check that is asked every INTERVAL_S. The name "" and each service's own name are SERVING while the
service has started, is not draining, and every critical component passes; a component's name shows that component.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from grpc_health.v1 import health, health_pb2

from services.chassis.tasks import end

Check = Callable[[], Awaitable[bool]]
"""True: the component can do its work. An exception counts as False and is logged."""

INTERVAL_S = 2.0
CHECK_TIMEOUT_S = 2.0

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

log = structlog.get_logger()


@dataclass(slots=True)
class _Component:
    name: str
    check: Check
    critical: bool
    passes: bool | None = None


class Health:
    """The health of one process."""

    def __init__(self) -> None:
        self.servicer: Any = health.aio.HealthServicer()
        self._components: list[_Component] = []
        self._services: Sequence[str] = ()
        self._started = False
        self._task: asyncio.Task[None] | None = None

    def component(self, name: str, check: Check, *, critical: bool) -> None:
        """Registers a component; without a critical one the service cannot work at all and says so."""
        self._components.append(_Component(name, check, critical))

    @property
    def serving(self) -> bool:
        """What the overall status says."""
        return self._started and all(component.passes for component in self._components if component.critical)

    async def start(self, services: Sequence[str]) -> None:
        """Asks every component once, then says what holds, for `services` and overall, and keeps asking."""
        self._services = services
        self._started = True
        await self.refresh()
        self._task = asyncio.create_task(self._run(), name="health")

    async def drain(self) -> None:
        """Says NOT_SERVING from now on, so that nobody sends anything new."""
        self._started = False
        await self._publish()

    async def stop(self) -> None:
        """Ends the checks."""
        if self._task is not None:
            await end(self._task)

    async def refresh(self) -> None:
        """Asks every component now and publishes what they say."""
        await asyncio.gather(*(self._ask(component) for component in self._components))
        await self._publish()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.refresh()

    async def _ask(self, component: _Component) -> None:
        why: str | None = None
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                passes = await component.check()
        except Exception as error:  # noqa: BLE001 - a check may fail in any way; each is the same answer
            passes, why = False, f"{type(error).__name__}: {error}"
        if passes != component.passes:
            report = log.info if passes else log.warning
            report(
                "component is healthy" if passes else "component is not healthy",
                component=component.name,
                why=why,
            )
            component.passes = passes

    async def _publish(self) -> None:
        overall = _SERVING if self.serving else _NOT_SERVING
        for name in ("", *self._services):
            await self.servicer.set(name, overall)
        for component in self._components:
            await self.servicer.set(component.name, _SERVING if component.passes else _NOT_SERVING)
