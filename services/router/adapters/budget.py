"""Holds and settles at the budget service: operations in batches over one stream.

When the budget service is away an operation fails within half a second with ServiceUnavailable; nothing is dispatched
without a granted hold. A settlement is repeated until it is answered (use_cases/settle.py).
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from services.chassis.batch_client import BatchClient
from services.chassis.channel import Remote
from services.chassis.status import RemoteError
from services.kernel.errors import Cancelled, OutcomeUnknown
from services.router.convert_budget import (
    fill_pb_key,
    fill_pb_settlement,
    fill_pb_terms,
    from_pb_grant,
    from_pb_receipt,
    from_pb_refusal,
    from_remote_refusal,
    to_pb_key,
)
from services.router.errors import BudgetRefused
from services.router.ports import (
    AttemptKey,
    Charge,
    Grant,
    HoldState,
    HoldTerms,
    Receipt,
    Settlement,
)
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceStub
from turnpike.common.v1 import error_pb2

if TYPE_CHECKING:
    from turnpike.budget.v1.budget_pb2_grpc import BudgetServiceAsyncStub

OPERATION_TIMEOUT_S = 5.0
"""A hold takes milliseconds; a budget service that needs longer than this is as good as away."""

CALLS = {
    "hold": "Hold",
    "commit": "Commit",
    "release": "Release",
    "commit_and_hold": "CommitAndHold",
    "extend_amount": "ExtendAmount",
    "renew_lease": "RenewLease",
}
"""The unary RPC of each operation."""

Client = BatchClient[pb.ApplyOperation, pb.ApplyResult]


class RemoteHolds:
    """The `Holds` port over BudgetService.Apply."""

    def __init__(self, client: Client, stub: "BudgetServiceAsyncStub", remote: Remote) -> None:
        self._client = client
        self._stub = stub
        self._remote = remote

    async def hold(self, key: AttemptKey, terms: HoldTerms) -> Grant:
        operation = pb.ApplyOperation()
        fill_pb_key(operation.hold.key, key)
        fill_pb_terms(operation.hold.terms, terms)
        result = await self._apply(operation)
        return from_pb_grant(result.hold.grant)

    async def settle(self, key: AttemptKey, settlement: Settlement) -> Receipt:
        operation = pb.ApplyOperation()
        if isinstance(settlement, Charge):
            fill_pb_key(operation.commit.key, key)
            fill_pb_settlement(operation.commit.settlement, settlement)
            result = await self._apply(operation)
            return from_pb_receipt(result.commit.receipt)
        fill_pb_key(operation.release.key, key)
        operation.release.reason = settlement.reason
        operation.release.claim = settlement.claim
        await self._apply(operation)
        return Receipt(0)

    async def settle_and_hold(
        self, key: AttemptKey, settlement: Settlement, next_attempt: int, terms: HoldTerms
    ) -> tuple[Receipt, Grant | BudgetRefused]:
        operation = pb.ApplyOperation()
        request = operation.commit_and_hold
        fill_pb_key(request.key, key)
        request.next_attempt = next_attempt
        fill_pb_terms(request.next_terms, terms)
        if isinstance(settlement, Charge):
            fill_pb_settlement(request.commit, settlement)
        else:
            request.release_reason = settlement.reason
        result = await self._apply(operation)
        answer = result.commit_and_hold
        receipt = from_pb_receipt(answer.receipt)
        if answer.WhichOneof("next") == "grant":
            return receipt, from_pb_grant(answer.grant)
        refused = from_pb_refusal(answer.refusal)
        if isinstance(refused, OutcomeUnknown):
            raise refused
        return receipt, refused

    async def renew(self, keys: Sequence[AttemptKey], lease_s: float) -> Sequence[AttemptKey]:
        lease = Duration()
        lease.FromNanoseconds(int(lease_s * 1e9))
        request = pb.RenewLeaseRequest(keys=[to_pb_key(key) for key in keys], lease=lease)
        result = await self._apply(pb.ApplyOperation(renew_lease=request))
        return [
            AttemptKey(key.organisation_id, key.request_id, key.attempt)
            for key in result.renew_lease.not_open
        ]

    async def extend(self, key: AttemptKey, extension: int, output_tokens: int) -> Grant:
        request = pb.ExtendAmountRequest(key=to_pb_key(key), extension=extension, output_tokens=output_tokens)
        result = await self._apply(pb.ApplyOperation(extend_amount=request))
        return from_pb_grant(result.extend_amount.grant)

    async def state_of(self, key: AttemptKey) -> HoldState | None:
        request = pb.GetHoldRequest(key=to_pb_key(key))
        try:
            answer = await self._remote.unary(self._stub.GetHold, request, timeout_s=OPERATION_TIMEOUT_S)
        except RemoteError as error:
            if error.reason == "HOLD_NOT_FOUND":
                return None
            raise
        charged = answer.receipt.charged.nanos if answer.HasField("receipt") else None
        return HoldState(answer.state == pb.HOLD_STATE_OPEN, charged)

    async def _apply(self, operation: pb.ApplyOperation) -> pb.ApplyResult:
        result = await self._client.call(operation, timeout_s=OPERATION_TIMEOUT_S, name="budget operation")
        if result.WhichOneof("result") == "refusal":
            if result.refusal.reason == error_pb2.ERROR_REASON_NOT_OWNER:
                return await self._at_owner(operation)
            raise from_pb_refusal(result.refusal)
        return result

    async def _at_owner(self, operation: pb.ApplyOperation) -> pb.ApplyResult:
        """The same by a call of its own, which whoever gets it passes on to the organisation's owner.

        The stream leads to one replica, and another one owns the organisation.
        """
        kind = operation.WhichOneof("operation")
        assert kind is not None
        method = getattr(self._stub, CALLS[kind])
        try:
            answer = await self._remote.unary(method, getattr(operation, kind), timeout_s=OPERATION_TIMEOUT_S)
        except RemoteError as error:
            raise from_remote_refusal(error) from error
        except Cancelled as error:  # by the other side, which stops: nobody here has cancelled
            raise OutcomeUnknown("budget") from error
        result = pb.ApplyResult()
        getattr(result, kind).CopyFrom(answer)
        return result


@asynccontextmanager
async def open_holds(budget: Remote) -> AsyncIterator[tuple[RemoteHolds, Client]]:
    """The holds over `budget`, whose stream is open for the length of the block."""
    stub = BudgetServiceStub(budget.channel)

    def results(response: pb.ApplyResponse) -> Iterable[pb.ApplyResult]:
        return response.results

    client = Client(
        budget,
        stub.Apply,
        pack=lambda operations: pb.ApplyRequest(operations=operations),
        unpack=results,
    )
    async with client:
        yield RemoteHolds(client, stub, budget), client
