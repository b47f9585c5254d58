"""What the commands know of the stack on this machine: where it is, with which key, and what its budgets have left."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.chassis.channel import connect
from services.kernel.errors import TurnpikeError
from services.local import demo
from services.local.stack import KEY_SECRET, OPERATOR_SECRET, address_of
from services.local.state import StateFolder
from turnpike.budget.v1 import budget_admin_pb2
from turnpike.budget.v1.budget_admin_pb2_grpc import BudgetAdminServiceStub
from turnpike.router.v1 import router_pb2

BUDGETS_SHOWN = 3  # as many as the router tells
RPC_TIMEOUT_S = 2.0  # the answer is there already; what is left may be asked for later


@dataclass(frozen=True, slots=True)
class LocalStack:
    """The stack of a state folder that has a demo tenant."""

    router: str
    budget: str
    analytics: str
    key: str
    operator: str
    organisation_id: str

    @classmethod
    def of(cls, state: StateFolder) -> "LocalStack | None":
        """Return the folder's stack, or None if none with a demo ever ran there. It may be stopped."""
        router, budget, analytics = (address_of(state, name) for name in ("router", "budget", "analytics"))
        key, operator = state.kept_secret(KEY_SECRET), state.kept_secret(OPERATOR_SECRET)
        organisation_id = state.read(demo.FILE).get("organisation_id")
        if not (router and budget and analytics and key and operator and organisation_id):
            return None
        return cls(router, budget, analytics, key, operator, str(organisation_id))

    async def budgets_left(self) -> Sequence[router_pb2.BudgetRemaining]:
        """Return what the demo's tightest budgets have left, tightest first; nothing if that cannot be had now."""
        request = budget_admin_pb2.ListBudgetStatusesRequest(organisation_id=self.organisation_id)
        try:
            async with connect("budget", self.budget, token=self.operator) as budget:
                stub = BudgetAdminServiceStub(budget.channel)
                response = await budget.unary(stub.ListBudgetStatuses, request, timeout_s=RPC_TIMEOUT_S)
        except TurnpikeError:
            return ()
        statuses = sorted(response.statuses, key=lambda status: status.left / max(1, status.limit_in_force))
        return [
            router_pb2.BudgetRemaining(
                budget_id=status.budget.budget_id,
                display_name=status.budget.display_name,
                unit=status.budget.unit,
                limit=status.limit_in_force,
                left=status.left,
                resets_at=status.resets_at if status.HasField("resets_at") else None,
            )
            for status in statuses[:BUDGETS_SHOWN]
        ]
