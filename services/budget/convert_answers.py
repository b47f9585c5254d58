"""What BudgetService answers, to the contract's messages (convert.py: what it is asked)."""

from collections.abc import Sequence

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.budget.domain.moments import to_us
from services.budget.domain.operations import (
    Answer,
    CommittedAndHeld,
    Grant,
    Headroom,
    HoldView,
    Receipt,
    Released,
    Renewed,
)
from services.budget.errors import BudgetExhausted, RateLimited, RequestCeiling, Shortfall
from services.chassis import status
from services.kernel.errors import TurnpikeError
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.common.v1 import error_pb2, money_pb2, principal_pb2

_REASONS = {name.removeprefix("ERROR_REASON_"): number for name, number in error_pb2.ErrorReason.items()}


def fill_result(
    result: pb.ApplyResult, outcome: Answer | TurnpikeError, organisation_id: str, *, extension: bool = False
) -> None:
    """Writes the outcome of an operation in a batch into its place there; `extension`: a grant is of more to a hold."""
    # Filled in place: a message that is made of other messages copies them, which takes four times as long.
    kind = type(outcome)
    if kind is Grant:
        fill_grant((result.extend_amount if extension else result.hold).grant, outcome)  # type: ignore[arg-type]
        return
    if kind is Receipt:
        fill_receipt(result.commit.receipt, outcome)  # type: ignore[arg-type]
        return
    match outcome:
        case Released():
            result.release.CopyFrom(to_pb_released(outcome))
        case CommittedAndHeld():
            result.commit_and_hold.CopyFrom(to_pb_committed_and_held(outcome))
        case Renewed():
            result.renew_lease.CopyFrom(to_pb_renewed(outcome, organisation_id))
        case TurnpikeError():
            result.refusal.CopyFrom(to_pb_refusal(outcome))
        case _:
            raise AssertionError(f"no result is made of {kind}")


def to_pb_grant(grant: Grant) -> pb.HoldGrant:
    """A granted hold."""
    message = pb.HoldGrant()
    fill_grant(message, grant)
    return message


def fill_grant(message: pb.HoldGrant, grant: Grant) -> None:
    """Writes a granted hold into an empty message."""
    message.amount.nanos = grant.amount
    expires_at, expires_us = message.lease_expires_at, grant.lease_expires_us
    expires_at.seconds = expires_us // 1_000_000
    expires_at.nanos = expires_us % 1_000_000 * 1000
    message.ledger_sequence = grant.sequence
    message.lease = grant.lease
    message.price_revision = grant.price_revision
    for each in grant.headroom:
        message.headroom.append(to_pb_headroom(each))


def to_pb_headroom(headroom: Headroom) -> pb.BudgetHeadroom:
    """What a budget has left."""
    return pb.BudgetHeadroom(
        budget_id=headroom.budget_id,
        display_name=headroom.display_name,
        unit=headroom.unit,  # type: ignore[arg-type]
        limit=headroom.limit,
        left=headroom.left,
        resets_at=None if headroom.resets_at_us is None else _timestamp(headroom.resets_at_us),
    )


def to_pb_receipt(receipt: Receipt) -> pb.SettlementReceipt:
    """What a settlement did."""
    message = pb.SettlementReceipt()
    fill_receipt(message, receipt)
    return message


def fill_receipt(message: pb.SettlementReceipt, receipt: Receipt) -> None:
    """Writes a receipt into an empty message."""
    message.charged.nanos = receipt.charged
    message.overage.nanos = receipt.overage
    message.released.nanos = receipt.released
    message.ledger_sequence = receipt.sequence
    if receipt.unconfirmed:
        message.unconfirmed = True
    if receipt.corrected:
        message.corrected = True
    for each in receipt.headroom:
        message.headroom.append(to_pb_headroom(each))


def to_pb_released(released: Released) -> pb.ReleaseResponse:
    """What was freed."""
    return pb.ReleaseResponse(
        released=money_pb2.Money(nanos=released.released), ledger_sequence=released.sequence
    )


def to_pb_committed_and_held(answer: CommittedAndHeld) -> pb.CommitAndHoldResponse:
    """The receipt and the next hold, or why there is none."""
    response = pb.CommitAndHoldResponse()
    fill_receipt(response.receipt, answer.receipt)
    if answer.grant is not None:
        fill_grant(response.grant, answer.grant)
    else:
        assert isinstance(answer.refusal, TurnpikeError)
        response.refusal.CopyFrom(to_pb_refusal(answer.refusal))
    return response


def to_pb_renewed(renewed: Renewed, organisation_id: str) -> pb.RenewLeaseResponse:
    """Until when leases run, and which holds are not open."""
    return pb.RenewLeaseResponse(
        lease_expires_at=_timestamp(renewed.lease_expires_us),
        not_open=[
            principal_pb2.AttemptKey(organisation_id=organisation_id, request_id=request_id, attempt=attempt)
            for request_id, attempt in renewed.not_open
        ],
    )


def to_pb_hold_view(view: HoldView) -> pb.GetHoldResponse:
    """A hold."""
    return pb.GetHoldResponse(
        state=view.state,  # type: ignore[arg-type]
        grant=to_pb_grant(view.grant),
        receipt=None if view.receipt is None else to_pb_receipt(view.receipt),
    )


def to_pb_refusal(error: TurnpikeError) -> pb.Refusal:
    """An error inside a batch."""
    refusal = pb.Refusal(
        reason=_REASONS[error.reason],
        message=error.message,
        metadata=error.metadata,
    )
    if isinstance(error, BudgetExhausted | RateLimited | RequestCeiling):
        refusal.budget_failure.CopyFrom(to_pb_budget_failure(error.shortfalls))
    if error.retry_after_s is not None:
        refusal.retry_after.FromMicroseconds(round(error.retry_after_s * 1e6))
    return refusal


def to_pb_budget_failure(shortfalls: Sequence[Shortfall]) -> error_pb2.BudgetFailure:
    """Every budget that has no room."""
    return error_pb2.BudgetFailure(
        shortfalls=[
            error_pb2.BudgetShortfall(
                budget_id=each.budget_id,
                display_name=each.display_name,
                subject=each.subject,
                model_scope=each.model_scope,
                unit=int(each.unit),  # type: ignore[arg-type]
                limit=each.limit,
                spent=each.spent,
                held=each.held,
                overage=each.overage,
                asked=each.asked,
                left=each.left,
                resets_at=None if each.resets_at is None else _timestamp(to_us(each.resets_at)),
            )
            for each in shortfalls
        ]
    )


@status.details.register(BudgetExhausted)
@status.details.register(RateLimited)
@status.details.register(RequestCeiling)
def _budget_failure_details(error: BudgetExhausted | RateLimited | RequestCeiling) -> list[Message]:
    return [to_pb_budget_failure(error.shortfalls)]


def _timestamp(at_us: int) -> Timestamp:
    return Timestamp(seconds=at_us // 1_000_000, nanos=at_us % 1_000_000 * 1000)
