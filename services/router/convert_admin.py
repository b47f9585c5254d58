"""Policies, grants, aliases and the audit trail, on the wire."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from google.protobuf.message import Message

from services.access import AdminCaller
from services.chassis.call import current_call
from services.kernel.clock import Clock
from services.kernel.errors import CredentialsMissing, InvalidRequest
from services.kernel.ids import RequestId
from services.kernel.pages import page_key, page_rows, page_token
from services.router.convert_catalogue import moment
from services.router.convert_decision import fill_pb_versions, to_pb_candidates, to_pb_timestamp
from services.router.domain import explain
from services.router.domain.administered import (
    AliasTarget,
    AuditRecord,
    Change,
    PolicyState,
    StoredAlias,
    StoredGrant,
    StoredPolicy,
)
from services.router.domain.plan import Decision
from services.router.domain.policy_fields import PolicyProblem
from services.router.use_cases.administer import PolicyWish
from services.router.use_cases.promote import Finding
from services.router.use_cases.resimulate import Line
from turnpike.analytics.v1 import analytics_pb2
from turnpike.router.v1 import decision_pb2
from turnpike.router.v1 import router_admin_pb2 as pb

_STATES = {
    pb.POLICY_STATE_ACTIVE: PolicyState.ACTIVE,
    pb.POLICY_STATE_SHADOW: PolicyState.SHADOW,
    pb.POLICY_STATE_INACTIVE: PolicyState.INACTIVE,
}
_STATES_PB = {state: number for number, state in _STATES.items()}
Item = TypeVar("Item")


def current_admin() -> AdminCaller:
    """The admin whose call is being served."""
    call = current_call()
    if call is None or not isinstance(call.caller, AdminCaller):
        raise CredentialsMissing("an admin token (tpa_…)")
    return call.caller


def change_of(request: Message, request_id: str, clock: Clock) -> Change:
    """Who changes what, when. Raises InvalidRequest if the request has no id of its own."""
    try:
        RequestId.parse(request_id)
    except ValueError as error:
        raise InvalidRequest.of("request_id", f"is required and {error}") from None
    call = current_call()
    method = call.method.rpartition("/")[2] if call is not None else ""
    content = hashlib.sha256(method.encode() + request.SerializeToString(deterministic=True)).digest()
    return Change(request_id, content, method, current_admin().admin_token_id, clock.now())


def from_pb_policy(request: pb.PutPolicyRequest) -> PolicyWish:
    """What PutPolicy asks for."""
    policy = request.policy
    state = _STATES.get(policy.state)
    if state is None:
        raise InvalidRequest.of("policy.state", "is required: ACTIVE, SHADOW or INACTIVE")
    return PolicyWish(
        policy.policy_id,
        policy.organisation_id,
        policy.scope,
        policy.document_yaml,
        state,
        policy.comment,
        request.expected_version,
    )


def to_pb_policy(policy: StoredPolicy) -> pb.Policy:
    """A policy."""
    return pb.Policy(
        policy_id=policy.policy_id,
        organisation_id=policy.organisation_id,
        scope=policy.scope,
        version=policy.version,
        document_yaml=policy.document_yaml,
        state=_STATES_PB[policy.state],
        comment=policy.comment,
        created_by=policy.created_by,
        created_at=to_pb_timestamp(policy.created_at.timestamp()),
    )


def to_pb_problem(problem: PolicyProblem) -> pb.PolicyProblem:
    """Something wrong with a document."""
    return pb.PolicyProblem(
        line=problem.line,
        column=problem.column,
        path=problem.path,
        message=problem.message,
        warning=problem.warning,
    )


def from_pb_grant(grant: pb.ModelGrant, at: datetime) -> StoredGrant:
    """A grant that is to be made; its id and maker are given by the service."""
    return StoredGrant("", grant.organisation_id, grant.subject, grant.model_pattern, grant.deny, "", at)


def to_pb_grant(grant: StoredGrant) -> pb.ModelGrant:
    """A grant."""
    return pb.ModelGrant(
        grant_id=grant.grant_id,
        organisation_id=grant.organisation_id,
        subject=grant.subject,
        model_pattern=grant.model_pattern,
        deny=grant.deny,
        created_by=grant.created_by,
        created_at=to_pb_timestamp(grant.created_at.timestamp()),
    )


def from_pb_alias(alias: pb.ModelAlias) -> StoredAlias:
    """An alias that is to be written; its version is given by the service."""
    return StoredAlias(
        alias.organisation_id,
        alias.alias,
        tuple(AliasTarget(target.model, target.permille) for target in alias.targets),
        alias.mirror_model,
        alias.mirror_permille,
        0,
    )


def to_pb_alias(alias: StoredAlias) -> pb.ModelAlias:
    """An alias."""
    return pb.ModelAlias(
        alias=alias.alias,
        organisation_id=alias.organisation_id,
        targets=[pb.AliasTarget(model=target.model, permille=target.permille) for target in alias.targets],
        mirror_model=alias.mirror_model,
        mirror_permille=alias.mirror_permille,
        version=alias.version,
    )


def to_pb_audit(record: AuditRecord) -> pb.RouterAuditRecord:
    """One change an admin made."""
    return pb.RouterAuditRecord(
        audit_id=record.audit_id,
        occurred_at=to_pb_timestamp(record.occurred_at.timestamp()),
        admin_token_id=record.admin_token_id,
        method=record.method,
        entity_id=record.entity_id,
        organisation_id=record.organisation_id,
        before_json=record.before_json,
        after_json=record.after_json,
    )


def asked_page(page_size: int, token: str) -> tuple[str, int]:
    """(key of the last row of the page before, rows to fetch: one more than the page has)."""
    key = page_key(token, 1)
    return key[0] if key is not None else "", page_rows(page_size) + 1


def page_of(found: Sequence[Item], fetched: int, key: Callable[[Item], str]) -> tuple[Sequence[Item], str]:
    """The rows of the page and the token of the next one; empty: this was the last."""
    if len(found) < fetched:
        return found, ""
    rows = found[: fetched - 1]
    return rows, page_token((key(rows[-1]),))


# ---- simulation ------------------------------------------------------------------------------------------------------

STORED_MAX = 1000


def from_pb_scope(organisation_id: str, scope: str) -> analytics_pb2.UsageScope:
    """Whose requests are meant: the organisation's, or a part of it. Raises InvalidRequest."""
    found = analytics_pb2.UsageScope(organisation_id=organisation_id)
    kind, _, identity = scope.partition(":")
    if kind == "team":
        found.team_id = identity
    elif kind == "project":
        found.project_id = identity
    elif kind not in ("", "organisation"):
        raise InvalidRequest.of("scope", "is `organisation:…`, `team:…`, `project:…` or empty")
    return found


