"""Holds, settlements and the directory, between the budget service's messages and the router's words.

What every request sends is filled in place (`fill_pb_…`): that takes half the time of nested constructors, which copy
each part into its whole.
"""

from collections.abc import Mapping, MutableMapping

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from services.chassis.status import RemoteError
from services.kernel.errors import OutcomeUnknown
from services.router.convert_catalogue import from_pb_price, moment
from services.router.domain.access import Caller
from services.router.domain.directory import (
    Entries,
    KeyEntry,
    OrganisationFacts,
    PriceEntry,
    ProjectFacts,
)
from services.router.errors import BudgetRefused, Shortfall
from services.router.ports import AttemptKey, Charge, Grant, HoldTerms, Receipt
from services.router.records import Room
from turnpike.budget.v1 import budget_pb2 as pb
from turnpike.budget.v1 import entities_pb2
from turnpike.common.v1 import error_pb2, principal_pb2

REASON_PREFIX = "ERROR_REASON_"

_UNTOLD = frozenset({"OUTCOME_UNKNOWN", "INTERNAL"})
"""Reasons that do not say whether the operation was done: it is asked for again with its key, until that is known."""


def reason_name(reason: int) -> str:
    """The name of an ErrorReason without its prefix; of one that this version does not know: its number."""
    try:
        return error_pb2.ErrorReason.Name(error_pb2.ErrorReason.ValueType(reason)).removeprefix(REASON_PREFIX)
    except ValueError:
        return f"REASON_{reason}"


def reason_number(name: str) -> error_pb2.ErrorReason.ValueType:
    """The ErrorReason of a name without its prefix; UNSPECIFIED for a name that is none."""
    if not name:
        return error_pb2.ERROR_REASON_UNSPECIFIED
    try:
        return error_pb2.ErrorReason.Value(REASON_PREFIX + name)
    except ValueError:
        return error_pb2.ERROR_REASON_UNSPECIFIED


def to_pb_key(key: AttemptKey) -> principal_pb2.AttemptKey:
    """The attempt's key."""
    message = principal_pb2.AttemptKey()
    fill_pb_key(message, key)
    return message


def fill_pb_key(message: principal_pb2.AttemptKey, key: AttemptKey) -> None:
    """The attempt's key."""
    message.organisation_id = key.organisation_id
    message.request_id = key.request_id
    message.attempt = key.attempt


def to_pb_principal(caller: Caller) -> principal_pb2.Principal:
    """On whose behalf."""
    message = principal_pb2.Principal()
    fill_pb_principal(message, caller)
    return message


def fill_pb_principal(message: principal_pb2.Principal, caller: Caller) -> None:
    """On whose behalf."""
    message.organisation_id = caller.organisation_id
    message.team_id = caller.team_id
    message.project_id = caller.project_id
    message.key_id = caller.key_id
    message.user_id = caller.user_id


def fill_pb_terms(message: pb.HoldTerms, terms: HoldTerms) -> None:
    """What a hold is for."""
    fill_pb_principal(message.principal, terms.caller)
    message.model = terms.model
    if terms.groups:
        message.model_groups.extend(sorted(terms.groups))
    message.amount.nanos = terms.amount_nanos
    message.input_tokens_bound = terms.input_tokens_bound
    message.output_tokens_bound = terms.output_tokens_bound
    message.price_revision = terms.price_revision
    fill_pb_duration(message.lease, terms.lease_s)
    fill_pb_map(message.dimensions, terms.dimensions)
    message.endpoint_id = terms.endpoint_id
    message.claim = terms.claim
    if terms.keep_free:
        message.keep_free_permille.update(terms.keep_free)


def fill_pb_settlement(message: pb.Settlement, charge: Charge) -> None:
    """What an attempt really cost."""
    message.outcome = charge.outcome.value
    message.endpoint_id = charge.endpoint_id
    message.vendor_request_id = charge.vendor_request_id
    fill_pb_map(message.dimensions, charge.dimensions)
    if charge.usage is not None:
        message.usage.CopyFrom(charge.usage)
    if charge.vendor_cost_nanos is not None:
        message.cost.nanos = charge.vendor_cost_nanos
        message.cost_from_vendor = True


def fill_pb_duration(message: Duration, seconds: float) -> None:
    """A duration; never negative."""
    whole_s = int(seconds) if seconds > 0 else 0
    message.seconds = whole_s
    message.nanos = int((max(seconds, 0.0) - whole_s) * 1e9)


