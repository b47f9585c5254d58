"""One replica of the service: the owners of the trees it has, and the heartbeat by which others see it alive."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from services.budget.domain.operations import Ask
from services.budget.failpoints import Failpoints
from services.budget.ports import Doubtful, Journal, Refused, StoreDown
from services.budget.use_cases.owning import Identity, TreeOwner, Written
from services.budget.use_cases.parcels import Outcome, Parcel
from services.kernel.errors import StoreUnavailable

log = structlog.get_logger()

LEASE_S = 1.0
"""A replica that was silent for so long may lose its trees: a crash costs its callers about this much time."""
LEASE_S_MAX = 8.0
"""On a machine that starves its processes beats come late; with a short lease replicas would take trees from each other
faster than any of them reads one, and nobody would get on."""
CALMING = 0.9
"""What is left of a longer lease after each beat that came in time: two seconds are one again after as much."""
HEARTBEAT_S = 0.25
FORGET_DEAD_EVERY = 240
"""Heartbeats between removals of replicas long gone: a minute."""
IDLE_S = 900.0
"""A tree that nobody asked about for so long is given up."""


def lease_after(lease_s: float, silence_s: float) -> float:
    """The next lease of a replica that had been silent for so long: twice the last if others may have given it up."""
    if silence_s > LEASE_S:
        return min(LEASE_S_MAX, lease_s * 2)
    return max(LEASE_S, lease_s * CALMING)


class Replica:
    """Takes operations for any organisation and hands them to the owner of its tree."""

    def __init__(
        self, journal: Journal, identity: Identity, failpoints: Failpoints, written: Written = lambda *_: None
    ) -> None:
        """`written` is told what the owners here have written."""
        self._journal = journal
        self._identity = identity
        self._failpoints = failpoints
        self._written = written
        self._held_until = 0.0
        self._lease_s = LEASE_S
        self._beaten_at: float | None = None
        self._owners: dict[str, TreeOwner] = {}
        self._heart: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to be alive."""
        await self._beat()
        self._heart = asyncio.create_task(self._live(), name="heartbeat")

    async def close(self) -> None:
        """Finishes what was asked, gives all trees back, and says farewell."""
        await asyncio.gather(*(owner.close() for owner in self._owners.values()))
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
        try:
            await self._journal.farewell(self._identity.replica_id)
        except (StoreDown, Doubtful) as why:
            log.warning("no farewell: the trees are free once the lease ends", why=str(why))

    @property
    def held(self) -> bool:
        """Whether others still see this replica alive, by the caution of our own clock."""
        return time.monotonic() < self._held_until

    async def renew(self) -> None:
        """Says at once that it is alive; raises StoreUnavailable if that cannot be said."""
        await self._beat()
        if not self.held:
            raise StoreUnavailable("postgres")

    def submit(self, organisation_id: str, parcel: Parcel) -> None:
        """Queues operations of one organisation."""
        owner = self._owners.get(organisation_id)
        if owner is None:
            owner = self._owners[organisation_id] = TreeOwner(
                organisation_id, self._journal, self._identity, self._failpoints, self, self._written
            )
        owner.submit(parcel)

    async def ask(self, organisation_id: str, ask: Ask, deadline: float) -> Outcome:
        """One operation, awaited. If the caller goes away it is carried out all the same."""
        waiting: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()

        def done(outcomes: Sequence[Outcome]) -> None:
            if not waiting.done():
                waiting.set_result(outcomes)

        self.submit(organisation_id, Parcel([ask], [deadline], done))
        return (await waiting)[0]

    async def _live(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._beat()
            beats += 1
            if beats % FORGET_DEAD_EVERY == 0:
                await self._tidy()

    async def _beat(self) -> None:
        begun, lease_s = time.monotonic(), self._lease_s
        if self._beaten_at is not None:
            lease_s = lease_after(lease_s, begun - self._beaten_at)
        try:
            await self._journal.heartbeat(self._identity.replica_id, self._identity.address, lease_s)
        except (StoreDown, Doubtful, Refused) as why:
            log.warning("no heartbeat", why=str(why))
            self._held_until = min(
                self._held_until, begun + lease_s
            )  # a shorter one may have been taken down
            return
        self._beaten_at, self._lease_s = begun, lease_s
        self._held_until = begun + lease_s

    async def _tidy(self) -> None:
        idle = [name for name, owner in self._owners.items() if owner.is_idle(IDLE_S)]
        for organisation_id in idle:
            await self._owners.pop(organisation_id).close()
        try:
            await self._journal.forget_dead()
        except (StoreDown, Doubtful) as why:
            log.warning("dead replicas were not forgotten", why=str(why))
