"""Streams how budgets stand: all of them first, then each as it changes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from services.budget.admin_ports import AdminStore, Selection
from services.budget.domain.admin import AdminCall
from services.budget.domain.kinds import BUDGET
from services.budget.use_cases.budgets import Status, statuses_of
from services.budget.use_cases.directory import authenticate_admin
from services.budget.use_cases.entities import found
from services.kernel.clock import Clock

# Each budget is sent at most this often, in seconds; also how late a change is shown at most.
WATCH_S = 0.1
# An empty message says that the stream lives; as often the caller's token is looked at again, and what time alone
# changes (a window that ends, an override that begins) is seen.
HEARTBEAT_S = 1.0
WATCHED_MAX = 1000
# After a long look, at many budgets of a busy tree, a watch pauses longer: up to a quarter of a second.
PAUSE_TIMES = 10


class BudgetWatch:
    """Looks on behalf of any number of watchers."""

    def __init__(self, store: AdminStore, clock: Clock, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._store = store
        self._clock = clock

    async def follow(
        self, call: AdminCall, selection: Selection, budget_ids: Sequence[str]
    ) -> AsyncIterator[Sequence[Status]]:
        """Statuses that changed since the last batch; an empty one at least once a second.

        Ends when the process drains. Raises NotFound for a named budget that the caller may not see, CredentialsRevoked
        once his token is, and StoreUnavailable while Postgres does not answer.
        """
        assert selection.organisation_id is not None, "one organisation is watched at a time"
        shown: dict[str, Status] = {}
        mark: tuple[int, int] | None = None
        looked_s = spoken_s = float("-inf")
        while not self._stopping.is_set():
            now_s = self._clock.monotonic_s()
            due = now_s - looked_s >= HEARTBEAT_S
            if due:
                await authenticate_admin(self._store, self._clock, call.admin.secret_hash)
            async with self._store.reading() as reads:
                present = await reads.tree_mark(selection.organisation_id)
                if present != mark or due:
                    mark, looked_s = present, now_s
                    if budget_ids:
                        budgets = [await found(reads, call, BUDGET, budget_id) for budget_id in budget_ids]
                    else:
                        budgets = await reads.select(BUDGET, replace(selection, count=WATCHED_MAX))
                    statuses = await statuses_of(reads, budgets, self._clock.now())
                    changed = [s for s in statuses if _differs(shown.get(s.budget.budget_id), s)]
                    shown = {status.budget.budget_id: status for status in statuses}
                else:
                    changed = []
            if changed or now_s - spoken_s >= HEARTBEAT_S:
                spoken_s = now_s
                yield changed
            took_s = self._clock.monotonic_s() - now_s
            await asyncio.sleep(min(HEARTBEAT_S / 4, max(WATCH_S, PAUSE_TIMES * took_s)))


def _differs(before: Status | None, after: Status) -> bool:
    """Whether it stands differently; the rate alone, which changes with each look, is no news."""
    if before is None or before.budget != after.budget:
        return True
    return replace(before.standing, sequence=after.standing.sequence) != after.standing
