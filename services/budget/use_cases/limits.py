"""What changes a limit for a while or by agreement: overrides, transfers, wishes for more."""

from dataclasses import dataclass, replace
from datetime import datetime

from services.budget.admin_ports import AdminStore, Selection, Writes
from services.budget.domain.admin import AdminCall, AdminChange, AuditRecord
from services.budget.domain.budgets import Unit
from services.budget.domain.entities import EntityState
from services.budget.domain.ids import AuditId, LimitRaiseId
from services.budget.domain.kinds import BUDGET, LIMIT_RAISE, OVERRIDE, scope_of
from services.budget.domain.limits import (
    LimitOverride,
    LimitRaise,
    LimitRaiseState,
    StoredBudget,
    WindowKind,
)
from services.budget.domain.standing import Standing
from services.budget.use_cases.access import permit
from services.budget.use_cases.entities import Page, changed, check_current, found, trail
from services.kernel.errors import InvalidRequest, NotFound, PreconditionFailed
from services.kernel.ids import OverrideId

# Windows whose limit is not one figure for a stretch of time: there is nothing to move.
_UNMOVABLE = (WindowKind.REQUEST, WindowKind.ROLLING)


@dataclass(frozen=True, slots=True)
class Transferred:
    """How both budgets stand after a transfer."""

    source: StoredBudget
    source_standing: Standing
    target: StoredBudget
    target_standing: Standing


class Limits:
    """Overrides, transfers and wishes for more."""

    def __init__(self, store: AdminStore) -> None:
        self._store = store

    async def override(
        self,
        budget_id: str,
        limit: int,
        starts_at: datetime | None,
        ends_at: datetime,
        reason: str,
        change: AdminChange,
    ) -> LimitOverride:
        """Another limit from `starts_at` (or now) until `ends_at`. The owner begins and ends it by the clock."""

        async def work(writes: Writes) -> LimitOverride:
            if ends_at <= max(change.at, starts_at or change.at):
                raise InvalidRequest.of("override.ends_at", "must lie in the future and after starts_at")
            budget = await found(writes, change, BUDGET, budget_id)
            check_current(BUDGET, budget, None)
            return await _override(writes, change, budget, limit, starts_at or change.at, ends_at, reason)

        return await self._store.once(change, LimitOverride, work)

    async def overrides(self, budget_id: str, selection: Selection, call: AdminCall) -> Page[LimitOverride]:
        """A budget's overrides, newest first."""
        async with self._store.reading() as reads:
            budget = await found(reads, call, BUDGET, budget_id)
            chosen = replace(
                selection, organisation_id=budget.organisation_id, team_id=None, count=selection.count + 1
            )
            overrides = await reads.select(OVERRIDE, chosen)
        return Page(overrides[: selection.count], len(overrides) > selection.count)

    async def revoke_override(self, override_id: str, change: AdminChange) -> LimitOverride:
        """The override, taken back. Again: changes nothing."""

        async def work(writes: Writes) -> LimitOverride:
            before = await writes.find(OVERRIDE, override_id)
            if before is None:
                raise NotFound(OVERRIDE.label, override_id)
            budget = await writes.find(BUDGET, before.budget_id)
            assert budget is not None, "nothing outlives its budget"
            permit(change, scope_of(budget), OVERRIDE.label, override_id)
            if before.revoked_at is not None:
                return before
            after = replace(before, revoked_at=change.at)
            await writes.update(OVERRIDE, after)
            await trail(writes, change, OVERRIDE, before, after)
            await writes.put_in_force([budget])
            return after

        return await self._store.once(change, LimitOverride, work)

    async def transfer(
        self, source_id: str, target_id: str, amount: int, reason: str, change: AdminChange
    ) -> Transferred:
        """Moves a part of one budget's limit of its present window to another's of the same organisation and unit.

        Raises PreconditionFailed if that much is not left; nobody holds from either meanwhile.
        """

        async def work(writes: Writes) -> Transferred:
            budgets = {
                budget_id: await found(writes, change, BUDGET, budget_id)
                for budget_id in sorted({source_id, target_id})
            }
            source, target = budgets[source_id], budgets[target_id]
            _check_transfer(source, target)
            (standing,) = await writes.standings([source], change.at)
            if amount > standing.left:
                raise PreconditionFailed(
                    f"The budget {source_id} has {standing.left} left, less than the {amount} to move."
                )
            await writes.transfer(source, target, amount, reason, change.at)
            for budget in (source, target):
                await writes.record(_moved(change, budget, source_id, target_id, amount, reason))
            await writes.put_in_force([source, target])
            after = await writes.standings([source, target], change.at)
            return Transferred(source, after[0], target, after[1])

        return await self._store.once(change, Transferred, work)

    async def request_raise(
        self, budget_id: str, limit: int, ends_at: datetime | None, reason: str, change: AdminChange
    ) -> LimitRaise:
        """Keeps a wish for more, for an organisation admin to answer."""

        async def work(writes: Writes) -> LimitRaise:
            budget = await found(writes, change, BUDGET, budget_id)
            check_current(BUDGET, budget, None)
            if ends_at is not None and ends_at <= change.at:
                raise InvalidRequest.of("limit_raise.ends_at", "must lie in the future")
            wish = LimitRaise(
                limit_raise_id=LimitRaiseId.new(),
                budget_id=budget.budget_id,
                organisation_id=budget.organisation_id,
                team_id=budget.team_id,
                limit=limit,
                ends_at=ends_at,
                reason=reason,
                created_by=change.admin.admin_token_id,
                created_at=change.at,
            )
            await writes.insert(LIMIT_RAISE, wish)
            await trail(writes, change, LIMIT_RAISE, None, wish)
            return wish

        return await self._store.once(change, LimitRaise, work)

    async def approve(self, limit_raise_id: str, answer: str, change: AdminChange) -> LimitRaise:
        """Grants a wish: by an override if it has an end, else by the budget's limit."""

        async def work(writes: Writes) -> LimitRaise:
            wish, budget = await _pending(writes, change, limit_raise_id)
            check_current(BUDGET, budget, None)
            if wish.ends_at is not None:
                if wish.ends_at <= change.at:
                    raise PreconditionFailed(f"The time for which {limit_raise_id} asked is over.")
                await _override(writes, change, budget, wish.limit, change.at, wish.ends_at, wish.reason)
            else:
                raised = changed(budget, {"limit": wish.limit})
                await writes.update(BUDGET, raised)
                await trail(writes, change, BUDGET, budget, raised)
                await writes.put_in_force([raised])
            return await _answer(writes, change, wish, LimitRaiseState.APPROVED, answer)

        return await self._store.once(change, LimitRaise, work)

    async def deny(self, limit_raise_id: str, answer: str, change: AdminChange) -> LimitRaise:
        """Turns a wish down."""

        async def work(writes: Writes) -> LimitRaise:
            wish, _ = await _pending(writes, change, limit_raise_id)
            return await _answer(writes, change, wish, LimitRaiseState.DENIED, answer)

        return await self._store.once(change, LimitRaise, work)


