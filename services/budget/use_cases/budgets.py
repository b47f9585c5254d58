"""Budgets: made, changed and archived, each change in force for every hold decided after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.budget.admin_ports import AdminStore, Reads, Selection, Writes
from services.budget.domain.admin import AdminCall, AdminChange
from services.budget.domain.budgets import SubjectKind, Unit
from services.budget.domain.burn import Burn, burn
from services.budget.domain.entities import EntityState
from services.budget.domain.kinds import BUDGET, ORGANISATION, SUBJECTS, scope_of
from services.budget.domain.limits import StoredBudget, WindowForm, WindowKind
from services.budget.domain.standing import Standing
from services.budget.use_cases.access import permit
from services.budget.use_cases.entities import (
    Fields,
    Update,
    changed,
    check_current,
    found,
    found_parent,
    trail,
)
from services.kernel.clock import Clock
from services.kernel.errors import InvalidRequest, NotFound
from services.kernel.ids import BudgetId

# How far back the rate of a budget looks.
SAMPLES_SINCE = timedelta(hours=25)


@dataclass(frozen=True, slots=True)
class Status:
    """A budget, how it stands, and how fast it is spent."""

    budget: StoredBudget
    standing: Standing
    burn: Burn


async def statuses_of(reads: Reads, budgets: Sequence[StoredBudget], now: datetime) -> list[Status]:
    """How budgets of one organisation stand now, as of the last commit."""
    standings = await reads.standings(budgets, now)
    samples = await reads.samples(budgets, now - SAMPLES_SINCE)
    return [
        Status(budget, standing, burn(budget.window.window(), standing, samples[budget.budget_id], now))
        for budget, standing in zip(budgets, standings, strict=True)
    ]


class Budgets:
    """Limits and how they stand."""

    def __init__(self, store: AdminStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, new: Fields, change: AdminChange) -> StoredBudget:
        """A new budget, empty, in force at once. Raises NotFound for a subject the caller may not see."""

        async def work(writes: Writes) -> StoredBudget:
            subject_kind: SubjectKind = new["subject_kind"]
            subject = await found_parent(writes, change, SUBJECTS[subject_kind], str(new["subject_id"]))
            organisation = await writes.find(ORGANISATION, subject.organisation_id)
            assert organisation is not None, "nothing outlives its organisation"
            given: dict[str, Any] = dict(new)
            given["window"] = settled(new["window"], organisation.time_zone, change.at)
            budget = StoredBudget(
                budget_id=BudgetId.new(),
                organisation_id=subject.organisation_id,
                team_id=getattr(subject, "team_id", None),
                counts_since=change.at,
                created_at=change.at,
                **given,
            )
            permit(change, scope_of(budget), BUDGET.label, "")
            await writes.insert(BUDGET, budget)
            await trail(writes, change, BUDGET, None, budget)
            await writes.put_in_force([budget])
            return budget

        return await self._store.once(change, StoredBudget, work)

    async def update(self, update: Update, change: AdminChange) -> StoredBudget:
        """The budget with its changes. Another window begins anew, empty. Raises EtagMismatch."""

        async def work(writes: Writes) -> StoredBudget:
            before = await found(writes, change, BUDGET, update.entity_id)
            check_current(BUDGET, before, update.version)
            changes = dict(update.changes)
            if "window" in changes:
                if before.unit is Unit.CONCURRENCY and changes["window"].kind is not WindowKind.LIFETIME:
                    raise InvalidRequest.of("budget.window", "must be absent: concurrency has none")
                organisation = await writes.find(ORGANISATION, before.organisation_id)
                assert organisation is not None, "nothing outlives its organisation"
                changes["window"] = settled(changes["window"], organisation.time_zone, change.at)
                if changes["window"] != before.window:
                    changes["counts_since"] = change.at
            after = changed(before, changes)
            return await self._keep(writes, change, before, after)

        return await self._store.once(change, StoredBudget, work)

    async def archive(self, budget_id: str, version: int | None, change: AdminChange) -> StoredBudget:
        """The budget, archived: it no longer refuses. Again: changes nothing."""

        async def work(writes: Writes) -> StoredBudget:
            before = await found(writes, change, BUDGET, budget_id)
            if before.state is EntityState.ARCHIVED:
                return before
            check_current(BUDGET, before, version)
            return await self._keep(writes, change, before, changed(before, {"state": EntityState.ARCHIVED}))

        return await self._store.once(change, StoredBudget, work)

    async def _keep(
        self, writes: Writes, change: AdminChange, before: StoredBudget, after: StoredBudget
    ) -> StoredBudget:
        await writes.update(BUDGET, after)
        await trail(writes, change, BUDGET, before, after)
        await writes.put_in_force([after])
        return after

    async def status(self, budget_id: str, call: AdminCall) -> Status:
        """The budget and how it stands now, as of the last commit."""
        async with self._store.reading() as reads:
            budget = await found(reads, call, BUDGET, budget_id)
            (status,) = await statuses_of(reads, [budget], self._clock.now())
        return status

    async def statuses(self, selection: Selection) -> tuple[list[Status], bool]:
        """How a page of an organisation's budgets stand, and whether others follow."""
        if selection.organisation_id is None:
            raise NotFound(ORGANISATION.label, "")
        async with self._store.reading() as reads:
            budgets = await reads.select(BUDGET, selection)
            statuses = await statuses_of(reads, budgets, self._clock.now())
        return statuses, len(budgets) == selection.count


def settled(window: WindowForm, time_zone: str, at: datetime) -> WindowForm:
    """`window` with what was left open: the organisation's time zone, and an anchor now."""
    match window:
        case WindowForm(kind=WindowKind.CALENDAR, period=period, time_zone=None, start_day=day):
            return WindowForm(kind=WindowKind.CALENDAR, period=period, time_zone=time_zone, start_day=day)
        case WindowForm(kind=WindowKind.FIXED, length=length, anchor=None):
            return WindowForm(kind=WindowKind.FIXED, length=length, anchor=at)
    return window