def fill_pb_timestamp(message: Timestamp, unix_s: float) -> None:
    """A moment of Unix seconds."""
    whole_s = int(unix_s)
    message.seconds = whole_s
    message.nanos = int((unix_s - whole_s) * 1e9)


def fill_pb_map(message: MutableMapping[str, str], entries: Mapping[str, str]) -> None:
    """Names and values; one by one, as a protobuf map's own `update` costs ten times as much."""
    for name, value in entries.items():
        message[name] = value


def from_pb_grant(grant: pb.HoldGrant) -> Grant:
    """A granted hold."""
    return Grant(grant.amount.nanos, grant.lease, tuple(from_pb_headroom(room) for room in grant.headroom))


def from_pb_receipt(receipt: pb.SettlementReceipt) -> Receipt:
    """What a settlement did."""
    return Receipt(
        receipt.charged.nanos,
        receipt.unconfirmed,
        tuple(from_pb_headroom(room) for room in receipt.headroom),
    )


def from_pb_headroom(room: pb.BudgetHeadroom) -> Room:
    """What a budget has left."""
    return Room(
        room.budget_id,
        room.display_name,
        room.unit,
        room.limit,
        room.left,
        _unix_s(room.resets_at) if room.HasField("resets_at") else None,
    )


def from_pb_refusal(refusal: pb.Refusal) -> BudgetRefused | OutcomeUnknown:
    """An operation's refusal, as the error it is; OutcomeUnknown for one that does not say what was done."""
    reason, retry = reason_name(refusal.reason), refusal.retry_after
    if reason in _UNTOLD:
        return OutcomeUnknown("budget")
    return BudgetRefused.of(
        reason,
        refusal.message,
        dict(refusal.metadata),
        tuple(_shortfall(item) for item in refusal.budget_failure.shortfalls),
        retry.ToNanoseconds() / 1e9 if refusal.HasField("retry_after") else None,
    )


def from_remote_refusal(error: RemoteError) -> BudgetRefused | OutcomeUnknown:
    """A unary call's refusal, as an operation's would be."""
    if error.reason in _UNTOLD:
        return OutcomeUnknown("budget")
    failure = error.detail(error_pb2.BudgetFailure)
    shortfalls = tuple(_shortfall(item) for item in failure.shortfalls) if failure is not None else ()
    return BudgetRefused.of(error.reason, error.message, error.facts, shortfalls, error.retry_s)


def _shortfall(item: error_pb2.BudgetShortfall) -> Shortfall:
    return Shortfall(
        budget_id=item.budget_id,
        display_name=item.display_name,
        subject=item.subject,
        model_scope=item.model_scope,
        unit=item.unit,
        limit=item.limit,
        spent=item.spent,
        held=item.held,
        overage=item.overage,
        asked=item.asked,
        left=item.left,
        resets_at=moment(item.resets_at) if item.HasField("resets_at") else None,
    )


def from_pb_entries(entries: pb.DirectoryEntries) -> Entries:
    """New and changed entries of the directory. A price that makes no sense is left out: unknown is not zero."""
    prices = []
    for entry in entries.prices:
        try:
            prices.append(PriceEntry(from_pb_price(entry.price), entry.organisation_id, entry.revision))
        except ValueError:
            continue
    return Entries(
        keys={key.secret_hash: from_pb_directory_key(key) for key in entries.keys},
        organisations={
            item.organisation_id: OrganisationFacts(
                item.discount_ppm,
                item.data_class,
                "" if item.unknown_price_policy == "refuse" else item.unknown_price_policy,
            )
            for item in entries.organisations
        },
        projects={
            item.project_id: ProjectFacts(item.team_id, item.data_class, item.capture_content)
            for item in entries.projects
        },
        prices=prices,
    )


def from_pb_directory_key(key: pb.DirectoryKey) -> KeyEntry:
    """A key of the directory."""
    principal = key.principal
    return KeyEntry(
        Caller(
            organisation_id=principal.organisation_id,
            team_id=principal.team_id,
            project_id=principal.project_id,
            key_id=principal.key_id,
            user_id=principal.user_id,
            model_patterns=tuple(key.model_patterns),
            may_act_for_users=entities_pb2.KEY_PERMISSION_ACT_FOR_USERS in key.permissions,
        ),
        may_generate=entities_pb2.KEY_PERMISSION_GENERATE in key.permissions,
        disabled=key.disabled,
        expires_at_s=_unix_s(key.expires_at) if key.HasField("expires_at") else None,
    )


def _unix_s(at: Timestamp) -> float:
    return at.seconds + at.nanos / 1e9
