"""RouterAdminService: from the wire to the use cases and back."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from services.kernel.clock import Clock
from services.kernel.errors import InvalidRequest
from services.router.convert_admin import (
    asked_page,
    asked_version,
    change_of,
    check_stored,
    current_admin,
    from_pb_alias,
    from_pb_grant,
    from_pb_policy,
    from_pb_range,
    from_pb_scope,
    page_of,
    to_pb_again,
    to_pb_alias,
    to_pb_audit,
    to_pb_finding,
    to_pb_grant,
    to_pb_line,
    to_pb_policy,
    to_pb_problem,
)
from services.router.convert_stored import from_pb_past
from services.router.domain.policy_document import read_policy
from services.router.use_cases.administer import Administer
from services.router.use_cases.promote import Promote
from services.router.use_cases.resimulate import Past, Resimulate, permit, read_or_none
from turnpike.analytics.v1 import analytics_pb2
from turnpike.router.v1 import router_admin_pb2 as pb
from turnpike.router.v1 import router_admin_pb2_grpc

PastPages = Callable[[analytics_pb2.UsageScope, datetime, datetime], AsyncIterator[Sequence[Past]]]


class RouterAdminServicer(router_admin_pb2_grpc.RouterAdminServiceServicer):
    """What admins call."""

    def __init__(
        self, administer: Administer, promote: Promote, resimulate: Resimulate, pages: PastPages, clock: Clock
    ) -> None:
        """`pages` gives past decisions of a scope between two moments."""
        self._administer = administer
        self._promote = promote
        self._resimulate = resimulate
        self._pages = pages
        self._clock = clock

    async def PutPolicy(self, request: pb.PutPolicyRequest, context: object) -> pb.PutPolicyResponse:
        """Writes a new version of a policy."""
        change = change_of(request, request.request_id, self._clock)
        policy = await self._administer.put_policy(current_admin(), from_pb_policy(request), change)
        return pb.PutPolicyResponse(policy=to_pb_policy(policy))

    async def ValidatePolicy(
        self, request: pb.ValidatePolicyRequest, context: object
    ) -> pb.ValidatePolicyResponse:
        """Checks a document."""
        current_admin()
        policy, problems = read_policy(request.document_yaml)
        return pb.ValidatePolicyResponse(
            valid=policy is not None, problems=[to_pb_problem(problem) for problem in problems]
        )

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: object) -> pb.ListPoliciesResponse:
        """Lists policies in their newest versions."""
        after, rows = asked_page(request.page_size, request.page_token)
        found = await self._administer.policies(current_admin(), request.organisation_id, after, rows)
        page, token = page_of(found, rows, lambda policy: policy.policy_id)
        return pb.ListPoliciesResponse(
            policies=[to_pb_policy(policy) for policy in page], next_page_token=token
        )

    async def ListPolicyVersions(
        self, request: pb.ListPolicyVersionsRequest, context: object
    ) -> pb.ListPolicyVersionsResponse:
        """Lists the versions of a policy."""
        after, rows = asked_page(request.page_size, request.page_token)
        if after and not after.isdigit():
            raise InvalidRequest.of("page_token", "is not the next_page_token of this list")
        below = int(after) if after else None
        found = await self._administer.policy_versions(current_admin(), request.policy_id, below, rows)
        page, token = page_of(found, rows, lambda policy: str(policy.version))
        return pb.ListPolicyVersionsResponse(
            versions=[to_pb_policy(policy) for policy in page], next_page_token=token
        )

    async def RollBackPolicy(
        self, request: pb.RollBackPolicyRequest, context: object
    ) -> pb.RollBackPolicyResponse:
        """Puts an earlier version in force again."""
        change = change_of(request, request.request_id, self._clock)
        policy = await self._administer.roll_back(
            current_admin(), request.policy_id, request.version, request.comment, change
        )
        return pb.RollBackPolicyResponse(policy=to_pb_policy(policy))

    async def DeletePolicy(self, request: pb.DeletePolicyRequest, context: object) -> pb.DeletePolicyResponse:
        """Takes a policy out of force."""
        change = change_of(request, request.request_id, self._clock)
        await self._administer.delete_policy(current_admin(), request.policy_id, change)
        return pb.DeletePolicyResponse()

    async def CreateModelGrant(
        self, request: pb.CreateModelGrantRequest, context: object
    ) -> pb.CreateModelGrantResponse:
        """Allows or denies models."""
        change = change_of(request, request.request_id, self._clock)
        grant = from_pb_grant(request.grant, change.at)
        made = await self._administer.create_grant(current_admin(), grant, change)
        return pb.CreateModelGrantResponse(grant=to_pb_grant(made))

    async def ListModelGrants(
        self, request: pb.ListModelGrantsRequest, context: object
    ) -> pb.ListModelGrantsResponse:
        """Lists grants."""
        after, rows = asked_page(request.page_size, request.page_token)
        found = await self._administer.grants(
            current_admin(), request.organisation_id, request.subject, after, rows
        )
        page, token = page_of(found, rows, lambda grant: grant.grant_id)
        return pb.ListModelGrantsResponse(
            grants=[to_pb_grant(grant) for grant in page], next_page_token=token
        )

    async def DeleteModelGrant(
        self, request: pb.DeleteModelGrantRequest, context: object
    ) -> pb.DeleteModelGrantResponse:
        """Takes a grant back."""
        change = change_of(request, request.request_id, self._clock)
        await self._administer.delete_grant(current_admin(), request.grant_id, change)
        return pb.DeleteModelGrantResponse()

    async def PutAlias(self, request: pb.PutAliasRequest, context: object) -> pb.PutAliasResponse:
        """Writes an alias."""
        change = change_of(request, request.request_id, self._clock)
        alias = await self._administer.put_alias(current_admin(), from_pb_alias(request.alias), change)
        return pb.PutAliasResponse(alias=to_pb_alias(alias))

    async def ListAliases(self, request: pb.ListAliasesRequest, context: object) -> pb.ListAliasesResponse:
        """Lists aliases."""
        after, rows = asked_page(request.page_size, request.page_token)
        found = await self._administer.aliases(current_admin(), request.organisation_id, after, rows)
        page, token = page_of(found, rows, lambda alias: alias.alias)
        return pb.ListAliasesResponse(aliases=[to_pb_alias(alias) for alias in page], next_page_token=token)

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, context: object) -> pb.DeleteAliasResponse:
        """Removes an alias."""
        change = change_of(request, request.request_id, self._clock)
        await self._administer.delete_alias(current_admin(), request.organisation_id, request.alias, change)
        return pb.DeleteAliasResponse()

    async def ListRouterAuditRecords(
        self, request: pb.ListRouterAuditRecordsRequest, context: object
    ) -> pb.ListRouterAuditRecordsResponse:
        """Lists what admins changed here."""
        after, rows = asked_page(request.page_size, request.page_token)
        found = await self._administer.audit(
            current_admin(), request.organisation_id, request.entity_id, after, rows
        )
        page, token = page_of(found, rows, lambda record: record.audit_id)
        return pb.ListRouterAuditRecordsResponse(
            audit_records=[to_pb_audit(record) for record in page], next_page_token=token
        )

    async def SimulatePolicy(
        self, request: pb.SimulatePolicyRequest, context: object
    ) -> pb.SimulatePolicyResponse:
        """Decides past requests again under another policy."""
        organisation_id = permit(current_admin(), request.organisation_id)
        scope = from_pb_scope(organisation_id, request.scope)
        since, until = from_pb_range(request)
        lines, count = await self._resimulate.lines(
            self._pages(scope, since, until), request.document_yaml, request.group_by
        )
        return pb.SimulatePolicyResponse(lines=[to_pb_line(line) for line in lines], decisions_replayed=count)

    async def DecideStored(self, request: pb.DecideStoredRequest, context: object) -> pb.DecideStoredResponse:
        """Decides stored requests again."""
        organisation_id = permit(current_admin(), request.organisation_id)
        check_stored(request, organisation_id)
        policy = read_or_none(request.document_yaml)
        response = pb.DecideStoredResponse()
        for stored in request.decisions:
            decision = self._resimulate.decide(from_pb_past(stored), policy)
            response.decisions.append(to_pb_again(stored, decision))
        return response

    async def PromotePrior(self, request: pb.PromotePriorRequest, context: object) -> pb.PromotePriorResponse:
        """Puts a trained prior in force, or an earlier one again."""
        admin, change = current_admin(), change_of(request, request.request_id, self._clock)
        version = asked_version(request)
        if version:
            return to_pb_finding(await self._promote.put_back(admin, version, change))
        if request.dry_run:
            return to_pb_finding(await self._promote.check(admin, request.prior))
        return to_pb_finding(await self._promote.promote(admin, request.prior, change))