async def _override(
    writes: Writes,
    change: AdminChange,
    budget: StoredBudget,
    limit: int,
    starts_at: datetime,
    ends_at: datetime,
    reason: str,
) -> LimitOverride:
    override = LimitOverride(
        override_id=OverrideId.new(),
        budget_id=budget.budget_id,
        organisation_id=budget.organisation_id,
        team_id=budget.team_id,
        limit=limit,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason,
        created_by=change.admin.admin_token_id,
        created_at=change.at,
    )
    await writes.insert(OVERRIDE, override)
    await trail(writes, change, OVERRIDE, None, override)
    await writes.put_in_force([budget])
    return override


def _check_transfer(source: StoredBudget, target: StoredBudget) -> None:
    if source.organisation_id != target.organisation_id or source.unit is not target.unit:
        raise PreconditionFailed("Both budgets of a transfer must be of one organisation and one unit.")
    for budget in (source, target):
        if budget.window.kind in _UNMOVABLE or budget.unit is Unit.CONCURRENCY:
            raise PreconditionFailed(f"The limit of {budget.budget_id} has no window to move a part of.")
        if budget.state is not EntityState.ACTIVE:
            raise PreconditionFailed(f"The budget {budget.budget_id} is not active.")


def _moved(
    change: AdminChange, budget: StoredBudget, source_id: str, target_id: str, amount: int, reason: str
) -> AuditRecord:
    return AuditRecord(
        audit_id=AuditId.new(),
        occurred_at=change.at,
        admin_token_id=change.admin.admin_token_id,
        method=change.method,
        entity_id=budget.budget_id,
        organisation_id=budget.organisation_id,
        team_id=budget.team_id,
        before=None,
        after=Movement(source_id, target_id, amount, reason),
        change_request_id=change.request_id,
    )


@dataclass(frozen=True, slots=True)
class Movement:
    """A transfer, as the trail has it."""

    from_budget_id: str
    to_budget_id: str
    amount: int
    reason: str


async def _pending(
    writes: Writes, change: AdminChange, limit_raise_id: str
) -> tuple[LimitRaise, StoredBudget]:
    wish = await writes.find(LIMIT_RAISE, limit_raise_id)
    if wish is None:
        raise NotFound(LIMIT_RAISE.label, limit_raise_id)
    budget = await writes.find(BUDGET, wish.budget_id)
    assert budget is not None, "nothing outlives its budget"
    permit(change, scope_of(budget), LIMIT_RAISE.label, limit_raise_id)
    if wish.state is not LimitRaiseState.PENDING:
        raise PreconditionFailed(f"{limit_raise_id} was answered before: {wish.state.name.lower()}.")
    return wish, budget


async def _answer(
    writes: Writes, change: AdminChange, wish: LimitRaise, state: LimitRaiseState, answer: str
) -> LimitRaise:
    after = replace(wish, state=state, answered_by=change.admin.admin_token_id, answer=answer)
    await writes.update(LIMIT_RAISE, after)
    await trail(writes, change, LIMIT_RAISE, wish, after)
    return after
