"""What BudgetService is asked and answers, from and to the contract's messages.

These run for every operation, so they check by hand and build no value that nobody needs.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.budget.domain.operations import (
    DIMENSIONS_MAX,
    LEASE_DEFAULT_US,
    LEASE_MAX_US,
    RENEWALS_MAX,
    Answer,
    Ask,
    CommitAndHoldAsk,
    CommitAsk,
    CommittedAndHeld,
    ExtendAsk,
    GetAsk,
    Grant,
    Headroom,
    HoldAsk,
    HoldView,
    Receipt,
    ReleaseAsk,
    Released,
    RenewAsk,
    Renewed,
    Terms,
    UsageCounts,
)
from services.budget.domain.tree import to_us
from services.budget.errors import BudgetExhausted, RateLimited, RequestCeiling, Shortfall
from services.chassis import status
from services.chassis.call import Caller
from services.kernel.errors import InvalidRequest, PermissionDenied, TurnpikeError
from services.kernel.model_ref import ModelRef
from services.kernel.money import AMOUNT_NANOS_MAX
from services.kernel.pricing import TOKENS_MAX
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.common.v1 import error_pb2, money_pb2, principal_pb2, usage_pb2

REQUEST_ID = re.compile(r"[A-Za-z0-9\-_.:]{1,128}")
TEXT_MAX = 64
"""Of a dimension's name and value, and of ids of endpoints."""
REASON_MAX = 128
GROUPS_MAX = 32
CLAIM = re.compile(r"[A-Za-z0-9\-_.:]{1,64}")
"""A claim that may stand in a digest as it is."""
ATTEMPT_MAX = 2**31 - 1
TERMS_SHARED = 20_000
"""Different terms that are kept; about 20 MB."""

_OUTCOMES = {
    number: name.removeprefix("SETTLEMENT_OUTCOME_") for name, number in pb.SettlementOutcome.items()
}
_OUTCOMES[pb.SETTLEMENT_OUTCOME_UNSPECIFIED] = "SUCCEEDED"
_REASONS = {name.removeprefix("ERROR_REASON_"): number for name, number in error_pb2.ErrorReason.items()}
_shared_terms: dict[tuple[Caller | str, str, bytes], Terms] = {}


@dataclass(frozen=True, slots=True)
class KeyCaller(Caller):
    """A tenant's key that runs model calls of its own."""

    organisation_id: str
    team_id: str
    project_id: str
    key_id: str
    user_id: str


# ---- asked -----------------------------------------------------------------------------------------------------------


def from_pb_operation(operation: pb.ApplyOperation, caller: Caller) -> tuple[str, Ask]:
    """The organisation and what is asked of its tree; raises InvalidRequest or PermissionDenied.

    Takes the operation apart: it is not what it was afterwards.
    """
    kind = operation.WhichOneof("operation")
    if kind == "hold":
        return _from_pb_hold(operation.hold, caller)
    if kind == "commit":
        return from_pb_commit(operation.commit, caller)
    if kind == "commit_and_hold":
        return from_pb_commit_and_hold(operation.commit_and_hold, caller)
    if kind == "release":
        return from_pb_release(operation.release, caller)
    if kind == "extend_amount":
        return from_pb_extend(operation.extend_amount, caller)
    if kind == "renew_lease":
        return from_pb_renew(operation.renew_lease, caller)
    raise InvalidRequest.of("operation", "is required")


def from_pb_hold(request: pb.HoldRequest, caller: Caller) -> tuple[str, HoldAsk]:
    """A hold of a worst case; the request stays as it is."""
    copied = pb.HoldRequest()
    copied.CopyFrom(request)
    return _from_pb_hold(copied, caller)


def _from_pb_hold(request: pb.HoldRequest, caller: Caller) -> tuple[str, HoldAsk]:
    organisation_id, request_id, attempt = _key(request.key, caller)
    if not request.HasField("terms"):
        raise InvalidRequest.of("terms", "is required")
    return organisation_id, _hold(request.terms, organisation_id, request_id, attempt, caller)


