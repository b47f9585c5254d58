"""The budget service, as the witness needs it."""

from typing import Final

from services.chassis.channel import Remote
from services.providers.domain.failure import ChargeRule, Failure
from turnpike.budget.v1 import budget_pb2, budget_pb2_grpc
from turnpike.common.v1 import money_pb2
from turnpike.providers.v1 import providers_pb2

TIMEOUT_S: Final = 5.0


class RemoteSettlements:
    """Settles by the attempt's key and its hold's lease."""

    def __init__(self, budget: Remote) -> None:
        self._budget = budget
        self._stub = budget_pb2_grpc.BudgetServiceStub(budget.channel)

    async def commit(self, attempt: providers_pb2.Attempt, failure: Failure) -> None:
        """Commits what `failure` says was consumed; releases the hold if nothing was sent.

        Raises TurnpikeError, also when the budget service is down; the same again does no harm.
        """
        if failure.charge == ChargeRule.CHARGE_RULE_NOTHING:
            await self._budget.unary(
                self._stub.Release,
                budget_pb2.ReleaseRequest(key=attempt.key, lease=attempt.hold_lease),
                timeout_s=TIMEOUT_S,
            )
            return
        settlement = budget_pb2.Settlement(
            outcome=budget_pb2.SettlementOutcome.SETTLEMENT_OUTCOME_UNKNOWN,
            vendor_request_id=failure.vendor_request_id,
            endpoint_id=attempt.endpoint_id,
            witness=True,
        )
        if failure.charge == ChargeRule.CHARGE_RULE_USAGE and failure.usage is not None:
            settlement.outcome = budget_pb2.SettlementOutcome.SETTLEMENT_OUTCOME_INTERRUPTED
            settlement.usage.CopyFrom(failure.usage)
            if failure.vendor_cost_nanos is not None:
                settlement.cost.CopyFrom(
                    money_pb2.Money(nanos=failure.vendor_cost_nanos, currency_code="USD")
                )
                settlement.cost_from_vendor = True
        await self._budget.unary(
            self._stub.Commit,
            budget_pb2.CommitRequest(key=attempt.key, settlement=settlement, lease=attempt.hold_lease),
            timeout_s=TIMEOUT_S,
        )
