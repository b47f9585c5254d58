"""The fenced owner of a tree: decides in memory, writes a batch at a time, answers once the journal has it.

    idle ──asked──▶ claim (epoch + 1, read the tree) ──▶ serving: decide a batch → write it → answer
      ▲                    │ another owns it                  │ fenced: read what changed, decide again, or step down
      └──── step down ◀────┘                                  │ in doubt: forget, claim again, look up, decide again

One batch is under way at a time; what comes meanwhile is the next one. A commit under way is never cancelled: a caller
who goes away changes nothing. When Postgres does not answer, whoever asks is told at once (StoreUnavailable) and the
next one to ask finds out whether it is back.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from services.budget.domain.entries import Entry
from services.budget.domain.operations import AttemptId
from services.budget.errors import NotOwner
from services.budget.failpoints import AFTER_WRITE, BEFORE_WRITE, Failpoints
from services.budget.ports import Claimed, Doubtful, Fenced, Journal, Owned, Refused, StoreDown
from services.budget.use_cases.deciding import (
    Faults,
    decide_all,
    missing_counters,
    not_open,
    refused_strangers,
)
from services.budget.use_cases.parcels import QUEUED_MAX, Intake, Outcome, Parcel
from services.kernel.errors import (
    Internal,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
    TurnpikeError,
)
from services.kernel.ids import IncidentId

log = structlog.get_logger()

PATIENCE_S = 2.0
"""How long a batch may be under way before its callers are told that nobody knows."""
TRIES_MAX = 6
"""How often a batch is decided again before its callers are told."""
FENCES_MAX = 100
"""The same where an admin's change came before each write: the store is well, and who waits too long is told anyway."""
RETRY_PAUSE_S = 0.05
EXPIRY_GRACE_US = 2_000_000
"""After a claim, leases end this much later at the earliest: their holders could not speak meanwhile."""
CHECKPOINT_ENTRIES = 50_000
"""A new owner reads at most about so many entries, in about half a second."""
SWEEP_EVERY = 256
"""Batches between looks for windows that are over."""

Written = Callable[[str, Sequence[Entry]], None]
"""Is told what an owner has written for an organisation, once the store has it."""


@dataclass(slots=True)
class DatabaseClock:
    """The database's time, by this process's monotonic clock: no wall clock here is asked."""

    offset_us: int = 0

    def set(self, now_us: int) -> None:
        """The database has just said what time it is."""
        self.offset_us = now_us - time.monotonic_ns() // 1000

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return time.monotonic_ns() // 1000 + self.offset_us


@dataclass
class Identity:
    """This replica, as others see it."""

    replica_id: str
    address: str


