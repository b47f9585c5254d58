"""RPCs for budgets and how they stand."""

from collections.abc import AsyncIterator

from services.budget import convert_budgets as convert
from services.budget.admin_servicer.calls import asking, changing
from services.budget.convert_entities import check_text, from_pb_archive, from_pb_page, to_pb_page_token
from services.budget.domain.checks import Checks
from services.budget.domain.kinds import BUDGET
from services.budget.use_cases.access import selection
from services.budget.use_cases.budgets import Budgets, Status
from services.budget.use_cases.entities import Entities
from services.budget.use_cases.watching import WATCHED_MAX, BudgetWatch
from services.kernel.clock import Clock
from services.kernel.ids import OrganisationId
from turnpike.budget.v1 import budget_admin_pb2 as pb
from turnpike.budget.v1 import budget_admin_pb2_grpc
from turnpike.budget.v1 import entities_pb2 as pb_entities


class BudgetRpcs(budget_admin_pb2_grpc.BudgetAdminServiceServicer):
    """Budgets and how they stand."""

    def __init__(self, entities: Entities, budgets: Budgets, watch: BudgetWatch, clock: Clock) -> None:
        self._entities = entities
        self._budgets = budgets
        self._watch = watch
        self._clock = clock

    async def CreateBudget(self, request: pb.CreateBudgetRequest, context: object) -> pb.CreateBudgetResponse:
        new = convert.from_pb_new_budget(request)
        budget = await self._budgets.create(new, changing(request, self._clock))
        return pb.CreateBudgetResponse(budget=convert.to_pb_budget(budget))

    async def GetBudget(self, request: pb.GetBudgetRequest, context: object) -> pb.GetBudgetResponse:
        budget = await self._entities.get(BUDGET, request.budget_id, asking())
        return pb.GetBudgetResponse(budget=convert.to_pb_budget(budget))

    async def ListBudgets(self, request: pb.ListBudgetsRequest, context: object) -> pb.ListBudgetsResponse:
        checks = Checks()
        after, count = from_pb_page(checks, request)
        organisation_id = checks.optional_id("organisation_id", OrganisationId, request.organisation_id)
        subject_id = convert.from_pb_optional_subject(checks, request)
        checks.done()
        page = await self._entities.list(
            BUDGET,
            selection(
                asking(),
                organisation_id=organisation_id,
                after=after,
                page_size=count,
                include_archived=request.include_archived,
                parent_id=subject_id,
            ),
        )
        return pb.ListBudgetsResponse(
            budgets=[convert.to_pb_budget(budget) for budget in page.entities],
            next_page_token=to_pb_page_token(
                page.entities[-1].budget_id if page.entities else "", more=page.more
            ),
        )

    async def UpdateBudget(self, request: pb.UpdateBudgetRequest, context: object) -> pb.UpdateBudgetResponse:
        update = convert.from_pb_budget_update(request)
        budget = await self._budgets.update(update, changing(request, self._clock))
        return pb.UpdateBudgetResponse(budget=convert.to_pb_budget(budget))

    async def ArchiveBudget(
        self, request: pb.ArchiveBudgetRequest, context: object
    ) -> pb.ArchiveBudgetResponse:
        budget_id, version = from_pb_archive(request, BUDGET)
        budget = await self._budgets.archive(budget_id, version, changing(request, self._clock))
        return pb.ArchiveBudgetResponse(budget=convert.to_pb_budget(budget))

    async def GetBudgetStatus(
        self, request: pb.GetBudgetStatusRequest, context: object
    ) -> pb.GetBudgetStatusResponse:
        status = await self._budgets.status(request.budget_id, asking())
        return pb.GetBudgetStatusResponse(status=to_pb_status(status))

    async def ListBudgetStatuses(
        self, request: pb.ListBudgetStatusesRequest, context: object
    ) -> pb.ListBudgetStatusesResponse:
        checks = Checks()
        after, count = from_pb_page(checks, request)
        organisation_id = checks.optional_id("organisation_id", OrganisationId, request.organisation_id)
        subject_id = convert.from_pb_optional_subject(checks, request)
        checks.done()
        chosen = selection(
            asking(), organisation_id=organisation_id, after=after, page_size=count, parent_id=subject_id
        )
        if chosen.organisation_id is None:
            checks.wrong("organisation_id", "is required for operators")
            checks.done()
        statuses, more = await self._budgets.statuses(chosen)
        return pb.ListBudgetStatusesResponse(
            statuses=[to_pb_status(status) for status in statuses],
            next_page_token=to_pb_page_token(statuses[-1].budget.budget_id if statuses else "", more=more),
        )

    async def WatchBudgets(
        self, request: pb.WatchBudgetsRequest, context: object
    ) -> AsyncIterator[pb.WatchBudgetsResponse]:
        checks = Checks()
        check_text(checks, request)
        organisation_id = checks.optional_id("organisation_id", OrganisationId, request.organisation_id)
        good = len(request.budget_ids) <= WATCHED_MAX
        checks.require(good, "budget_ids", f"must be at most {WATCHED_MAX}")
        checks.done()
        call = asking()
        chosen = selection(call, organisation_id=organisation_id, after="", page_size=WATCHED_MAX)
        if chosen.organisation_id is None:
            checks.wrong("organisation_id", "is required for operators")
            checks.done()
        async for statuses in self._watch.follow(call, chosen, tuple(request.budget_ids)):
            yield pb.WatchBudgetsResponse(statuses=[to_pb_status(status) for status in statuses])


def to_pb_status(status: Status) -> pb_entities.BudgetStatus:
    """How a budget stands, and how fast it is spent."""
    return convert.to_pb_status(status.budget, status.standing, status.burn)