def _hold(
    terms: pb.HoldTerms, organisation_id: str, request_id: str, attempt: int, caller: Caller
) -> HoldAsk:
    """A hold; what it has in common with others is checked once and shared with them. Takes `terms` apart."""
    input_tokens, output_tokens = terms.input_tokens_bound, terms.output_tokens_bound
    if not (0 <= input_tokens <= TOKENS_MAX and 0 <= output_tokens <= TOKENS_MAX):
        raise InvalidRequest.of("terms", f"has a token bound that is not between 0 and {TOKENS_MAX}")
    # What differs from hold to hold is taken out, so that the rest is the same bytes each time.
    terms.input_tokens_bound = terms.output_tokens_bound = 0
    amount = None
    if terms.HasField("amount"):
        amount = _amount(terms.amount, "terms.amount")
        terms.ClearField("amount")
    claim = terms.claim
    if claim:
        terms.claim = ""
        if not CLAIM.fullmatch(claim):
            claim = _digest(claim.encode())
    who = caller if type(caller) is KeyCaller else caller.name
    common = (who, organisation_id, terms.SerializeToString())
    shared = _shared_terms.get(common)
    if shared is None:
        shared = _terms(terms, organisation_id, caller)
        if len(_shared_terms) >= TERMS_SHARED:
            _shared_terms.clear()
        _shared_terms[common] = shared
    return HoldAsk(request_id, attempt, amount, input_tokens, output_tokens, shared, claim)


def _terms(terms: pb.HoldTerms, organisation_id: str, caller: Caller) -> Terms:
    groups = tuple(terms.model_groups)
    if len(groups) > GROUPS_MAX:
        raise InvalidRequest.of("terms.model_groups", f"has more than {GROUPS_MAX} groups")
    if len(terms.endpoint_id) > TEXT_MAX:
        raise InvalidRequest.of("terms.endpoint_id", f"has more than {TEXT_MAX} characters")
    try:
        ModelRef.parse(terms.model)
    except ValueError as wrong:
        raise InvalidRequest.of("terms.model", str(wrong)) from wrong
    keep_free = _keep_free(terms) if terms.keep_free_permille else None
    # A policy's word about others, not what is asked for: a repetition under another policy is the same request.
    terms.ClearField("keep_free_permille")
    return Terms(
        caller=caller.name,
        metering=isinstance(caller, KeyCaller),
        principal=_principal(terms.principal, organisation_id, caller),
        model=terms.model,
        groups=groups,
        price_revision=terms.price_revision,
        lease_us=_lease(terms.lease, "terms.lease") if terms.HasField("lease") else LEASE_DEFAULT_US,
        endpoint_id=terms.endpoint_id,
        dimensions=_dimensions(terms.dimensions, "terms.dimensions"),
        digest=_digest(caller.name.encode() + b"\0" + terms.SerializeToString(deterministic=True)),
        keep_free=keep_free,
    )


def _keep_free(terms: pb.HoldTerms) -> Mapping[str, int]:
    kept = dict(terms.keep_free_permille)
    if len(kept) > KEEP_FREE_MAX or not all(0 <= permille <= 1000 for permille in kept.values()):
        raise InvalidRequest.of(
            "terms.keep_free_permille", f"holds at most {KEEP_FREE_MAX} shares of 0 to 1000"
        )
    return kept


KEEP_FREE_MAX = 16
"""Rates that one hold may leave a share of; a model is in few groups."""

_NO_DIMENSIONS: Mapping[str, str] = {}


def from_pb_commit(request: pb.CommitRequest, caller: Caller) -> tuple[str, CommitAsk]:
    """A settlement."""
    organisation_id, request_id, attempt = _key(request.key, caller)
    return organisation_id, _commit(request.settlement, request_id, attempt, request.lease, caller)


