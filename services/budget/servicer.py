"""BudgetService: converts, asks the owner of the tree, converts. The directory's RPCs are inherited."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.message import Message
from msgspec import Struct

from services.budget import convert, convert_answers
from services.budget.admin_ports import AdminStore
from services.budget.directory_servicer import DirectoryRpcs
from services.budget.domain.operations import (
    Ask,
    CommittedAndHeld,
    ExtendAsk,
    Grant,
    HoldView,
    Receipt,
    Released,
    Renewed,
)
from services.budget.errors import NotOwner
from services.budget.forwarding import Forwarder
from services.budget.use_cases.directory import Directory
from services.budget.use_cases.parcels import PARCEL_MAX, Outcome, Parcel
from services.budget.use_cases.replica import Replica
from services.budget.use_cases.tailing import LedgerTail
from services.chassis.app import Runtime
from services.chassis.batch import DEFAULT_TIMEOUT_S
from services.chassis.batch_server import BatchServer, Replies
from services.chassis.call import ANONYMOUS, Caller, current_call
from services.kernel.clock import Clock
from services.kernel.errors import TurnpikeError
from turnpike.budget.v1 import budget_pb2 as pb

METHOD = "turnpike.budget.v1.BudgetService/Apply"


class BudgetServicer(DirectoryRpcs):
    """Serves holds and settlements, by batches and one by one, with the same meaning."""

    def __init__(
        self,
        replica: Replica,
        tail: LedgerTail,
        runtime: Runtime,
        forwarder: Forwarder,
        *,
        directory: Directory,
        store: AdminStore,
        clock: Clock,
    ) -> None:
        super().__init__(directory, store, clock)
        self._replica = replica
        self._forwarder = forwarder
        self._tail = tail
        self._runtime = runtime
        self._apply: BatchServer[pb.ApplyOperation, _Result] = BatchServer(
            METHOD,
            runtime,
            unpack=lambda request: request.operations,
            pack=_pack,
            accept=self._accept,
            name_of=lambda operation: operation.WhichOneof("operation") or "",
            reason_of=_reason_of,
        )

    async def Apply(self, request_iterator: AsyncIterator[pb.ApplyRequest], context: Any) -> None:  # type: ignore[override]
        await self._apply.serve(request_iterator, context)

    async def Hold(self, request: pb.HoldRequest, context: object) -> pb.HoldResponse:
        organisation_id, ask = convert.from_pb_hold(request, _caller())
        answer = await self._ask("Hold", request, organisation_id, ask)
        return (
            pb.HoldResponse(grant=convert_answers.to_pb_grant(answer))
            if isinstance(answer, Grant)
            else answer
        )

    async def Commit(self, request: pb.CommitRequest, context: object) -> pb.CommitResponse:
        organisation_id, ask = convert.from_pb_commit(request, _caller())
        answer = await self._ask("Commit", request, organisation_id, ask)
        return (
            pb.CommitResponse(receipt=convert_answers.to_pb_receipt(answer))
            if isinstance(answer, Receipt)
            else answer
        )

    async def Release(self, request: pb.ReleaseRequest, context: object) -> pb.ReleaseResponse:
        organisation_id, ask = convert.from_pb_release(request, _caller())
        answer = await self._ask("Release", request, organisation_id, ask)
        return convert_answers.to_pb_released(answer) if isinstance(answer, Released) else answer

    async def CommitAndHold(
        self, request: pb.CommitAndHoldRequest, context: object
    ) -> pb.CommitAndHoldResponse:
        organisation_id, ask = convert.from_pb_commit_and_hold(request, _caller())
        answer = await self._ask("CommitAndHold", request, organisation_id, ask)
        return (
            convert_answers.to_pb_committed_and_held(answer)
            if isinstance(answer, CommittedAndHeld)
            else answer
        )

    async def ExtendAmount(self, request: pb.ExtendAmountRequest, context: object) -> pb.ExtendAmountResponse:
        organisation_id, ask = convert.from_pb_extend(request, _caller())
        answer = await self._ask("ExtendAmount", request, organisation_id, ask)
        return (
            pb.ExtendAmountResponse(grant=convert_answers.to_pb_grant(answer))
            if isinstance(answer, Grant)
            else answer
        )

    async def RenewLease(self, request: pb.RenewLeaseRequest, context: object) -> pb.RenewLeaseResponse:
        organisation_id, ask = convert.from_pb_renew(request, _caller())
        answer = await self._ask("RenewLease", request, organisation_id, ask)
        return (
            convert_answers.to_pb_renewed(answer, organisation_id) if isinstance(answer, Renewed) else answer
        )

    async def GetHold(self, request: pb.GetHoldRequest, context: object) -> pb.GetHoldResponse:
        organisation_id, ask = convert.from_pb_get(request, _caller())
        answer = await self._ask("GetHold", request, organisation_id, ask)
        return convert_answers.to_pb_hold_view(answer) if isinstance(answer, HoldView) else answer

    async def TailLedger(
        self, request: pb.TailLedgerRequest, context: object
    ) -> AsyncIterator[pb.TailLedgerResponse]:
        after, stopping = dict(request.after_sequences), self._runtime.stopping
        async for page in self._tail.follow(after, stopping, usage_only=request.usage_only):
            yield page

    async def _ask(self, method: str, request: Message, organisation_id: str, ask: Ask) -> Any:
        """The owner's answer; if that is another replica, its response to the same request."""
        call = current_call()
        left_s = None if call is None else call.left_s
        deadline = time.monotonic() + (DEFAULT_TIMEOUT_S if left_s is None else left_s)
        # The caller may go away; what it asked for is carried out all the same.
        outcome = await asyncio.shield(self._replica.ask(organisation_id, ask, deadline))
        if isinstance(outcome, NotOwner) and outcome.owner_address and self._forwarder.may_forward():
            return await self._forwarder.forward(outcome.owner_address, method, request)
        if isinstance(outcome, TurnpikeError):
            raise outcome
        return outcome

    def _accept(self, operations: Sequence[pb.ApplyOperation], replies: Replies["_Result"]) -> None:
        """Hands a batch on, by organisation; every operation is replied to once its owner has decided."""
        caller, now = _caller(), time.monotonic()
        by_organisation: dict[str, _Share] = {}
        for operation in operations:
            try:
                organisation_id, ask = convert.from_pb_operation(operation, caller)
            except TurnpikeError as refusal:
                replies([_Result(operation.operation_id, refusal)])
                continue
            share = by_organisation.get(organisation_id)
            if share is None or len(share.asks) == PARCEL_MAX:
                if share is not None:
                    self._submit(share)
                share = by_organisation[organisation_id] = _Share(organisation_id, replies)
            timeout_s = DEFAULT_TIMEOUT_S
            if operation.HasField("timeout"):
                timeout_s = operation.timeout.seconds + operation.timeout.nanos / 1e9
            share.asks.append(ask)
            share.deadlines.append(now + timeout_s)
            share.operation_ids.append(operation.operation_id)
        for share in by_organisation.values():
            self._submit(share)

    def _submit(self, share: "_Share") -> None:
        self._replica.submit(share.organisation_id, Parcel(share.asks, share.deadlines, share.done))


