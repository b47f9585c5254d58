"""What BudgetService is asked, from the contract's messages (convert_answers.py: what it answers).

These run for every operation, so they check by hand and build no value that nobody needs.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from services.budget.domain.operations import (
    DIMENSIONS_MAX,
    LEASE_DEFAULT_US,
    LEASE_MAX_US,
    RENEWALS_MAX,
    Ask,
    CommitAndHoldAsk,
    CommitAsk,
    ExtendAsk,
    GetAsk,
    HoldAsk,
    ReleaseAsk,
    RenewAsk,
    Terms,
    UsageCounts,
)
from services.chassis.call import Caller
from services.kernel.errors import InvalidRequest, PermissionDenied
from services.kernel.model_ref import ModelRef
from services.kernel.money import AMOUNT_NANOS_MAX
from services.kernel.pricing import TOKENS_MAX
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.common.v1 import money_pb2, principal_pb2, usage_pb2

REQUEST_ID = re.compile(r"[A-Za-z0-9\-_.:]{1,128}")
_is_request_id = REQUEST_ID.fullmatch
TEXT_MAX = 64
"""Of a dimension's name and value, and of ids of endpoints."""
VENDOR_REQUEST_ID_MAX = 256
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""Not in what usage is reported by: the ledger is never changed, and stores that read it cannot keep U+0000."""
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
_shared_terms: dict[tuple[Caller | str, str, bytes], Terms] = {}


@dataclass(frozen=True, slots=True)
class KeyCaller(Caller):
    """A tenant's key that runs model calls of its own."""

    organisation_id: str
    team_id: str
    project_id: str
    key_id: str
    user_id: str


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
        claim = _claim(claim)
    who = caller if type(caller) is KeyCaller else caller.name
    common = (who, organisation_id, terms.SerializeToString())
    shared = _shared_terms.get(common)
    if shared is None:
        shared = _terms(terms, organisation_id, caller)
        if len(_shared_terms) >= TERMS_SHARED:
            _shared_terms.clear()
        _shared_terms[common] = shared
    return HoldAsk(request_id, attempt, amount, input_tokens, output_tokens, shared, claim)


def _claim(claim: str) -> str:
    """A run's name in characters that JSON leaves alone."""
    return claim if not claim or CLAIM.fullmatch(claim) else _digest(claim.encode())


def _terms(terms: pb.HoldTerms, organisation_id: str, caller: Caller) -> Terms:
    groups = tuple(terms.model_groups)
    if len(groups) > GROUPS_MAX:
        raise InvalidRequest.of("terms.model_groups", f"has more than {GROUPS_MAX} groups")
    _endpoint(terms.endpoint_id, "terms.endpoint_id")
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
    _endpoint(settlement.endpoint_id, "settlement.endpoint_id")
    # Vendors choose it: whatever is in it, what was consumed is settled.
    if len(settlement.vendor_request_id) > VENDOR_REQUEST_ID_MAX:
        raise InvalidRequest.of(
            "settlement.vendor_request_id", f"has more than {VENDOR_REQUEST_ID_MAX} characters"
        )
    outcome = _OUTCOMES.get(settlement.outcome)
    if outcome is None:
        raise InvalidRequest.of("settlement.outcome", "is not known")
    dimensions = settlement.dimensions
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
        _dimensions(dimensions, "settlement.dimensions") if dimensions else _NO_DIMENSIONS,
        settlement.witness,
        settlement.cost_from_vendor,
    )


def from_pb_release(request: pb.ReleaseRequest, caller: Caller) -> tuple[str, ReleaseAsk]:
    """A release."""
    organisation_id, request_id, attempt = _key(request.key, caller)
    if len(request.reason) > REASON_MAX:
        raise InvalidRequest.of("reason", f"has more than {REASON_MAX} characters")
    return organisation_id, ReleaseAsk(
        request_id, attempt, caller.name, request.lease, request.reason, _claim(request.claim)
    )


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
    organisation_id, request_id, attempt = key.organisation_id, key.request_id, key.attempt
    if type(caller) is KeyCaller:
        if organisation_id not in ("", caller.organisation_id):
            raise PermissionDenied("a key of that organisation")
        organisation_id = caller.organisation_id
    elif not organisation_id:
        raise InvalidRequest.of("key.organisation_id", "is required")
    if not _is_request_id(request_id):
        raise InvalidRequest.of(
            "key.request_id", "is not 1 to 128 characters out of letters, digits and -_.:"
        )
    if attempt < 1:
        raise InvalidRequest.of("key.attempt", "is a number from 1")
    return organisation_id, request_id, attempt


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
    nanos, currency = money.nanos, money.currency_code
    if currency and currency != "USD":
        raise InvalidRequest.of(field, "is not in USD")
    if not 0 <= nanos <= AMOUNT_NANOS_MAX:
        raise InvalidRequest.of(field, f"is not between 0 and {AMOUNT_NANOS_MAX} nanos")
    return nanos


def _lease(lease: Duration, field: str) -> int:
    lease_us = lease.seconds * 1_000_000 + lease.nanos // 1000
    if not 0 < lease_us <= LEASE_MAX_US:
        raise InvalidRequest.of(field, "is more than 0 and at most an hour")
    return lease_us


def _endpoint(endpoint_id: str, field: str) -> None:
    if len(endpoint_id) > TEXT_MAX or CONTROL.search(endpoint_id):
        raise InvalidRequest.of(field, f"has more than {TEXT_MAX} characters, or a control character")


def _dimensions(dimensions: Mapping[str, str], field: str) -> dict[str, str]:
    if len(dimensions) > DIMENSIONS_MAX:
        raise InvalidRequest.of(field, f"has more than {DIMENSIONS_MAX} entries")
    for name, value in dimensions.items():
        if not name or len(name) > TEXT_MAX or len(value) > TEXT_MAX:
            raise InvalidRequest.of(
                field, f"has a name or value that is empty or longer than {TEXT_MAX} characters"
            )
        if CONTROL.search(name) or CONTROL.search(value):
            raise InvalidRequest.of(field, "has a name or value with a control character")
    return dict(sorted(dimensions.items()))


_USAGE_PLACES = {descriptor: descriptor.number - 1 for descriptor in usage_pb2.Usage.DESCRIPTOR.fields}
"""They are numbered from 1 in the order of UsageCounts."""


def _usage(usage: usage_pb2.Usage) -> UsageCounts:
    counts: list[int | None] = [None, None, None, None, None, None, None, None, None, None, 0]
    for descriptor, count in usage.ListFields():
        if not 0 <= count <= TOKENS_MAX:
            raise InvalidRequest.of(
                f"settlement.usage.{descriptor.name}", f"is not between 0 and {TOKENS_MAX}"
            )
        place = _USAGE_PLACES[descriptor]
        if place >= len(counts):
            counts += (None, None)
        counts[place] = count
    return tuple(counts)


_digesting = hashlib.blake2b(digest_size=12).copy
"""Cheaper than to set one up."""


def _digest(content: bytes) -> str:
    digesting = _digesting()
    digesting.update(content)
    return digesting.hexdigest()