def _commit(
    settlement: pb.Settlement, request_id: str, attempt: int, lease: str, caller: Caller
) -> CommitAsk:
    usage = _usage(settlement.usage) if settlement.HasField("usage") else None
    if len(settlement.vendor_request_id) > 256 or len(settlement.endpoint_id) > TEXT_MAX:
        raise InvalidRequest.of(
            "settlement", "names an endpoint or a vendor's request by a text that is too long"
        )
    outcome = _OUTCOMES.get(settlement.outcome)
    if outcome is None:
        raise InvalidRequest.of("settlement.outcome", "is not known")
    dimensions = settlement.dimensions
    count = len(dimensions)
    return CommitAsk(
        request_id,
        attempt,
        caller.name,
        lease,
        _amount(settlement.cost, "settlement.cost") if settlement.HasField("cost") else None,
        usage,
        outcome,
        settlement.endpoint_id,
        settlement.vendor_request_id,
        _dimensions(dimensions, "settlement.dimensions") if count else _NO_DIMENSIONS,
        settlement.witness,
        settlement.cost_from_vendor,
        # Only a map of several entries has an order that must be forced.
        _digest(
            settlement.SerializeToString(deterministic=True) if count > 1 else settlement.SerializeToString()
        ),
    )


def from_pb_release(request: pb.ReleaseRequest, caller: Caller) -> tuple[str, ReleaseAsk]:
    """A release."""
    organisation_id, request_id, attempt = _key(request.key, caller)
    if len(request.reason) > REASON_MAX:
        raise InvalidRequest.of("reason", f"has more than {REASON_MAX} characters")
    return organisation_id, ReleaseAsk(request_id, attempt, caller.name, request.lease, request.reason)


def from_pb_commit_and_hold(request: pb.CommitAndHoldRequest, caller: Caller) -> tuple[str, CommitAndHoldAsk]:
    """A settlement and the next hold."""
    organisation_id, request_id, attempt = _key(request.key, caller)
    if not request.HasField("next_terms"):
        raise InvalidRequest.of("next_terms", "is required")
    if request.next_attempt == attempt or request.next_attempt < 1:
        raise InvalidRequest.of("next_attempt", "is the number of another attempt, from 1")
    settle: CommitAsk | ReleaseAsk
    match request.WhichOneof("settle"):
        case "commit":
            settle = _commit(request.commit, request_id, attempt, "", caller)
        case "release_reason":
            settle = ReleaseAsk(request_id, attempt, caller.name, "", request.release_reason[:REASON_MAX])
        case _:
            raise InvalidRequest.of("settle", "is required: commit or release_reason")
    terms = pb.HoldTerms()
    terms.CopyFrom(request.next_terms)
    hold = _hold(terms, organisation_id, request_id, request.next_attempt, caller)
    return organisation_id, CommitAndHoldAsk(settle, hold)


def from_pb_extend(request: pb.ExtendAmountRequest, caller: Caller) -> tuple[str, ExtendAsk]:
    """An extension of the amount."""
    organisation_id, request_id, attempt = _key(request.key, caller)
    if request.extension < 1:
        raise InvalidRequest.of("extension", "is a number from 1")
    if not 0 <= request.output_tokens <= TOKENS_MAX:
        raise InvalidRequest.of("output_tokens", f"is not between 0 and {TOKENS_MAX}")
    amount = _amount(request.amount, "amount") if request.HasField("amount") else None
    return organisation_id, ExtendAsk(
        request_id, attempt, caller.name, request.extension, amount, request.output_tokens
    )


def from_pb_renew(request: pb.RenewLeaseRequest, caller: Caller) -> tuple[str, RenewAsk]:
    """More time for holds."""
    if not 0 < len(request.keys) <= RENEWALS_MAX:
        raise InvalidRequest.of("keys", f"names 1 to {RENEWALS_MAX} attempts")
    keys = [_key(key, caller) for key in request.keys]
    organisations = {organisation_id for organisation_id, _, _ in keys}
    if len(organisations) != 1:
        raise InvalidRequest.of("keys", "are of more than one organisation")
    lease_us = _lease(request.lease, "lease") if request.HasField("lease") else LEASE_DEFAULT_US
    attempts = [(request_id, attempt) for _, request_id, attempt in keys]
    return organisations.pop(), RenewAsk(attempts, caller.name, lease_us)


