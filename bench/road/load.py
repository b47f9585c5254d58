"""Closed-loop load: so many callers, each asking again as soon as it has its answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

Ask = Callable[[], Awaitable[None]]
"""Makes one request and takes its whole answer; raises if it fails: a benchmark of failures measures nothing."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of load saw."""

    requests: int
    seconds: float
    latencies_s: tuple[float, ...]

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    def latency_ms(self, share: float) -> float:
        """The latency that this share of the requests did not exceed, in milliseconds."""
        ranked = sorted(self.latencies_s)
        return ranked[min(len(ranked) - 1, int(len(ranked) * share))] * 1000

    @property
    def median_ms(self) -> float:
        """The median latency in milliseconds."""
        return median(self.latencies_s) * 1000


async def run(ask: Ask, *, callers: int, requests: int) -> Load:
    """`requests` requests by `callers` callers at a time."""
    left = iter(range(requests))
    latencies: list[float] = []

    async def caller() -> None:
        for _ in left:
            begun = time.perf_counter()
            await ask()
            latencies.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return Load(len(latencies), time.perf_counter() - begun, tuple(latencies))