class _Result(Struct, gc=False):
    """What came of one operation; made into a message only in its place in the response."""

    operation_id: int
    outcome: Outcome
    organisation_id: str = ""
    extension: bool = False


def _pack(results: Sequence[_Result]) -> pb.ApplyResponse:
    response = pb.ApplyResponse()
    add = response.results.add
    for each in results:
        convert_answers.fill_result(
            add(operation_id=each.operation_id), each.outcome, each.organisation_id, extension=each.extension
        )
    return response


def _reason_of(result: _Result) -> str | None:
    return result.outcome.reason if isinstance(result.outcome, TurnpikeError) else None


class _Share:
    """The operations of one organisation in a batch."""

    __slots__ = ("asks", "deadlines", "operation_ids", "organisation_id", "replies")

    def __init__(self, organisation_id: str, replies: Replies[_Result]) -> None:
        self.organisation_id = organisation_id
        self.replies = replies
        self.asks: list[Ask] = []
        self.deadlines: list[float] = []
        self.operation_ids: list[int] = []

    def done(self, outcomes: Sequence[Outcome]) -> None:
        """Replies to all."""
        organisation_id = self.organisation_id
        self.replies(
            [
                _Result(operation_id, outcome, organisation_id, type(ask) is ExtendAsk)
                for operation_id, ask, outcome in zip(self.operation_ids, self.asks, outcomes, strict=True)
            ]
        )


def _caller() -> Caller:
    call = current_call()
    return ANONYMOUS if call is None else call.caller