def from_pb_get(request: pb.GetHoldRequest, caller: Caller) -> tuple[str, GetAsk]:
    """A question about a hold; services of ours may see all, a key its own."""
    organisation_id, request_id, attempt = _key(request.key, caller)
    return organisation_id, GetAsk(request_id, attempt, caller.name if isinstance(caller, KeyCaller) else "")


def _key(key: principal_pb2.AttemptKey, caller: Caller) -> tuple[str, str, int]:
    organisation_id = key.organisation_id
    if isinstance(caller, KeyCaller):
        if organisation_id not in ("", caller.organisation_id):
            raise PermissionDenied("a key of that organisation")
        organisation_id = caller.organisation_id
    elif not organisation_id:
        raise InvalidRequest.of("key.organisation_id", "is required")
    if not REQUEST_ID.fullmatch(key.request_id):
        raise InvalidRequest.of(
            "key.request_id", "is not 1 to 128 characters out of letters, digits and -_.:"
        )
    if key.attempt < 1:
        raise InvalidRequest.of("key.attempt", "is a number from 1")
    return organisation_id, key.request_id, key.attempt


def _principal(
    principal: principal_pb2.Principal, organisation_id: str, caller: Caller
) -> tuple[str, str, str, str]:
    if isinstance(caller, KeyCaller):
        return caller.team_id, caller.project_id, caller.key_id, principal.user_id or caller.user_id
    if principal.organisation_id not in ("", organisation_id):
        raise InvalidRequest.of("terms.principal", "is of another organisation than the attempt")
    if not principal.key_id:
        raise InvalidRequest.of("terms.principal", "is required")
    return principal.team_id, principal.project_id, principal.key_id, principal.user_id


def _amount(money: money_pb2.Money, field: str) -> int:
    if money.currency_code not in ("", "USD"):
        raise InvalidRequest.of(field, "is not in USD")
    if not 0 <= money.nanos <= AMOUNT_NANOS_MAX:
        raise InvalidRequest.of(field, f"is not between 0 and {AMOUNT_NANOS_MAX} nanos")
    return money.nanos


def _lease(lease: Duration, field: str) -> int:
    lease_us = lease.seconds * 1_000_000 + lease.nanos // 1000
    if not 0 < lease_us <= LEASE_MAX_US:
        raise InvalidRequest.of(field, "is more than 0 and at most an hour")
    return lease_us


def _dimensions(dimensions: Mapping[str, str], field: str) -> dict[str, str]:
    if len(dimensions) > DIMENSIONS_MAX:
        raise InvalidRequest.of(field, f"has more than {DIMENSIONS_MAX} entries")
    for name, value in dimensions.items():
        if not name or len(name) > TEXT_MAX or len(value) > TEXT_MAX:
            raise InvalidRequest.of(
                field, f"has a name or value that is empty or longer than {TEXT_MAX} characters"
            )
    return dict(sorted(dimensions.items()))


def _usage(usage: usage_pb2.Usage) -> UsageCounts:
    counts: list[int | None] = [None, None, None, None, None, None, None, None, None, None, 0]
    for descriptor, count in usage.ListFields():
        if not 0 <= count <= TOKENS_MAX:
            raise InvalidRequest.of(
                f"settlement.usage.{descriptor.name}", f"is not between 0 and {TOKENS_MAX}"
            )
        counts[descriptor.number - 1] = count  # they are numbered from 1 in the order of UsageCounts
    return tuple(counts)


_DIGESTING = hashlib.blake2b(digest_size=12)


def _digest(content: bytes) -> str:
    digesting = _DIGESTING.copy()  # cheaper than to set one up
    digesting.update(content)
    return digesting.hexdigest()


# ---- answered --------------------------------------------------------------------------------------------------------


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
