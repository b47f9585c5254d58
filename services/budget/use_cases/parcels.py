"""Operations on their way to a tree's owner: they wait in order, and are taken a batch at a time."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.budget.domain.operations import Answer, Ask
from services.kernel.errors import TurnpikeError

BATCH_MAX = 1000
"""Operations decided in one statement: more only makes the first of them wait."""
QUEUED_MAX = 20_000
"""Operations that wait for one tree; beyond it nobody would be answered in time."""
GATHER_SHARE = 1.0
"""A batch gathers after the one before for so many times as long as that one took to be written."""
GATHER_S_MAX = 0.004
"""A store that is slow for a moment must not make the next batch wait for it once more."""
GATHERED = 64
"""Operations that are company enough: more of them make a batch hardly cheaper by the piece."""
HALVED_FROM = 256
"""Operations that are worth two batches."""
PARCEL_MAX = 64
"""Operations in one parcel, so that a batch can be halved between parcels."""

Outcome = Answer | TurnpikeError


@dataclass(slots=True)
class Parcel:
    """Operations of one organisation that came together, and where their outcomes go."""

    asks: Sequence[Ask]
    deadlines: Sequence[float]
    """Moments of time.monotonic(); an operation that is late already is not begun."""
    done: Callable[[Sequence[Outcome]], None]
    """Called once, in the event loop; it must not raise."""
    answered: bool = False

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        """Tells the outcomes, unless somebody has told something before."""
        if not self.answered:
            self.answered = True
            self.done(outcomes)

    def refuse(self, why: TurnpikeError) -> None:
        """Tells the same of all of them."""
        self.answer([why] * len(self.asks))


class Intake:
    """What waits for one owner, who alone takes from it."""

    def __init__(self) -> None:
        self._parcels: deque[Parcel] = deque()
        self._operations = 0
        self._work = asyncio.Event()
        self._gather_until = 0.0
        """A moment of time.monotonic(), until which the next batch waits for company."""
        self._gathering: asyncio.Future[None] | None = None
        self._in_step = True
        """Nothing came while the last batch was written: everybody waits for the same batch."""
        self._closed = False

    def __len__(self) -> int:
        """Operations that wait."""
        return self._operations

    def put(self, parcel: Parcel) -> None:
        """Adds to what waits."""
        self._parcels.append(parcel)
        self._operations += len(parcel.asks)
        self._work.set()
        if self._operations >= GATHERED:
            self._end_gathering()

    def close(self) -> None:
        """Nobody waits for more any longer."""
        self._closed = True
        self._work.set()
        self._end_gathering()

    async def wait(self, timeout_s: float | None) -> None:
        """Waits until there is something, or for so many seconds."""
        if self._parcels or self._closed:
            return
        self._work.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._work.wait()
        except TimeoutError:
            return

    async def gather(self) -> None:
        """Waits a moment for company if the last batch was just now: every batch costs the store and the callers'
        streams the same, however few are in it. Who comes after a pause waits for nobody."""
        pause_s = self._gather_until - time.monotonic()
        if pause_s <= 0 or self._operations >= GATHERED or self._closed:
            return
        loop = asyncio.get_running_loop()
        self._gathering = loop.create_future()
        timer = loop.call_later(pause_s, self._end_gathering)
        try:
            await self._gathering
        finally:
            timer.cancel()
            self._gathering = None

    def written_in(self, seconds: float) -> None:
        """A batch has just been written, which took so long."""
        self._gather_until = time.monotonic() + min(GATHER_S_MAX, GATHER_SHARE * seconds)
        self._in_step = not self._parcels

    def take(self) -> list[Parcel]:
        """What makes up the next batch: all that waits. Where callers have fallen into step, half of it: then they,
        the owner and the store, each of which would wait for the others, have something to do at the same time."""
        wanted = BATCH_MAX
        if self._in_step and self._operations >= HALVED_FROM:
            wanted = min(BATCH_MAX, self._operations // 2)
        parcels, operations = [], 0
        while self._parcels and operations < wanted:
            parcel = self._parcels.popleft()
            operations += len(parcel.asks)
            parcels.append(parcel)
        self._operations -= operations
        return parcels

    def drain(self) -> list[Parcel]:
        """All of it."""
        parcels = list(self._parcels)
        self._parcels.clear()
        self._operations = 0
        return parcels

    def _end_gathering(self) -> None:
        if self._gathering is not None and not self._gathering.done():
            self._gathering.set_result(None)
