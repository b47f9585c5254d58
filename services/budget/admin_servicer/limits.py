"""RPCs for overrides, transfers and wishes for more."""

from services.budget.admin_servicer.calls import asking, changing
from services.budget.admin_servicer.entities import list_page
from services.budget.convert_budgets import to_pb_status
from services.budget.convert_entities import (
    check_named,
    check_request_id,
    from_pb_page,
    from_pb_timestamp,
    to_pb_entity,
    to_pb_page_token,
)
from services.budget.domain.checks import REASON_LENGTH_MAX, Checks
from services.budget.domain.kinds import LIMIT_RAISE, OVERRIDE
from services.budget.use_cases.access import selection
from services.budget.use_cases.entities import Entities
from services.budget.use_cases.limits import Limits
from services.kernel.clock import Clock
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_admin_pb2_grpc


class LimitRpcs(budget_admin_pb2_grpc.BudgetAdminServiceServicer):
    """Overrides, transfers, wishes for more."""

    def __init__(self, entities: Entities, limits: Limits, clock: Clock) -> None:
        self._entities = entities
        self._limits = limits
        self._clock = clock

    async def CreateBudgetOverride(
        self, request: pb.CreateBudgetOverrideRequest, context: object
    ) -> pb.CreateBudgetOverrideResponse:
        checks, given = Checks(), request.override
        check_request_id(checks, request)
        checks.require(bool(given.budget_id), "override.budget_id", "is required")
        limit = checks.amount("override.limit", given.limit)
        reason = checks.line("override.reason", given.reason, length_max=REASON_LENGTH_MAX)
        starts_at = from_pb_timestamp(
            checks, "override.starts_at", given.starts_at if given.HasField("starts_at") else None
        )
        checks.require(given.HasField("ends_at"), "override.ends_at", "is required")
        ends_at = from_pb_timestamp(checks, "override.ends_at", given.ends_at)
        checks.done()
        assert ends_at is not None, "a time that is none was found wrong"
        override = await self._limits.override(
            given.budget_id, limit, starts_at, ends_at, reason, changing(request, self._clock)
        )
        return pb.CreateBudgetOverrideResponse(override=to_pb_entity(override, pb.BudgetOverride))

    async def ListBudgetOverrides(
        self, request: pb.ListBudgetOverridesRequest, context: object
    ) -> pb.ListBudgetOverridesResponse:
        checks = Checks()
        after, count = from_pb_page(checks, request)
        checks.require(bool(request.budget_id), "budget_id", "is required")
        checks.done()
        call = asking()
        chosen = selection(
            call, organisation_id=None, after=after, page_size=count, parent_id=request.budget_id
        )
        page = await self._limits.overrides(request.budget_id, chosen, call)
        last = page.entities[-1].override_id if page.entities else ""
        return pb.ListBudgetOverridesResponse(
            overrides=[to_pb_entity(override, pb.BudgetOverride) for override in page.entities],
            next_page_token=to_pb_page_token(last, more=page.more),
        )

    async def RevokeBudgetOverride(
        self, request: pb.RevokeBudgetOverrideRequest, context: object
    ) -> pb.RevokeBudgetOverrideResponse:
        checks = Checks()
        check_named(checks, request, OVERRIDE)
        checks.done()
        override = await self._limits.revoke_override(request.override_id, changing(request, self._clock))
        return pb.RevokeBudgetOverrideResponse(override=to_pb_entity(override, pb.BudgetOverride))

    async def TransferBudget(
        self, request: pb.TransferBudgetRequest, context: object
    ) -> pb.TransferBudgetResponse:
        checks = Checks()
        check_request_id(checks, request)
        checks.require(bool(request.from_budget_id), "from_budget_id", "is required")
        good = bool(request.to_budget_id) and request.to_budget_id != request.from_budget_id
        checks.require(good, "to_budget_id", "is required, and another than from_budget_id")
        amount = checks.amount("amount", request.amount, least=1)
        reason = checks.line("reason", request.reason, length_max=REASON_LENGTH_MAX)
        checks.done()
        done = await self._limits.transfer(
            request.from_budget_id, request.to_budget_id, amount, reason, changing(request, self._clock)
        )
        answer = pb.TransferBudgetResponse(to=to_pb_status(done.target, done.target_standing))
        getattr(answer, "from").CopyFrom(to_pb_status(done.source, done.source_standing))
        return answer

    async def RequestLimitRaise(
        self, request: pb.RequestLimitRaiseRequest, context: object
    ) -> pb.RequestLimitRaiseResponse:
        checks, given = Checks(), request.limit_raise
        check_request_id(checks, request)
        checks.require(bool(given.budget_id), "limit_raise.budget_id", "is required")
        limit = checks.amount("limit_raise.limit", given.limit)
        reason = checks.line("limit_raise.reason", given.reason, length_max=REASON_LENGTH_MAX)
        ends_at = from_pb_timestamp(
            checks, "limit_raise.ends_at", given.ends_at if given.HasField("ends_at") else None
        )
        checks.done()
        wish = await self._limits.request_raise(
            given.budget_id, limit, ends_at, reason, changing(request, self._clock)
        )
        return pb.RequestLimitRaiseResponse(limit_raise=to_pb_entity(wish, pb.LimitRaise))

    async def ListLimitRaises(
        self, request: pb.ListLimitRaisesRequest, context: object
    ) -> pb.ListLimitRaisesResponse:
        checks = Checks()
        known = request.state in pb.LimitRaiseState.values()
        checks.require(known, "state", "must be PENDING, APPROVED or DENIED, or left out")
        checks.done()
        page, token = await list_page(
            self._entities, LIMIT_RAISE, request, pb.LimitRaise, state=request.state, newest_first=True
        )
        return pb.ListLimitRaisesResponse(limit_raises=page, next_page_token=token)

    async def ApproveLimitRaise(
        self, request: pb.ApproveLimitRaiseRequest, context: object
    ) -> pb.ApproveLimitRaiseResponse:
        wish = await self._limits.approve(
            request.limit_raise_id, _answer(request), changing(request, self._clock)
        )
        return pb.ApproveLimitRaiseResponse(limit_raise=to_pb_entity(wish, pb.LimitRaise))

    async def DenyLimitRaise(
        self, request: pb.DenyLimitRaiseRequest, context: object
    ) -> pb.DenyLimitRaiseResponse:
        wish = await self._limits.deny(
            request.limit_raise_id, _answer(request), changing(request, self._clock)
        )
        return pb.DenyLimitRaiseResponse(limit_raise=to_pb_entity(wish, pb.LimitRaise))


def _answer(request: pb.ApproveLimitRaiseRequest | pb.DenyLimitRaiseRequest) -> str:
    checks = Checks()
    check_named(checks, request, LIMIT_RAISE)
    good = len(request.answer) <= REASON_LENGTH_MAX
    checks.require(good, "answer", f"has more than {REASON_LENGTH_MAX} characters")
    checks.done()
    return request.answer