def from_pb_range(request: pb.SimulatePolicyRequest) -> tuple[datetime, datetime]:
    """From when until when. Raises InvalidRequest."""
    for name in ("occurred_from", "occurred_until"):
        if not request.HasField(name):
            raise InvalidRequest.of(name, "is required")
    return moment(request.occurred_from), moment(request.occurred_until)


def check_stored(request: pb.DecideStoredRequest, organisation_id: str) -> None:
    """Raises InvalidRequest for too many decisions, or those of another organisation."""
    if len(request.decisions) > STORED_MAX:
        raise InvalidRequest.of("decisions", f"has at most {STORED_MAX} items")
    for index, decision in enumerate(request.decisions):
        if decision.principal.organisation_id != organisation_id:
            raise InvalidRequest.of(f"decisions[{index}].principal.organisation_id", "is another's")


def to_pb_line(line: Line) -> pb.SimulationLine:
    """What would change for one group."""
    message = pb.SimulationLine(
        group=line.group,
        requests=line.requests,
        moved=line.moved,
        refused_after=line.refused_after,
        models_after=line.models_after,
    )
    message.cost_before.nanos = line.cost_before_nanos
    message.cost_after.nanos = line.cost_after_nanos
    if line.qualities_before:
        message.quality_before = sum(line.qualities_before) / len(line.qualities_before)
    if line.qualities_after:
        message.quality_after = sum(line.qualities_after) / len(line.qualities_after)
    return message


def to_pb_again(stored: decision_pb2.Decision, decision: Decision | None) -> decision_pb2.Decision:
    """A stored decision made again: who asked what as before, the rest anew. No plan: it would be refused."""
    message = decision_pb2.Decision(
        decision_id=stored.decision_id,
        request_id=stored.request_id,
        principal=stored.principal,
        decided_at=stored.decided_at,
        requested_model=stored.requested_model,
        features=stored.features,
        task_belief=stored.task_belief,
        priority=stored.priority,
        seed=stored.seed,
        metadata=stored.metadata,
        streamed=stored.streamed,
    )
    if decision is None:
        message.reason = "A policy forbids the request itself."
        return message
    board = decision.question.board
    message.plan.extend(board.candidates[planned.index].name for planned in decision.plan)
    message.reason = explain.reason(decision)
    message.candidates.extend(to_pb_candidates(decision))
    fill_pb_versions(message.versions, decision)
    if decision.plan:
        message.max_output_tokens = decision.plan[0].output_cap
    return message


def asked_version(request: pb.PromotePriorRequest) -> str:
    """The version that is to be put in force again; empty: a file is brought. Raises InvalidRequest."""
    if bool(request.prior) == bool(request.prior_version):
        raise InvalidRequest.of("prior", "or prior_version is to be given, one of both")
    if request.prior_version and request.dry_run:
        raise InvalidRequest.of("dry_run", "is for files: an earlier version is not checked again")
    return request.prior_version


def to_pb_finding(finding: Finding) -> pb.PromotePriorResponse:
    """What became of a promotion."""
    return pb.PromotePriorResponse(
        promoted=finding.promoted,
        findings=finding.findings,
        prior_version=finding.in_force,
        checked_version=finding.checked,
        passed=finding.passed,
    )