class TreeOwner:
    """Serves one organisation's tree for as long as this replica owns it."""

    def __init__(
        self,
        organisation_id: str,
        journal: Journal,
        identity: Identity,
        failpoints: Failpoints,
        lease: "Lease",
        written: Written,
    ) -> None:
        self._organisation_id = organisation_id
        self._journal = journal
        self._identity = identity
        self._failpoints = failpoints
        self._lease = lease
        self._written = written
        self._clock = DatabaseClock()
        self._intake = Intake()
        self._claimed: Claimed | None = None
        self._stuck = False
        self._sent = False
        """True: a batch with what is under way may have become true."""
        self._unheard_of: set[AttemptId] = set()
        """Attempts of what is under way that the ledger does not have, while this owner is the only one to write it."""
        self._checkpoint_at = 0
        self._checkpointing: asyncio.Task[None] | None = None
        self._batches = 0
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=f"owner of {organisation_id}")
        self._idle_since = time.monotonic()

    @property
    def owns(self) -> bool:
        """Whether the tree is in memory here."""
        return self._claimed is not None

    def is_idle(self, seconds: float) -> bool:
        """Whether nobody has asked for so long and nothing is open."""
        claimed = self._claimed
        busy = len(self._intake) or (claimed is not None and claimed.tree.holds)
        return not busy and time.monotonic() - self._idle_since > seconds

    def submit(self, parcel: Parcel) -> None:
        """Queues operations; they are decided in the order they came."""
        if self._stuck or self._closing:
            parcel.refuse(
                StoreUnavailable("postgres") if self._stuck else NotOwner(self._organisation_id, "")
            )
        elif len(self._intake) >= QUEUED_MAX:
            parcel.refuse(Overloaded(f"operations that wait for one organisation: {QUEUED_MAX}"))
        else:
            self._intake.put(parcel)

    async def close(self) -> None:
        """Finishes what was asked, remembers what is open, and gives up the tree."""
        self._closing = True
        self._intake.close()
        await self._task
        if self._checkpointing is not None:
            await asyncio.gather(self._checkpointing, return_exceptions=True)
        if self._claimed is not None:
            tree = self._claimed.tree
            await _quietly(
                self._journal.save_checkpoint(self._claimed, tree.sequence, list(tree.open_sequences()))
            )
            self._claimed = None

    # ---- the loop ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._intake.wait(self._lease_ends_in_s())
            await self._intake.gather()
            if self._closing and not len(self._intake):
                return
            parcels = self._intake.take()
            if parcels:
                self._idle_since = time.monotonic()
            telling = asyncio.get_running_loop().call_later(PATIENCE_S, self._takes_long, parcels)
            self._sent = False
            self._unheard_of.clear()
            try:
                await self._turn(parcels)
            except Exception:
                # A fault of ours: nobody may wait for ever, and nothing half decided may stay.
                log.exception("a batch failed", organisation_id=self._organisation_id)
                self._forget()
                self._refuse(parcels, Internal(IncidentId.new()))
            finally:
                telling.cancel()
                self._stuck = False

    def _lease_ends_in_s(self) -> float | None:
        """When the owner has to act by itself; None: never."""
        due_us = None if self._claimed is None else self._claimed.tree.next_expiry_us()
        return None if due_us is None else max(0.001, (due_us - self._clock.now_us()) / 1e6)

    async def _turn(self, parcels: list[Parcel]) -> None:
        """Decides parcels, writes them, and answers; tries again while that may help."""
        tries = fences = refused = 0
        faults: Faults = {}
        while tries < TRIES_MAX and fences < FENCES_MAX:
            if tries + fences and not parcels:
                return
            try:
                claimed = await self._ensure()
            except TurnpikeError as error:
                if isinstance(error, StoreUnavailable) and self._sent:
                    error = OutcomeUnknown("budget")
                self._refuse(parcels, error)
                return
            try:
                await self._look_up(claimed, parcels, everything=refused > 0)
                outcomes = await self._decide(claimed, parcels, faults)
            except (Doubtful, StoreDown):
                self._forget()
                faults.clear()
                tries += 1
                continue
            self._failpoints.reached(BEFORE_WRITE)
            sent_before = self._sent
            try:
                await self._write(claimed)
            except Fenced:
                claimed.tree.take_back()
                self._sent = sent_before
                faults.clear()  # found in a tree that was not up to date
                if await self._catch_up(claimed):
                    fences += 1
                else:
                    self._forget()
                    tries += 1
                continue
            except Refused as why:
                log.warning("the store refused a batch", organisation_id=self._organisation_id, why=str(why))
                self._forget()
                self._sent, refused, tries = sent_before, refused + 1, tries + 1
                if refused > 1:
                    await self._one_by_one(parcels)
                    return
                continue
            except (Doubtful, StoreDown) as why:
                log.warning("a batch is in doubt", organisation_id=self._organisation_id, why=str(why))
                self._forget()
                tries += 1
                await asyncio.sleep(RETRY_PAUSE_S)
                continue
            self._failpoints.reached(AFTER_WRITE)
            claimed.tree.keep()
            self._written(self._organisation_id, claimed.tree.draft.entries)
            for parcel, answers in zip(list(parcels), outcomes, strict=False):
                parcel.answer(answers)
            self._look_after(claimed)
            await asyncio.sleep(0)  # so that the replies are on their way before the next batch is decided
            return
        self._refuse(parcels, OutcomeUnknown("budget") if self._sent else StoreUnavailable("postgres"))

    async def _decide(self, claimed: Claimed, parcels: list[Parcel], faults: Faults) -> list[list[Outcome]]:
        """The outcomes of a batch, which is under way then."""
        tree = claimed.tree
        while True:
            outcomes = decide_all(tree, parcels, faults, now_us=self._clock.now_us(), begun=self._sent)
            # Nothing but the ledger knows that a refused hold was granted long ago, perhaps to another owner's memory.
            # They are asked for once a turn: each wait here gives an admin's change time to come before the write.
            strangers = set(refused_strangers(tree, parcels, outcomes)) - self._unheard_of
            if not strangers:
                return outcomes
            asked = len(parcels)
            found = await self._find(claimed, list(strangers))
            told = len(parcels) < asked  # meanwhile, that nothing is done for them
            if not found and not told:
                return outcomes
            tree.take_back()

    async def _find(self, claimed: Claimed, attempts: Sequence[AttemptId]) -> bool:
        """Whether the ledger knows any of these attempts; they are in memory then."""
        await self._journal.look_up(claimed, attempts)
        unheard_of = [key for key in attempts if key not in claimed.tree.settled]
        self._unheard_of.update(unheard_of)
        return len(unheard_of) < len(attempts)

    async def _one_by_one(self, parcels: list[Parcel]) -> None:
        """A batch that the store refuses twice holds something it will never take: finds it, and answers the rest."""
        for parcel in parcels:
            outcomes: list[Outcome] = []
            alone = len(parcels) == 1 and len(parcel.asks) == 1
            if alone:
                parcel.answer([Internal(IncidentId.new())])
                return
            for ask, deadline in zip(parcel.asks, parcel.deadlines, strict=True):
                await self._turn([Parcel([ask], [deadline], outcomes.extend)])
            parcel.answer(outcomes)

    # ---- the store ---------------------------------------------------------------------------------------------------

    async def _ensure(self) -> Claimed:
        """The tree, claimed if it is not here yet. Raises NotOwner, NotFound or StoreUnavailable."""
        if self._claimed is not None:
            return self._claimed
        if not self._lease.held:
            await self._lease.renew()
        try:
            found = await self._claim()
            if isinstance(found, Owned) and not found.address:
                found = await self._claim()  # its owner has just left, or the tree has just been planted
        except (StoreDown, Doubtful) as down:
            raise StoreUnavailable("postgres") from down
        if found is None:
            raise NotFound("organisation", self._organisation_id)
        if isinstance(found, Owned):
            raise NotOwner(self._organisation_id, found.address)
        self._clock.set(found.now_us)
        found.tree.expiry_grace_us = found.now_us + EXPIRY_GRACE_US
        self._checkpoint_at = found.tree.sequence + CHECKPOINT_ENTRIES
        self._claimed = found
        log.info(
            "owns",
            organisation_id=self._organisation_id,
            epoch=found.epoch,
            sequence=found.tree.sequence,
            open_holds=len(found.tree.holds),
        )
        return found

    async def _claim(self) -> Claimed | Owned | None:
        return await self._journal.claim(
            self._organisation_id, self._identity.replica_id, self._identity.address
        )

    def _forget(self) -> None:
        self._claimed = None
        self._unheard_of.clear()

    async def _catch_up(self, claimed: Claimed) -> bool:
        try:
            return await self._journal.catch_up(claimed)
        except (StoreDown, Doubtful):
            return False

    async def _look_up(self, claimed: Claimed, parcels: list[Parcel], *, everything: bool) -> None:
        """Brings what these operations speak of into memory, where it may be in the ledger alone."""
        tree = claimed.tree
        attempts = not_open(tree, parcels, used=everything)
        if not attempts:
            return
        unknown = [key for key in attempts if key not in tree.settled]
        if unknown:
            await self._journal.look_up(claimed, unknown)
        missing = missing_counters(tree, attempts)
        if missing:
            await self._journal.look_up_counters(claimed, list(missing))

    async def _write(self, claimed: Claimed) -> None:
        """Writes the batch under way, and learns the time."""
        self._sent = True
        begun = time.monotonic()
        self._clock.set(await self._journal.write(claimed, claimed.tree.draft))
        self._intake.written_in(time.monotonic() - begun)

    def _takes_long(self, parcels: list[Parcel]) -> None:
        """Nobody waits longer than PATIENCE_S to be told; what is under way goes on."""
        log.warning("a batch takes long", organisation_id=self._organisation_id, sent=self._sent)
        self._stuck = True
        self._refuse(parcels, OutcomeUnknown("budget") if self._sent else StoreUnavailable("postgres"))
        parcels.clear()
        self._refuse(self._intake.drain(), StoreUnavailable("postgres"))

    def _refuse(self, parcels: Sequence[Parcel], why: TurnpikeError) -> None:
        for parcel in parcels:
            parcel.refuse(why)

    def _look_after(self, claimed: Claimed) -> None:
        """What is done now and then between batches."""
        tree = claimed.tree
        self._batches += 1
        if self._batches % SWEEP_EVERY == 0:
            tree.sweep(tree.now_us)
        idle = self._checkpointing is None or self._checkpointing.done()
        if tree.sequence >= self._checkpoint_at and idle:
            self._checkpoint_at = tree.sequence + CHECKPOINT_ENTRIES
            # A head that was written elsewhere cannot be rewritten: VerifyLedger takes it as the one to be met.
            log.info(
                "chain head",
                organisation_id=self._organisation_id,
                sequence=tree.sequence,
                hash=tree.head.hex(),
            )
            save = self._journal.save_checkpoint(claimed, tree.sequence, list(tree.open_sequences()))
            self._checkpointing = asyncio.create_task(_quietly(save))


class Lease(Protocol):
    """Whether this replica may claim trees: others see it alive."""

    @property
    def held(self) -> bool:
        """Whether others still see this replica alive, by the caution of our own clock."""
        ...

    async def renew(self) -> None:
        """Says at once that the replica is alive; raises StoreUnavailable if that cannot be said."""
        ...


async def _quietly(work: "asyncio.Future[None] | object") -> None:
    """Does what is only a help: if the store is away it is done another time."""
    try:
        await work  # type: ignore[misc]
    except (StoreDown, Doubtful, Refused) as why:
        log.warning("a checkpoint was not saved", why=str(why))
